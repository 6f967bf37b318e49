//! Media nodes (UEFI 2.10 §10.3.5).

use super::node::Node;
use super::{NoDevicePath, append};

/// Types of RAM disks with a name.
const RAM_DISKS: [(&str, &str); 4] = [
    ("77ab535a-45fc-624b-5560-f7b281d1f96e", "VirtualDisk"),
    ("3d5abd30-4175-87ce-6d64-d2ade523c4bb", "VirtualCD"),
    ("5cea02c9-4d07-69d3-269f-4496fbe096f9", "PersistentVirtualDisk"),
    ("08018188-42cd-bb48-100f-5387d53ded3d", "PersistentVirtualCD"),
];

/// Prints a media node.
pub fn print(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    match node.subtype() {
        1 => hard_drive(node, out),
        2 => append(out, format_args!("CDROM({},{:#x},{:#x})", signed(node.u32(4)), node.u64(8), node.u64(16))),
        3 => node.vendor("VenMedia", out),
        4 => {
            out.push_str("File(");
            node.ucs2(4, out)?;
            out.push(')');
        }
        5 => append(out, format_args!("Media({})", node.guid(4))),
        6 => append(out, format_args!("FvFile({})", node.guid(4))),
        7 => append(out, format_args!("FvVol({})", node.guid(4))),
        8 => append(out, format_args!("Offset({:#x},{:#x})", node.u64(8), node.u64(16))),
        9 => {
            let (start, end, kind, instance) = (node.u64(4), node.u64(12), node.guid(20).to_string(), node.u16(36));
            match RAM_DISKS.iter().find(|(guid, _)| *guid == kind) {
                Some((_, label)) => append(out, format_args!("{label}({start:#x},{end:#x},{instance})")),
                None => append(out, format_args!("Ramdisk({start:#x},{end:#x},{instance},{kind})")),
            }
        }
        subtype => {
            append(out, format_args!("MediaPath({subtype},"));
            node.hex(4, node.length().saturating_sub(4) / 2, out);
            out.push(')');
        }
    }
    Ok(())
}

fn hard_drive(node: &Node<'_>, out: &mut String) {
    let (start, size) = (node.u64(8), node.u64(16));
    append(out, format_args!("HD({},", signed(node.u32(4))));
    match node.u8(41) {
        1 => append(out, format_args!("MBR,{:#x}", node.u32(24))),
        2 => append(out, format_args!("GPT,{}", node.guid(24))),
        other => {
            append(out, format_args!("{other},"));
            node.hex(24, 16, out);
        }
    }
    append(out, format_args!(",{start:#x},{size:#x})"));
}

/// These numbers are printed as signed.
fn signed(number: u32) -> i32 {
    number.cast_signed()
}
