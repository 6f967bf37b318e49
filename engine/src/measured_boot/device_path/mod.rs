//! UEFI device paths as text, in the notation of libefivar, which policies are written against.
//!
//! Node layouts are those of UEFI 2.10 §10.3. libefivar reads a node's fields whatever length the node claims; here fields
//! beyond the end of the path read as zero.

mod acpi;
mod media;
mod message;
mod node;

use node::Node;
use std::fmt::Write as _;

/// A path that cannot be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no device path")]
pub struct NoDevicePath;

/// Most bytes of text made of one path.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The text of a path of `limit` bytes at the start of `path`.
///
/// # Errors
/// [`NoDevicePath`] when its first node does not fit, a node has no length, or a name in it is no text.
pub fn text(path: &[u8], limit: usize) -> Result<String, NoDevicePath> {
    let mut out = String::new();
    let mut rest = path;
    let mut limit = limit;
    let mut first = true;
    while limit > 0 {
        let node = Node::at(rest);
        if limit < Node::HEADER_BYTES || rest.len() < Node::HEADER_BYTES || node.length() > limit {
            // What was printed so far counts; a path without a single node does not.
            return if out.is_empty() { Err(NoDevicePath) } else { Ok(out) };
        }
        if !first {
            if node.kind() == END {
                return Ok(out);
            }
            out.push('/');
        }
        first = false;
        print(&node, &mut out)?;
        if node.length() < Node::HEADER_BYTES || out.len() > MAX_TEXT_BYTES {
            return Err(NoDevicePath);
        }
        limit -= node.length();
        if node.kind() == END && node.subtype() == END_ENTIRE {
            // Only as a first node; the text stays empty.
            return Ok(out);
        }
        rest = rest.get(node.length()..).unwrap_or_default();
    }
    Ok(out)
}

const HARDWARE: u8 = 1;
const ACPI: u8 = 2;
const MESSAGE: u8 = 3;
const MEDIA: u8 = 4;
const BIOS_BOOT: u8 = 5;
const END: u8 = 0x7F;
const END_INSTANCE: u8 = 1;
const END_ENTIRE: u8 = 0xFF;

/// Prints one node.
fn print(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    match node.kind() {
        HARDWARE => hardware(node, out),
        ACPI => return acpi::print(node, out),
        MESSAGE => return message::print(node, out),
        MEDIA => return media::print(node, out),
        BIOS_BOOT => bios_boot(node, out),
        END => {
            if node.subtype() == END_INSTANCE {
                out.push(',');
            }
        }
        kind => {
            append(out, format_args!("Path({kind},{},", node.subtype()));
            node.hex(4, node.length().saturating_sub(4), out);
            out.push(')');
        }
    }
    Ok(())
}

fn hardware(node: &Node<'_>, out: &mut String) {
    match node.subtype() {
        1 => append(out, format_args!("Pci({:#x},{:#x})", node.u8(5), node.u8(4))),
        2 => append(out, format_args!("PcCard({:#x})", node.u8(4))),
        3 => append(out, format_args!("MemoryMapped({:#x},{:#x},{:#x})", node.u32(4), node.u64(8), node.u64(16))),
        4 => node.vendor("VenHw", out),
        5 => append(out, format_args!("Ctrl({:#x})", node.u32(4))),
        6 => append(out, format_args!("BMC({},{:#x})", node.u8(4), node.u64(5))),
        subtype => {
            append(out, format_args!("HardwarePath({subtype},"));
            node.hex(4, node.length().saturating_sub(4), out);
            out.push(')');
        }
    }
}

fn bios_boot(node: &Node<'_>, out: &mut String) {
    if node.subtype() != 1 {
        append(out, format_args!("BbsPath({},", node.subtype()));
        node.hex(4, node.length().saturating_sub(4), out);
        out.push(')');
        return;
    }
    let (device, status) = (node.u16(4), node.u16(6));
    let description = node.c_string(8);
    let description = String::from_utf8_lossy(description);
    let name = match device {
        1 => Some("Floppy"),
        2 => Some("HD"),
        3 => Some("CDROM"),
        4 => Some("PCMCIA"),
        5 => Some("USB"),
        6 => Some("Network"),
        _ => None,
    };
    match name {
        Some(name) => append(out, format_args!("BBS({name},{description},{status:#x})")),
        None => append(out, format_args!("BBS({device},{description},{status:#x})")),
    }
}

/// Appends to a text, which cannot fail.
fn append(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests;
