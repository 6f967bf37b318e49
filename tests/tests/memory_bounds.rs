//! What megabytes of hostile input may cost: bytes allocated in all, and at one time, as multiples of the input's length.
//!
//! Counted, not timed, so that the machine does not matter: work that is done in memory shows in what is allocated for it.

// Counting is only possible from inside the allocator, whose trait is unsafe by its nature.
#![allow(unsafe_code)]

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::evidence::QuoteResults;
use keylime_engine::evidence::json_bound::{MAX_JSON_NODES, json_nodes};
use keylime_engine::identity::certificate::Certificate;
use keylime_engine::ima::device_mapper::{EventKind, grammar};
use keylime_engine::ima::{ImaContext, ImaOptions, ImaState, Keyring, KeyringUse, appraise_with};
use keylime_engine::measured_boot::ParsedBootLog;
use keylime_engine::measured_boot::event_log::MAX_LOG_BYTES;
use keylime_engine::measured_boot::event_type::EventType;
use keylime_engine::policy::tpm_policy::TpmPolicy;
use keylime_engine::policy::{CompiledRuntimePolicy, SignatureRule, conversion, verify_upload};
use keylime_engine::tpm::attest_structure::QuoteAttest;
use keylime_engine::tpm::pcr_blob;
use keylime_engine::tpm::public_area::PublicArea;
use keylime_engine::tpm::quote::{QuoteEncoding, QuoteParts};
use keylime_engine::tpm::signature::SignatureHeader;
use keylime_settings::ini::Ini;
use keylime_settings::python_literal;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, counting.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grew(bytes: usize) {
    ALLOCATED.fetch_add(bytes, Ordering::Relaxed);
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is handed to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        grew(size);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Length of each input.
const INPUT_BYTES: usize = 100_000_000;

/// What no input may exceed whatever its length, in bytes: failures that are kept, buffers that start large.
const FLOOR: usize = 96 << 20;

/// Bytes that a parser may allocate and hold for one byte of input.
struct Bound {
    allocated: usize,
    held: usize,
}

/// Measures `work` on an input of [`INPUT_BYTES`] and holds it to its bound.
fn hold(what: &str, bound: Bound, work: impl FnOnce()) {
    hold_to(what, INPUT_BYTES, bound, work);
}

/// The same for an input of `length` bytes. The tests of this file are one function, since the counters are global.
fn hold_to(what: &str, length: usize, bound: Bound, work: impl FnOnce()) {
    let start = std::time::Instant::now();
    let (allocated, live) = (ALLOCATED.load(Ordering::Relaxed), LIVE.load(Ordering::Relaxed));
    PEAK.store(live, Ordering::Relaxed);
    work();
    let allocated = ALLOCATED.load(Ordering::Relaxed) - allocated;
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(live);
    let mb = |bytes: usize| bytes / 1_000_000;
    let (allocated_mb, peak_mb, ms) = (mb(allocated), mb(peak), start.elapsed().as_millis());
    println!("{what:<40} allocated {allocated_mb:>6} MB, at most {peak_mb:>6} MB at one time, {ms:>6} ms");
    assert!(allocated <= bound.allocated * length + FLOOR, "{what} allocated {allocated_mb} MB");
    assert!(peak <= bound.held * length + FLOOR, "{what} held {peak_mb} MB");
}

fn repeated(piece: &str) -> String {
    piece.repeat(INPUT_BYTES / piece.len())
}

fn appraise(list: &str) {
    let context = ImaContext {
        policy: &CompiledRuntimePolicy::empty(),
        tenant_keyring: None,
        bank: HashAlgorithm::Sha256,
        quoted_pcr10: Some(&[0; 32]),
        boot_aggregates: &[],
        options: ImaOptions::default(),
    };
    let appraisal = appraise_with(list, &ImaState::default(), &context, KeyringUse::Considered);
    assert!(appraisal.failures.len() <= keylime_engine::ima::MAX_FAILURES + 100);
}

#[test]
fn cve_2022_23951_hostile_input_costs_a_fixed_multiple_of_its_length() {
    measurement_lists();
    policies();
    structures();
    boot_logs();
    texts();
}

fn measurement_lists() {
    let small = || Bound { allocated: 8, held: 2 };
    let lists = [
        ("measurement list: line feeds", repeated("\n")),
        ("measurement list: one line", repeated("x")),
        ("measurement list: short lines", repeated("x\n")),
        ("measurement list: unlisted files", repeated(&format!("10 {} ima-ng sha1:00 /a\n", "00".repeat(20)))),
        ("measurement list: wrong hashes", repeated(&format!("10 {} ima-ng sha1:00 /a\n", "11".repeat(20)))),
        ("measurement list: one long buffer", format!("10 00 ima-buf sha256:00 x {}", repeated("30"))),
        ("measurement list: one long name", format!("10 00 ima-ng sha256:00 {}", repeated("n"))),
    ];
    for (what, list) in lists {
        hold(what, small(), || appraise(&list));
    }
    let event = format!("dm_version=4.45.0;{}", repeated("name=a,"));
    for kind in EventKind::ALL {
        hold("device-mapper event", Bound { allocated: 4, held: 2 }, || {
            assert!(grammar::parse_event(kind, &event).is_err());
        });
    }
}

fn policies() {
    let policy = |member: &str| {
        let tail = r#","release":0,"keyrings":{},"ima":{"ignored_keyrings":[],"log_hash_alg":"sha1","dm_policy":null},"ima-buf":{},"verification-keys":"""#;
        format!(r#"{{"meta":{{"version":1,"generator":3}}{tail},{member}}}"#)
    };
    let texts = [
        ("policy: values of one byte", policy(&format!(r#""digests":{{}},"excludes":[{}0]"#, repeated("0,")))),
        ("policy: nested lists", policy(&format!(r#""digests":{}"#, repeated("[")))),
        (
            "policy: one list of digests",
            policy(&format!(
                r#""excludes":[],"digests":{{"/a":[{}""]}}"#,
                repeated(&format!(r#""{}","#, "00".repeat(20)))
            )),
        ),
        ("policy: one long digest", policy(&format!(r#""excludes":[],"digests":{{"/a":["{}"]}}"#, repeated("0")))),
        ("policy: one long pattern", policy(&format!(r#""digests":{{}},"excludes":["{}"]"#, repeated("a")))),
        ("policy: open groups", policy(&format!(r#""digests":{{}},"excludes":["{}"]"#, repeated("(")))),
        ("policy: a long envelope", format!(r#"{{"payload":"{}","signatures":[]}}"#, repeated("QUFB"))),
        ("policy: no JSON", repeated("x")),
    ];
    for (what, text) in texts {
        hold(what, Bound { allocated: 12, held: 8 }, || {
            let _ = CompiledRuntimePolicy::compile(&text);
        });
        hold(what, Bound { allocated: 30, held: 24 }, || {
            let _ = verify_upload(text.as_bytes(), None, SignatureRule::NotRequired);
        });
    }
    let list = repeated("00 /a\n");
    // A tool reads it, from a file of its operator's.
    let part = &list[..INPUT_BYTES / 10];
    hold("flat allowlist, a tenth", Bound { allocated: 8, held: 6 }, || drop(conversion::convert_allowlist(part)));
    hold("tpm policy", Bound { allocated: 1, held: 1 }, || assert!(TpmPolicy::parse(&list).is_err()));
    let ring = format!(r#"{{"keyids":[],"pubkeys":["{}"]}}"#, repeated("QUFB"));
    hold("key ring", Bound { allocated: 6, held: 4 }, || drop(Keyring::from_json(&ring)));
}

fn structures() {
    let bound = || Bound { allocated: 2, held: 2 };
    let zeros = vec![0; INPUT_BYTES];
    hold("attest structure", bound(), || assert!(QuoteAttest::parse(&zeros).is_err()));
    hold("signature", bound(), || drop(SignatureHeader::parse(&zeros)));
    hold("public area", bound(), || assert!(PublicArea::from_tpm2b(&zeros).is_err()));
    hold("pcr blob", bound(), || assert!(pcr_blob::read_bank(&zeros, HashAlgorithm::Sha256).is_err()));
    let der = [&[0x30, 0x84, 0x05, 0xF5, 0xE0, 0xFA][..], &zeros].concat();
    hold("certificate", bound(), || drop(Certificate::from_der(der)));
    hold("key", bound(), || drop(keylime_engine::ima::key_reading::read_key(&zeros)));
    let quote = format!("r{}", repeated("QUFB:"));
    for encoding in [QuoteEncoding::Plain, QuoteEncoding::Zlib] {
        hold("quote string", bound(), || assert!(QuoteParts::decode(&quote, encoding).is_err()));
    }
}

/// An event for PCR 1 with digests of no known algorithm, so that none of their bytes have to be there.
fn boot_event(event_type: EventType, digests: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let digests = [digests.to_le_bytes().as_slice(), &[0xFF; 2].repeat(digests as usize)].concat();
    [&1_u32.to_le_bytes(), &event_type.0.to_le_bytes(), digests.as_slice(), &length.to_le_bytes(), data].concat()
}

fn boot_variable(event_type: EventType, name: &str, value: &[u8]) -> Vec<u8> {
    let lengths = [(name.len() as u64).to_le_bytes(), (value.len() as u64).to_le_bytes()].concat();
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    boot_event(event_type, 0, &[&[7; 16], lengths.as_slice(), &name, value].concat())
}

/// The longest logs that are read; longer ones are refused unread.
fn boot_logs() {
    let header = [
        [0_u32.to_le_bytes(), EventType::NO_ACTION.0.to_le_bytes()].concat(),
        vec![0; 20],
        [&33_u32.to_le_bytes(), b"Spec ID Event03\0".as_slice(), &[0; 4], &[0, 2, 0, 2], &1_u32.to_le_bytes()].concat(),
        vec![0x0B, 0, 32, 0, 0],
    ]
    .concat();
    let room = MAX_LOG_BYTES - 200;
    let filled = |event: Vec<u8>| event.repeat(room / event.len());
    let signature_list = [vec![9; 16], [28_u32, 0, 16].map(u32::to_le_bytes).concat()].concat();
    let one_list =
        [vec![9; 16], [u32::try_from(room).unwrap_or(0), 0, 16].map(u32::to_le_bytes).concat(), vec![1; room - 28]];
    let events = [
        ("boot log: zeros", vec![0; room]),
        ("boot log: small events", filled(boot_event(EventType::SEPARATOR, 0, &[0; 48]))),
        ("boot log: digests", filled(boot_event(EventType::SEPARATOR, 64, &[]))),
        ("boot log: one text", boot_event(EventType::IPL, 0, &b"\\0".repeat(room / 2))),
        ("boot log: one blob", boot_event(EventType::EVENT_TAG, 0, &vec![0xFF; room])),
        ("boot log: texts", filled(boot_event(EventType::IPL, 1, &[b'\\'; 60]))),
        (
            "boot log: empty signature lists",
            boot_variable(EventType::VARIABLE_DRIVER_CONFIG, "db", &signature_list.repeat(room / signature_list.len())),
        ),
        ("boot log: one signature list", boot_variable(EventType::VARIABLE_DRIVER_CONFIG, "db", &one_list.concat())),
        ("boot log: boot order", boot_variable(EventType::VARIABLE_BOOT, "BootOrder", &vec![1; room])),
        (
            "boot log: device path",
            boot_event(
                EventType::BOOT_SERVICES_APPLICATION,
                0,
                &[vec![0; 24], (room as u64).to_le_bytes().to_vec(), [0x7E, 0x7E, 4, 0].repeat(room / 4)].concat(),
            ),
        ),
    ];
    for (what, events) in events {
        let log = [header.as_slice(), &events].concat();
        hold_to(what, log.len(), Bound { allocated: 80, held: 48 }, || drop(ParsedBootLog::parse(&log)));
    }
    let zeros = vec![0; INPUT_BYTES];
    hold("boot log: longer than is read", Bound { allocated: 0, held: 0 }, || {
        assert!(ParsedBootLog::parse(&zeros).is_err());
    });
}

fn texts() {
    let reply = format!(r#"{{"results":{{"quote":"{}"}}}}"#, repeated("r"));
    hold("answer to a quote request", Bound { allocated: 2, held: 2 }, || drop(QuoteResults::parse(reply.as_bytes())));
    let escaped = format!(r#"{{"results":{{"quote":"{}"}}}}"#, repeated("\\n"));
    hold("the same, escaped", Bound { allocated: 4, held: 3 }, || drop(QuoteResults::parse(escaped.as_bytes())));
    let values = repeated("[0,");
    hold("JSON of too many values", Bound { allocated: 0, held: 0 }, || {
        assert!(json_nodes(values.as_bytes()) > MAX_JSON_NODES);
    });
    let file = format!("[a]\n{}", repeated("k = v\n"));
    hold("configuration file", Bound { allocated: 20, held: 12 }, || drop(Ini::default().read(&file)));
    let literal = format!("[{}", &repeated("'a',")[..INPUT_BYTES / 10]);
    hold("literal, a tenth", Bound { allocated: 8, held: 6 }, || drop(python_literal::parse(&literal)));
}
