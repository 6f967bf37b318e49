//! Which mount points a scan of the root file system leaves out (`policy-tools.md` §2.1).

/// The kernel's table of mounts of this process.
pub const TABLE: &str = "/proc/self/mounts";

/// Mount points whose file system is of another type than the root's and that do not begin like a path that is left out
/// anyway.
#[must_use]
pub fn foreign_mount_points(table: &str, left_out: &[String]) -> Vec<String> {
    let mounts: Vec<(String, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
            Some((unescaped(point), kind))
        })
        .collect();
    let root = mounts.iter().find(|(point, _)| point == "/").map(|(_, kind)| *kind);
    mounts
        .iter()
        .filter(|(point, kind)| {
            Some(*kind) != root && !left_out.iter().any(|prefix| point.starts_with(prefix.as_str()))
        })
        .map(|(point, _)| point.clone())
        .collect()
}

/// A field of the table with its octal escapes replaced.
fn unescaped(field: &str) -> String {
    ["\\040 ", "\\011\t", "\\012\n", "\\134\\"].iter().fold(field.to_owned(), |text, pair| {
        let (escape, character) = pair.split_at(4);
        text.replace(escape, character)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_other_types_are_left_out() {
        let table = "/dev/a / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/b /boot/efi vfat rw 0 0\n/dev/c /data ext4 rw 0 0\n\
                     x /my\\040disk xfs rw 0 0\nbroken\n";
        assert_eq!(foreign_mount_points(table, &["/proc".to_owned()]), ["/boot/efi", "/my disk"]);
        assert!(foreign_mount_points("", &[]).is_empty());
    }
}
