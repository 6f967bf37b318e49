//! Boot logs that an attester may make up: nothing panics, nothing grows beyond measure, and nothing passes by accident.

use keylime_engine::measured_boot::event_log::EventLog;
use keylime_engine::measured_boot::event_type::EventType;
use keylime_engine::measured_boot::reference_state::{self, Flavour, Options, SecureBootRule};
use keylime_engine::measured_boot::{BootPolicies, CompiledBootPolicy, ParsedBootLog, device_path};
use keylime_engine::tpm::pcr_mask::PcrMask;
use proptest::prelude::*;
use std::sync::LazyLock;

const LOG: &[u8] = include_bytes!("data/boot/sb_base.bin");
const STATE: &str = include_str!("data/boot/refstate_sb_base.json");

static EXAMPLE: LazyLock<CompiledBootPolicy> =
    LazyLock::new(|| BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(STATE)));

/// Everything an appraisal and the tools do with a log.
fn use_up(log: &[u8]) {
    for flavour in [Flavour::KeylimePolicy, Flavour::CreateMbRefstate] {
        let _ = reference_state::create(log, Options { flavour, secure_boot: SecureBootRule::MayBeOff });
    }
    let Ok(parsed) = ParsedBootLog::parse(log) else { return };
    assert!(parsed.json().to_string().len() < 4096 + 128 * log.len());
    if let Some(failure) = EXAMPLE.evaluate(Some(&parsed), PcrMask::of(0..24)) {
        assert!(failure.detail().len() < 32_768 && failure.context().to_string().len() < 65_536);
    }
}

/// The digests of the events that extend a PCR.
fn measured(log: &[u8]) -> Vec<(u8, Vec<Vec<u8>>)> {
    let log = EventLog::parse(log).unwrap();
    let events = log.events.iter().filter(|event| event.event_type != EventType::NO_ACTION);
    let digests = |event: &keylime_engine::measured_boot::event_log::Event<'_>| {
        event.digests.iter().filter(|digest| digest.bank().is_some()).map(|digest| digest.digest.to_vec()).collect()
    };
    events.map(|event| (event.pcr, digests(event))).collect()
}

/// One event of a made-up log.
fn event() -> impl Strategy<Value = Vec<u8>> {
    let event_type = prop_oneof![
        prop::sample::select(vec![
            0_u32,
            1,
            3,
            4,
            8,
            0xD,
            0x8000_0001,
            0x8000_0002,
            0x8000_0003,
            0x8000_0006,
            0x8000_0007,
            0x8000_0008,
            0x8000_000A,
            0x8000_000C,
            0x8000_0010,
            0x8000_00E0,
        ]),
        any::<u32>(),
    ];
    let variable = (
        prop::sample::select(vec!["PK", "db", "dbx", "SecureBoot", "BootOrder", "Boot0001", "Shim", "SbatLevel", "x"]),
        prop::collection::vec(any::<u8>(), 0..120),
    )
        .prop_map(|(name, content)| {
            let mut data = vec![7; 16];
            data.extend((name.len() as u64).to_le_bytes());
            data.extend((content.len() as u64).to_le_bytes());
            data.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
            data.extend(content);
            data
        });
    let data = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), variable];
    (0_u32..32, event_type, 0_u32..3, data).prop_map(|(pcr, event_type, digests, data)| {
        let mut event = Vec::new();
        event.extend(pcr.to_le_bytes());
        event.extend(event_type.to_le_bytes());
        event.extend(digests.to_le_bytes());
        for _ in 0..digests {
            event.extend([0x0B, 0x00]);
            event.extend([0xAB; 32]);
        }
        event.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        event.extend(data);
        event
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        use_up(&bytes);
        let mut log = LOG[..65].to_vec();
        log.extend(&bytes);
        use_up(&log);
        let _ = device_path::text(&bytes, bytes.len());
    }

    #[test]
    fn any_events(events in prop::collection::vec(event(), 0..12)) {
        let mut log = LOG[..65].to_vec();
        log.extend(events.concat());
        use_up(&log);
    }

    #[test]
    fn mutations_of_a_real_log(
        changes in prop::collection::vec((0..LOG.len(), any::<u8>()), 1..4),
        end in LOG.len() / 2..=LOG.len(),
    ) {
        let mut log = LOG.to_vec();
        for (at, byte) in changes {
            log[at] = byte;
        }
        log.truncate(end);
        use_up(&log);
    }

    /// Whoever changes a digest changes what the log replays to.
    #[test]
    fn what_replays_alike_measures_alike(at in 65..LOG.len(), byte in any::<u8>()) {
        let mut log = LOG.to_vec();
        log[at] = byte;
        let base = ParsedBootLog::parse(LOG).unwrap();
        if let Ok(parsed) = ParsedBootLog::parse(&log) && parsed.pcrs() == base.pcrs() {
            prop_assert_eq!(measured(&log), measured(LOG));
        }
    }
}

#[test]
fn every_truncation_is_refused_or_read() {
    for end in 0..LOG.len().min(4000) {
        use_up(&LOG[..end]);
    }
}
