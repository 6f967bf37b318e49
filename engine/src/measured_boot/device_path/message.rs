//! Messaging nodes (UEFI 2.10 §10.3.4).

use super::node::Node;
use super::{NoDevicePath, append};
use core::net::Ipv6Addr;

/// Vendor nodes that the specification gives a meaning.
const VENDORS: [(&str, Vendor); 7] = [
    ("e0c14753-f9be-11d2-9a0c-0090273fc14d", Vendor::Labelled("VenPcAnsi")),
    ("dfa66065-b419-11d3-9a2d-0090273fc14d", Vendor::Labelled("VenVt100")),
    ("7baec70b-57e0-4c76-8e87-2f9e28088343", Vendor::Labelled("VenVt100Plus")),
    ("ad15a0d6-8bec-4acf-a073-d01de77e2d88", Vendor::Labelled("VenUtf8")),
    ("eba4e8d2-3858-41ec-a281-2647ba9660d0", Vendor::Labelled("DebugPort")),
    ("37499a9d-542f-4c89-a026-35da142094e4", Vendor::UartFlowControl),
    ("d487ddb4-008b-11d9-afdc-001083ffca4d", Vendor::Sas),
];

#[derive(Clone, Copy)]
enum Vendor {
    Labelled(&'static str),
    UartFlowControl,
    Sas,
}

/// Prints a messaging node.
pub fn print(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    match node.subtype() {
        0x01 => append(out, format_args!("Ata({},{},{})", node.u8(4), node.u8(5), node.u16(6))),
        0x02 => append(out, format_args!("SCSI({},{})", node.u16(4), node.u16(6))),
        0x03 => append(out, format_args!("Fibre({:x},{:x})", node.u64(8), node.u64(16))),
        0x15 => append(out, format_args!("Fibre({:x},{:x})", node.u64_big_endian(8), node.u64_big_endian(16))),
        0x04 => append(out, format_args!("I1394({:#x})", node.u64(8))),
        0x05 => append(out, format_args!("USB({},{})", node.u8(4), node.u8(5))),
        0x06 => append(out, format_args!("I2O({})", node.u32(4).cast_signed())),
        0x09 => append(
            out,
            format_args!(
                "Infiniband({:08x},{:x}{:x},{:x},{},{})",
                node.u32(4),
                node.u64(16),
                node.u64(8),
                node.u64(24),
                node.u64(32),
                node.u64(40)
            ),
        ),
        0x0a => vendor(node, out),
        0x0b => {
            out.push_str("MAC(");
            let kind = node.u8(36);
            node.hex(4, if kind < 2 { 6 } else { 32 }, out);
            append(out, format_args!(",{kind})"));
        }
        0x0c => ipv4(node, out),
        0x0d => ipv6(node, out),
        0x0e => uart(node, out),
        0x0f => usb_class(node, out),
        0x10 => {
            append(out, format_args!("UsbWwid({:x},{:x},{},", node.u16(6), node.u16(8), node.u16(4)));
            node.ucs2(10, out)?;
            out.push(')');
        }
        0x11 => append(out, format_args!("Unit({})", node.u8(4))),
        0x12 => append(out, format_args!("Sata({},{},{})", node.u16(4), node.u16(6), node.u16(8))),
        0x13 => iscsi(node, out)?,
        0x14 => append(out, format_args!("Vlan({})", node.u16(4))),
        // libefivar prints these without appending them.
        0x16 => {}
        0x17 => {
            append(out, format_args!("NVMe({:#x},", node.u32(4)));
            let mut identifier = String::new();
            node.hex_with(8, 8, "-", &mut identifier);
            append(out, format_args!("{})", identifier.to_uppercase()));
        }
        0x18 => {
            out.push_str("Uri(");
            Node::utf8(node.c_string(4), out)?;
            out.push(')');
        }
        0x19 => append(out, format_args!("UFS({},0x{:02x})", node.u8(4), node.u8(5))),
        0x1a => append(out, format_args!("SD({})", node.u8(4))),
        0x1b => {
            out.push_str("Bluetooth(");
            node.hex_with(4, 6, ":", out);
            out.push(')');
        }
        0x1c => {
            out.push_str("Wi-Fi(");
            node.hex_with(4, 32, ":", out);
            out.push(')');
        }
        0x1d => append(out, format_args!("eMMC({})", node.u8(4))),
        0x1e => {
            out.push_str("BluetoothLE(");
            node.hex_with(4, 6, ":", out);
            append(out, format_args!(",{})", node.u8(10)));
        }
        0x1f => dns(node, out),
        0x20 => append(out, format_args!("NVDIMM({})", node.guid(4))),
        subtype => {
            append(out, format_args!("Msg({subtype},"));
            node.hex(4, node.length().saturating_sub(4), out);
            out.push(')');
        }
    }
    Ok(())
}

fn vendor(node: &Node<'_>, out: &mut String) {
    let guid = node.guid(4).to_string();
    match VENDORS.iter().find(|(known, _)| *known == guid).map(|(_, vendor)| *vendor) {
        None => node.vendor("VenMsg", out),
        Some(Vendor::Labelled(label)) => {
            append(out, format_args!("{label}("));
            node.hex(20, node.length().saturating_sub(20), out);
            out.push(')');
        }
        Some(Vendor::UartFlowControl) => match node.u32(20) {
            0 => out.push_str("UartFlowControl(None)"),
            1 => out.push_str("UartFlowControl(Hardware)"),
            2 => out.push_str("UartFlowControl(XonXoff)"),
            other => append(out, format_args!("UartFlowControl({})", other.cast_signed())),
        },
        Some(Vendor::Sas) => sas(node, out),
    }
}

/// A serial-attached SCSI address with what is known about the device's place.
fn sas(node: &Node<'_>, out: &mut String) {
    let (address, lun, info, bay, port) = (node.u64(24), node.u64(32), node.u8(40), node.u8(41), node.u16(42));
    append(out, format_args!("SAS({address:x},{lun:x},{port:x},"));
    if info & 2 == 0 {
        out.push_str("NoTopology)");
        return;
    }
    let device = (info >> 4) & 3;
    out.push_str(if device < 2 { "SAS" } else { "SATA" });
    out.push_str(if device < 2 { ",Internal" } else { ",External" });
    out.push_str(if info & 0x40 == 0 { ",Direct" } else { ",Expanded" });
    append(out, format_args!(",{})", u16::from(bay) + 1));
}

fn ipv4_address(node: &Node<'_>, at: usize, port: u16, out: &mut String) {
    append(out, format_args!("{}.{}.{}.{}", node.u8(at), node.u8(at + 1), node.u8(at + 2), node.u8(at + 3)));
    if port > 0 {
        append(out, format_args!(":{port}"));
    }
}

fn protocol(number: u16, out: &mut String) {
    match number {
        6 => out.push_str("TCP"),
        17 => out.push_str("UDP"),
        other => append(out, format_args!("{other}")),
    }
}

fn ipv4(node: &Node<'_>, out: &mut String) {
    out.push_str("IPv4(");
    ipv4_address(node, 8, node.u16(14), out);
    out.push(',');
    protocol(node.u16(16), out);
    out.push_str(if node.u8(18) == 0 { ",DHCP," } else { ",Static," });
    ipv4_address(node, 4, node.u16(12), out);
    out.push(',');
    ipv4_address(node, 19, 0, out);
    out.push(',');
    ipv4_address(node, 23, 0, out);
    out.push(')');
}

/// An address in brackets, shortened as RFC 5952 demands, whose groups libefivar reads in the machine's byte order.
fn ipv6_address(node: &Node<'_>, at: usize, port: u16, out: &mut String) {
    let groups: [u16; 8] = std::array::from_fn(|group| node.u16(at + 2 * group));
    let address = Ipv6Addr::from(groups);
    // The standard library prints addresses that embed an IPv4 address in another way.
    if groups[..5].iter().all(|group| *group == 0) && (groups[5] == 0xFFFF || groups[5] == 0) {
        out.push_str("[::");
        let rest: Vec<String> =
            groups.iter().skip_while(|group| **group == 0).map(|group| format!("{group:x}")).collect();
        out.push_str(&rest.join(":"));
        out.push(']');
    } else {
        append(out, format_args!("[{address}]"));
    }
    if port > 0 {
        append(out, format_args!(":{port}"));
    }
}

fn ipv6(node: &Node<'_>, out: &mut String) {
    out.push_str("IPv6(");
    ipv6_address(node, 20, node.u16(38), out);
    out.push(',');
    protocol(node.u16(40), out);
    match node.u8(42) {
        0 => out.push_str(",Static,"),
        1 => out.push_str(",StatelessAutoConfigure,"),
        2 => out.push_str(",StatefulAutoConfigure,"),
        other => append(out, format_args!(",{other:#x},")),
    }
    ipv6_address(node, 4, node.u16(36), out);
    out.push(',');
    ipv6_address(node, 44, 0, out);
    append(out, format_args!(",{})", node.u8(43)));
}

fn uart(node: &Node<'_>, out: &mut String) {
    let (baud, bits, parity, stop) = (node.u64(8), node.u8(16), node.u8(17), node.u8(18));
    let baud = if baud == 0 { 115_200 } else { baud };
    let bits = if bits == 0 { 8 } else { bits };
    append(out, format_args!("Uart({baud},{bits},"));
    match b"DNEOMS".get(usize::from(parity)) {
        Some(letter) => append(out, format_args!("{},", char::from(*letter))),
        None => append(out, format_args!("{parity},")),
    }
    match ["D", "1", "1.5", "2"].get(usize::from(stop)) {
        Some(label) => append(out, format_args!("{label})")),
        None => append(out, format_args!("{stop})")),
    }
}

fn usb_class(node: &Node<'_>, out: &mut String) {
    let (vendor, product) = (node.u16(4), node.u16(6));
    let (class, subclass, protocol) = (node.u8(8), node.u8(9), node.u8(10));
    let label = match class {
        0x01 => "UsbAudio",
        0x02 => "UsbCDCControl",
        0x03 => "UsbHID",
        0x06 => "UsbImage",
        0x07 => "UsbPrinter",
        0x08 => "UsbMassStorage",
        0x09 => "UsbHub",
        0x0a => "UsbCDCData",
        0x0b => "UsbSmartCard",
        0x0e => "UsbVideo",
        0xdc => "UsbDiagnostic",
        0xde => "UsbWireless",
        0xfe => {
            let label = match subclass {
                1 => "UsbDeviceFirmwareUpdate",
                2 => "UsbIrdaBridge",
                3 => "UsbTestAndMeasurement",
                _ => return,
            };
            append(out, format_args!("{label}({vendor:#x},{product:#x},{protocol})"));
            return;
        }
        _ => {
            append(out, format_args!("UsbClass({vendor:x},{product:x},{subclass},{protocol})"));
            return;
        }
    };
    append(out, format_args!("{label}({vendor:#x},{product:#x},{subclass},{protocol})"));
}

fn iscsi(node: &Node<'_>, out: &mut String) -> Result<(), NoDevicePath> {
    /// Longest name of a target.
    const MAX_NAME_BYTES: usize = 223;
    let name = node.c_string(18);
    let options = node.u16(6);
    let digest = |shift: u16| if (options >> shift) & 2 == 0 { "None" } else { "CRC32" };
    let authentication = match ((options >> 10) & 2, (options >> 12) & 1) {
        (0, 0) => "CHAP_BI",
        (0, _) => "CHAP_UNI",
        _ => "None",
    };
    out.push_str("iSCSI(");
    Node::utf8(&name[..name.len().min(MAX_NAME_BYTES)], out)?;
    append(
        out,
        format_args!(
            ",{},{:#x},{},{},{authentication},{})",
            node.u16(16),
            node.u64_big_endian(8),
            digest(0),
            digest(2),
            if node.u16(4) == 0 { "TCP" } else { "Unknown" }
        ),
    );
    Ok(())
}

fn dns(node: &Node<'_>, out: &mut String) {
    let count = node.length().saturating_sub(5) / 16;
    out.push_str("Dns(");
    for index in 0..count {
        if index != 0 {
            out.push(',');
        }
        let at = 5 + 16 * index;
        if node.u8(4) == 0 { ipv4_address(node, at, 0, out) } else { ipv6_address(node, at, 0, out) }
    }
    out.push(')');
}
