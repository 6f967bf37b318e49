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

/// Length of each input: 100 MB in a full run, which takes minutes without optimisation, 8 MB otherwise.
fn input_bytes() -> usize {
    let is_full = std::env::var("KEYLIME_TEST_EFFORT").is_ok_and(|effort| effort == "full");
    if is_full { 100_000_000 } else { 8_000_000 }
}

/// What no input may exceed whatever its length, in bytes: failures that are kept, buffers that start large.
const FLOOR: usize = 96 << 20;

/// Bytes that a parser may allocate and hold for one byte of input.
struct Bound {
    allocated: usize,
    held: usize,
}

/// Measures `work` and holds it to its bound. The tests of this file are one function, since the counters are global.
fn hold(what: &str, bound: Bound, work: impl FnOnce()) {
    let (allocated, live) = (ALLOCATED.load(Ordering::Relaxed), LIVE.load(Ordering::Relaxed));
    PEAK.store(live, Ordering::Relaxed);
    work();
    let allocated = ALLOCATED.load(Ordering::Relaxed) - allocated;
    let peak = PEAK.load(Ordering::Relaxed).saturating_sub(live);
    let mb = |bytes: usize| bytes / 1_000_000;
    println!("{what:<40} allocated {:>6} MB, at most {:>6} MB at one time", mb(allocated), mb(peak));
    assert!(allocated <= bound.allocated * input_bytes() + FLOOR, "{what} allocated {} MB", mb(allocated));
    assert!(peak <= bound.held * input_bytes() + FLOOR, "{what} held {} MB", mb(peak));
}

fn repeated(piece: &str) -> String {
    piece.repeat(input_bytes() / piece.len())
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
    let part = &list[..input_bytes() / 10];
    hold("flat allowlist, a tenth", Bound { allocated: 8, held: 6 }, || drop(conversion::convert_allowlist(part)));
    hold("tpm policy", Bound { allocated: 1, held: 1 }, || assert!(TpmPolicy::parse(&list).is_err()));
    let ring = format!(r#"{{"keyids":[],"pubkeys":["{}"]}}"#, repeated("QUFB"));
    hold("key ring", Bound { allocated: 6, held: 4 }, || drop(Keyring::from_json(&ring)));
}

fn structures() {
    let bound = || Bound { allocated: 2, held: 2 };
    let zeros = vec![0; input_bytes()];
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
    let literal = format!("[{}", &repeated("'a',")[..input_bytes() / 10]);
    hold("literal, a tenth", Bound { allocated: 8, held: 6 }, || drop(python_literal::parse(&literal)));
}
