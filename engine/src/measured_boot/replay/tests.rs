use super::*;

fn replayed(log: &[u8]) -> ReplayedPcrs {
    ReplayedPcrs::of(&EventLog::parse(log).unwrap())
}

#[test]
fn a_log_replays_to_the_values_of_the_machine() {
    let pcrs = replayed(include_bytes!("../../../tests/data/boot/sb_base.bin"));
    let value = |pcr| pcrs.get(HashAlgorithm::Sha256, pcr).map(Digest::to_hex);
    assert_eq!(value(0).as_deref(), Some("0d993cf4baec1dc2a47013c8bcc13e1593d5e6ba9cc4630f422e98d310212aff"));
    assert_eq!(value(10), None);
    let aggregates = pcrs.boot_aggregates();
    assert_eq!(
        aggregates[0].1.iter().map(Digest::to_hex).collect::<Vec<_>>(),
        [
            "2dc0bfed347f4548a9f25fdaf717d12799315f13c821b72def5fef3b42d31609",
            "5dd3bc6f9dd87e5c55d5480915f727a32da48e8a47d58b554970eee07c616817"
        ]
    );
}

#[test]
fn every_bank_of_a_log_is_replayed_with_its_startup_locality() {
    let pcrs = replayed(include_bytes!("../../../tests/data/boot/bios_nosb.bin"));
    assert_eq!(pcrs.banks().collect::<Vec<_>>(), [HashAlgorithm::Sha1, HashAlgorithm::Sha256]);
    let value = |bank| pcrs.get(bank, 0).map(Digest::to_hex);
    assert_eq!(value(HashAlgorithm::Sha1).as_deref(), Some("78f3e576d5da8873860e557535d181f4a37e2963"));
    assert_eq!(
        value(HashAlgorithm::Sha256).as_deref(),
        Some("0ee9a7feba8f4172f1a7451594aa5731665a4d353ac61814042ce107a00742f2")
    );
}

#[test]
fn after_an_h_crtm_the_locality_event_says_nothing() {
    let log = include_bytes!("../../../tests/data/boot/sb_hcrtm_then_locality.bin");
    let log = EventLog::parse(log).unwrap();
    let mut without = log.clone();
    without.events.retain(|event| event.event_type != EventType::NO_ACTION);
    assert_eq!(log.events.len(), without.events.len() + 1);
    assert_eq!(ReplayedPcrs::of(&log), ReplayedPcrs::of(&without));
}

#[test]
fn a_log_without_events_replays_to_nothing() {
    let pcrs = replayed(include_bytes!("../../../tests/data/boot/sb_header_only.bin"));
    assert_eq!(pcrs.banks().count(), 0);
    assert!(pcrs.boot_aggregates().is_empty());
}
