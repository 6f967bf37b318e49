//! Boot logs: events of recorded logs and made ones, in any order, whole and damaged.
//!
//! The reference reads them with the installed `tpm2_eventlog`. Versions up to 5.5 differ from those this engine follows in
//! what [`excuse`] names.

use crate::chance::{Chance, cases};
use crate::peer::Peer;
use keylime_engine::measured_boot::ParsedBootLog;
use keylime_engine::measured_boot::event_log::{Event, EventLog};
use keylime_engine::measured_boot::event_type::EventType;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A log taken apart.
struct Pieces {
    header: Vec<u8>,
    events: Vec<Vec<u8>>,
}

fn recorded() -> Pieces {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/eventlogs");
    let mut pieces = Pieces { header: Vec::new(), events: Vec::new() };
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("vectors").flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "bin")) {
        let bytes = std::fs::read(file).expect("a log");
        let log = EventLog::parse(&bytes).expect("a log");
        let Some(first) = log.events.first() else { continue };
        pieces.header = bytes[..first.offset].to_vec();
        let short = log.events.iter().filter(|event| event.length < 3000);
        pieces.events.extend(short.map(|event| bytes[event.offset..][..event.length].to_vec()));
    }
    pieces
}

const TYPES: [u32; 32] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    0xA,
    0xB,
    0xC,
    0xD,
    0xE,
    0x10,
    0x12,
    0x13,
    0x8000_0001,
    0x8000_0001,
    0x8000_0002,
    0x8000_0002,
    0x8000_0003,
    0x8000_0004,
    0x8000_0006,
    0x8000_0007,
    0x8000_0008,
    0x8000_0009,
    0x8000_000B,
    0x8000_000C,
    0x8000_00E0,
    0x8000_0011,
];
const VARIABLES: [&str; 12] = [
    "PK",
    "db",
    "dbx",
    "SecureBoot",
    "BootOrder",
    "Boot0001",
    "BootNext",
    "SbatLevel",
    "Shim",
    "MokListRT",
    "MokListTrusted",
    "a name",
];

fn event(chance: &mut Chance) -> Vec<u8> {
    let event_type = TYPES[chance.below(TYPES.len())];
    let pcr = if chance.once_in(40) { 32 } else { chance.below(16) };
    let mut out = [u32::try_from(pcr).unwrap_or(0).to_le_bytes(), event_type.to_le_bytes()].concat();
    let banks: &[(u16, usize)] = match chance.below(6) {
        0 => &[],
        1 => &[(4, 20), (0xB, 32), (0xC, 48)],
        2 => &[(0xD, 64)],
        _ => &[(4, 20), (0xB, 32)],
    };
    out.extend(u32::try_from(banks.len()).unwrap_or(0).to_le_bytes());
    for (algorithm, length) in banks {
        out.extend(algorithm.to_le_bytes());
        out.extend(bytes(chance, *length));
    }
    let data = data(chance, event_type);
    out.extend(u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
    out.extend(data);
    out
}

fn bytes(chance: &mut Chance, length: usize) -> Vec<u8> {
    (0..length).map(|_| u8::try_from(chance.next() & 0xFF).unwrap_or(0)).collect()
}

fn data(chance: &mut Chance, event_type: u32) -> Vec<u8> {
    match event_type {
        0x8000_0001 | 0x8000_0002 | 0x8000_000C | 0x8000_00E0 if !chance.once_in(12) => {
            let name = chance.pick(&VARIABLES);
            let length = *chance.pick(&[&0_usize, &1, &2, &4, &16, &20, &40]);
            let value = match name {
                "SecureBoot" | "MokListTrusted" => vec![u8::try_from(chance.below(2)).unwrap_or(0)],
                "Boot0001" => boot_option(chance),
                _ => bytes(chance, length),
            };
            let mut out = bytes(chance, 16);
            out.extend((name.len() as u64).to_le_bytes());
            out.extend((value.len() as u64).to_le_bytes());
            out.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
            out.extend(value);
            out
        }
        0xD | 0x8000_0007 => {
            let words =
                ["grub_cmd: linux /vmlinuz", "MokList\0", "kernel_cmdline: a=b c", "Exit Boot Services", "", "x"];
            chance.pick(&words).as_bytes().to_vec()
        }
        1 | 7 | 0x8000_0008 if !chance.once_in(6) => bytes(chance, 16),
        3 if chance.once_in(2) => [b"StartupLocality\0".as_slice(), &[3]].concat(),
        0x8000_0003..=0x8000_0005 if !chance.once_in(6) => {
            let path = if chance.once_in(2) { Vec::new() } else { device_path(chance) };
            let mut out = bytes(chance, 24);
            out.extend((path.len() as u64).to_le_bytes());
            out.extend(path);
            out
        }
        0x8000_0006 if !chance.once_in(6) => {
            let partitions = chance.below(3);
            let mut out = b"EFI PART".to_vec();
            out.extend(bytes(chance, 84));
            out.extend((partitions as u64).to_le_bytes());
            for _ in 0..partitions {
                out.extend(bytes(chance, 56));
                let mut name: Vec<u8> = "EFI system".encode_utf16().flat_map(u16::to_le_bytes).collect();
                name.resize(72, 0);
                out.extend(name);
            }
            out
        }
        _ => {
            let length = chance.below(40);
            bytes(chance, length)
        }
    }
}

fn boot_option(chance: &mut Chance) -> Vec<u8> {
    let path = device_path(chance);
    let mut out = u32::try_from(chance.below(2)).unwrap_or(0).to_le_bytes().to_vec();
    out.extend(u16::try_from(path.len()).unwrap_or(0).to_le_bytes());
    out.extend("debian\0".encode_utf16().flat_map(u16::to_le_bytes));
    out.extend(path);
    out
}

/// Nodes that firmware writes for disks, network cards and files, with random values in them, and the end.
fn device_path(chance: &mut Chance) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..chance.below(4) {
        let (kind, subtype, length) =
            *chance.pick(&[&(1, 1, 2), &(2, 1, 8), &(3, 18, 6), &(4, 6, 16), &(4, 7, 16), &(3, 5, 2)]);
        let body = if kind == 4 && chance.once_in(2) {
            out.extend([4, 4]);
            "\\EFI\\shim\0".encode_utf16().flat_map(u16::to_le_bytes).collect()
        } else {
            out.extend([kind, subtype]);
            bytes(chance, length)
        };
        out.extend(u16::try_from(body.len() + 4).unwrap_or(4).to_le_bytes());
        out.extend(body);
    }
    out.extend([0x7F, 0xFF, 4, 0]);
    out
}

fn log(chance: &mut Chance, recorded: &Pieces) -> Vec<u8> {
    let mut log = recorded.header.clone();
    for _ in 0..=chance.below(6) {
        let mut event = match chance.below(3) {
            0 => recorded.events[chance.below(recorded.events.len())].clone(),
            _ => event(chance),
        };
        if chance.once_in(8) {
            let place = chance.below(event.len());
            event[place] ^= 1 << chance.below(8);
        }
        log.extend(event);
    }
    match chance.below(12) {
        0 => log.truncate(chance.below(log.len())),
        1 => log.extend(bytes(chance, 7)),
        _ => {}
    }
    log
}

#[test]
fn boot_logs_are_read_alike() {
    let mut chance = Chance::of_run("boot logs");
    let mut peer = Peer::start();
    let recorded = recorded();
    let (mut compared, mut refused, mut excused) = (0, 0, BTreeMap::<&str, usize>::new());
    let mut differences = Vec::new();
    for number in 0..cases(400) {
        let log = log(&mut chance, &recorded);
        let ours = answer(&log);
        let Some(theirs) = peer.try_ask(&json!({ "ask": "boot_log", "log": hex::encode(&log) })) else {
            // The library that prints device paths does not survive every one of them.
            *excused.entry("it crashed").or_default() += 1;
            peer = Peer::start();
            continue;
        };
        if ours["refused"] == true && theirs["refused"] == true {
            refused += 1;
            continue;
        }
        if ours == theirs {
            compared += 1;
            continue;
        }
        match excuse(&log, &ours, &theirs) {
            Some(reason) => *excused.entry(reason).or_default() += 1,
            None => differences.push(format!("case {number}: {} {}", hex::encode(&log), difference(&ours, &theirs))),
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    println!("boot logs: {compared} compared, {refused} refused by both, excused {excused:?}");
    assert!(compared > excused.values().sum::<usize>(), "{compared} compared");
}

fn answer(log: &[u8]) -> Value {
    let log = match ParsedBootLog::parse(log) {
        Ok(log) => log,
        Err(error) => return json!({ "refused": true, "reason": error.to_string() }),
    };
    let pcrs = log.pcrs();
    if pcrs.banks().next().is_none() {
        // Nothing to compare with a quote: such a log fails, after it was read here, while it is read there.
        return json!({ "refused": true, "reason": "no register" });
    }
    let banks = pcrs.banks().map(|bank| {
        let values = pcrs.values(bank).map(|(pcr, value)| (pcr.to_string(), json!(value.to_hex())));
        (bank.name().to_owned(), Value::Object(values.collect()))
    });
    json!({
        "events": log.events(),
        "pcrs": Value::Object(banks.collect()),
        "boot_aggregates": log.json()["boot_aggregates"],
    })
}

/// The first event that differs, or all else.
fn difference(ours: &Value, theirs: &Value) -> String {
    let events = |answer: &Value| answer["events"].as_array().cloned().unwrap_or_default();
    let (our_events, their_events) = (events(ours), events(theirs));
    if our_events.len() != their_events.len() {
        return format!(
            "\n  ours   {} events {}\n  theirs {} events {}",
            our_events.len(),
            ours["reason"],
            their_events.len(),
            theirs["reason"]
        );
    }
    match our_events.iter().zip(&their_events).find(|(ours, theirs)| ours != theirs) {
        Some((ours, theirs)) => format!("\n  ours   {ours}\n  theirs {theirs}"),
        None => format!(
            "\n  ours   {} {}\n  theirs {} {}",
            ours["pcrs"], ours["boot_aggregates"], theirs["pcrs"], theirs["boot_aggregates"]
        ),
    }
}

/// Why the answers may differ; `None` when they may not.
fn excuse(log: &[u8], ours: &Value, theirs: &Value) -> Option<&'static str> {
    let parsed = EventLog::parse(log).ok()?;
    let has_foreign_name = |event: &Value| event["Event"]["UnicodeName"].as_str().is_some_and(|name| !name.is_ascii());
    if theirs["refused"] == true && ours["events"].as_array()?.iter().any(has_foreign_name) {
        return Some("it cannot print names that are not ASCII");
    }
    let is_cut_off = |reason: &str| reason.contains("EV_EFI_VARIABLE_BOOT2: the data is too small");
    if theirs["refused"] != true && ours["reason"].as_str().is_some_and(is_cut_off) {
        return Some("it reads EV_EFI_VARIABLE_BOOT2 beyond the end of the event");
    }
    let (our_events, their_events) = (ours["events"].as_array()?, theirs["events"].as_array()?);
    if our_events.len() != their_events.len() {
        return None;
    }
    for (ours, theirs) in our_events.iter().zip(their_events).filter(|(ours, theirs)| ours != theirs) {
        let event = parsed.events.iter().find(|event| ours["EventNum"] == event.number)?;
        if !is_old_rendering(event, ours, theirs) {
            return None;
        }
    }
    if ours["pcrs"] == theirs["pcrs"] {
        return (ours["boot_aggregates"] == theirs["boot_aggregates"]).then_some("how events of old versions print");
    }
    let is_extended_by_old = |event: &Event<'_>| event.event_type == EventType::NO_ACTION;
    parsed.events.iter().any(is_extended_by_old).then_some("old versions extend what is not extended")
}

/// Whether `tpm2_eventlog` before 5.6 prints this event differently.
fn is_old_rendering(event: &Event<'_>, ours: &Value, theirs: &Value) -> bool {
    let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
    match event.event_type {
        // Line by line, each in quotes of its own, with escapes.
        EventType::IPL => {
            for answer in [&mut ours, &mut theirs] {
                forget(answer, "String");
            }
        }
        // A name it cannot convert as `(null)`, behind whose end something stands.
        EventType::GPT_EVENT => {
            let names = theirs["Event"]["Partitions"].as_array_mut().into_iter().flatten();
            let ours = ours["Event"]["Partitions"].as_array().into_iter().flatten();
            for (theirs, ours) in names.zip(ours).filter(|(theirs, _)| theirs["PartitionName"] == "(null)") {
                theirs["PartitionName"] = ours["PartitionName"].clone();
            }
        }
        // Without the last byte.
        EventType::PLATFORM_FIRMWARE_BLOB2 => {
            for answer in [&mut ours, &mut theirs] {
                forget(answer, "BlobDescription");
            }
        }
        EventType::VARIABLE_AUTHORITY => {
            for answer in [&mut ours, &mut theirs] {
                forget(answer, "VariableData");
            }
        }
        _ => {}
    }
    ours == theirs
}

fn forget(event: &mut Value, member: &str) {
    if let Some(data) = event["Event"].as_object_mut() {
        data.remove(member);
    }
}
