//! ACPI nodes (UEFI 2.10 §10.3.3).

use super::node::Node;
use super::{ACPI, NoDevicePath, append};

const PNP: u32 = 0x41D0;
const PCI_ROOT: u32 = 0x0A03_0000 | PNP;
const CONTAINER_05: u32 = 0x0A05_0000 | PNP;
const CONTAINER_06: u32 = 0x0A06_0000 | PNP;
const PCIE_ROOT: u32 = 0x0A08_0000 | PNP;
const EMBEDDED_CONTROLLER: u32 = 0x0C09_0000 | PNP;
const FLOPPY: u32 = 0x0604_0000 | PNP;
const KEYBOARD: u32 = 0x0301_0000 | PNP;
const SERIAL: u32 = 0x0501_0000 | PNP;
const NVDIMM: u32 = 0x0012_8E09;

const HID: u8 = 1;
const HID_EX: u8 = 2;
const ADR: u8 = 3;

/// Prints an ACPI node.
pub fn print(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    match node.subtype() {
        HID => return hid(node, out),
        HID_EX => return hid_ex(node, out),
        ADR => {
            out.push_str("AcpiAdr(");
            for (index, adr) in node.tail(4).chunks_exact(4).enumerate() {
                let adr = u32::from_le_bytes([adr[0], adr[1], adr[2], adr[3]]);
                append(out, format_args!("{}{adr:#x}", if index == 0 { "" } else { "," }));
            }
            out.push(')');
        }
        subtype => {
            append(out, format_args!("AcpiPath({subtype},"));
            node.hex(4, node.length().saturating_sub(4) / 2, out);
            out.push(')');
        }
    }
    Ok(())
}

fn hid(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    let (hid, uid) = (node.u32(4), node.u32(8));
    match hid {
        PCI_ROOT => append(out, format_args!("PciRoot({uid:#x})")),
        CONTAINER_05 | CONTAINER_06 => out.push_str("AcpiContainer()"),
        PCIE_ROOT => append(out, format_args!("PcieRoot({uid:#x})")),
        EMBEDDED_CONTROLLER => out.push_str("EmbeddedController()"),
        FLOPPY => append(out, format_args!("Floppy({uid:#x})")),
        KEYBOARD => append(out, format_args!("Keyboard({uid:#x})")),
        SERIAL => append(out, format_args!("Serial({uid:#x})")),
        NVDIMM => return nvdimm(node, out),
        _ => append(out, format_args!("Acpi(0x{hid:08x},{uid:#x})")),
    }
    Ok(())
}

/// The root of NVDIMMs, printed with the addresses in the node after it.
fn nvdimm(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    out.push_str("NvRoot()");
    let next = node.next();
    if next.kind() != ACPI || next.subtype() != ADR {
        return Err(NoDevicePath);
    }
    for (index, adr) in next.tail(4).chunks_exact(4).enumerate() {
        let adr = u32::from_le_bytes([adr[0], adr[1], adr[2], adr[3]]);
        append(
            out,
            format_args!(
                "{}NvDimm(0x{:03x},0x{:01x},0x{:01x},0x{:01x},0x{:01x})",
                if index == 0 { "" } else { "," },
                (adr & 0x0FFF_0000) >> 16,
                (adr & 0xF000) >> 12,
                (adr & 0x0F00) >> 8,
                (adr & 0x00F0) >> 4,
                adr & 0x0F00_000F,
            ),
        );
    }
    Ok(())
}

/// A node whose ids may be texts after the fixed part: HID, then UID, then CID.
fn hid_ex(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    let (hid, uid, cid) = (node.u32(4), node.u32(8), node.u32(12));
    let mut rest = node.tail(16);
    let mut next_text = || {
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(0, rest).unwrap_or(rest.len());
        let text = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(text)
    };
    let hid_text = next_text();
    let Some(uid_text) = next_text() else { return Ok(()) };
    let cid_text = next_text();
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| NoDevicePath);
    let uid_text = text(uid_text)?;
    match hid {
        PCI_ROOT => append(out, format_args!("PciRoot({uid_text})")),
        CONTAINER_05 | CONTAINER_06 => append(out, format_args!("AcpiContainer({uid_text})")),
        PCIE_ROOT => append(out, format_args!("PcieRoot({uid_text})")),
        EMBEDDED_CONTROLLER => out.push_str("EmbeddedController()"),
        _ => {
            let id = |text: Option<String>, number: u32| text.unwrap_or_else(|| format!("{number:#x}"));
            let hid = id(hid_text.map(text).transpose()?, hid);
            let cid = id(cid_text.map(text).transpose()?, cid);
            let _ = uid;
            append(out, format_args!("AcpiEx({hid},{cid},{uid_text})"));
        }
    }
    Ok(())
}
