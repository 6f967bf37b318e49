//! Processor time and memory of a process and all that descend from it (`proc(5)`).

use std::collections::HashMap;
use std::fs;
use std::io;

/// `USER_HZ`, which Linux fixes at 100 for every architecture Rust programs of this kind run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Use of processor and memory by a process tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProcessUsage {
    /// User and system time in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes, summed over the processes; pages they share count for each.
    pub rss_bytes: u64,
    /// Number of processes.
    pub processes: usize,
}

impl ProcessUsage {
    /// Use by the process `root` and its descendants.
    ///
    /// # Errors
    /// `/proc` cannot be read, or the process is gone.
    pub fn of_tree(root: u32) -> io::Result<Self> {
        let all = read_all()?;
        if !all.contains_key(&root) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("process {root} is gone")));
        }
        let mut usage = Self { cpu_seconds: 0.0, rss_bytes: 0, processes: 0 };
        for pid in all.keys().copied().filter(|pid| descends(&all, *pid, root)) {
            usage.cpu_seconds += all[&pid].ticks as f64 / TICKS_PER_SECOND;
            usage.rss_bytes += resident(pid).unwrap_or(0);
            usage.processes += 1;
        }
        Ok(usage)
    }
}

struct Stat {
    parent: u32,
    ticks: u64,
}

fn read_all() -> io::Result<HashMap<u32, Stat>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    Ok(pids
        .filter_map(|pid| Some((pid, parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect())
}

/// The program's name, in parentheses, may hold anything; the fields are counted from behind it.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat { parent: u32::try_from(number(1)?).ok()?, ticks: number(11)? + number(12)? })
}

fn descends(all: &HashMap<u32, Stat>, mut pid: u32, root: u32) -> bool {
    // Bounded, because the processes were not read at one moment.
    for _ in 0..64 {
        if pid == root {
            return true;
        }
        let Some(stat) = all.get(&pid) else { return false };
        pid = stat.parent;
    }
    false
}

/// The largest resident memory since [`reset_peak_of_tree`], in bytes, summed over a process and its descendants.
///
/// # Errors
/// `/proc` cannot be read.
pub fn peak_of_tree(root: u32) -> io::Result<u64> {
    Ok(tree(root)?.into_iter().filter_map(|pid| memory(pid, "VmHWM:")).sum())
}

/// Lets the largest resident memory begin anew at what is resident now.
///
/// # Errors
/// `/proc` cannot be read or written.
pub fn reset_peak_of_tree(root: u32) -> io::Result<()> {
    tree(root)?.into_iter().try_for_each(|pid| fs::write(format!("/proc/{pid}/clear_refs"), "5"))
}

fn tree(root: u32) -> io::Result<Vec<u32>> {
    let all = read_all()?;
    Ok(all.keys().copied().filter(|pid| descends(&all, *pid, root)).collect())
}

fn resident(pid: u32) -> Option<u64> {
    memory(pid, "VmRSS:")
}

fn memory(pid: u32, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_fields() {
        let stat = parse_stat("7 (a) (b c) S 3 7 7 0 -1 4194560 1 0 0 0 12 30 0 0 20 0 1 0 9 0 0").unwrap();
        assert_eq!((stat.parent, stat.ticks), (3, 42));
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = ProcessUsage::of_tree(std::process::id()).unwrap();
        assert!(usage.rss_bytes > 0 && usage.processes >= 1);
    }
}
