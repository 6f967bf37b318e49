use super::*;

#[test]
fn a_mismatch_names_the_events_of_the_pcr() {
    let log = ParsedBootLog::parse(include_bytes!("../../../tests/data/boot/sb_base.bin")).unwrap();
    let quoted = Digest::filled(1, 32);
    let mismatch = log.compare(HashAlgorithm::Sha256, 14, &quoted).unwrap();
    assert_eq!((mismatch.events.as_slice(), mismatch.event_count), (&[30, 31, 33][..], 3));
    let failure = MeasuredBootFailure::InvalidPcr(Box::new(mismatch));
    assert_eq!(failure.id(), "invalid_pcr_14");
    assert!(failure.detail().contains("one of its 3 events"), "{}", failure.detail());
    assert_eq!(failure.context()["context"], "SHA256 boot event log PCR value does not match");
}

#[test]
fn a_pcr_without_events_is_zero() {
    let log = ParsedBootLog::parse(include_bytes!("../../../tests/data/boot/sb_base.bin")).unwrap();
    assert_eq!(log.compare(HashAlgorithm::Sha256, 12, &Digest::filled(0, 32)), None);
    let mismatch = log.compare(HashAlgorithm::Sha256, 12, &Digest::filled(1, 32)).unwrap();
    assert!(mismatch.events.is_empty());
    assert_eq!(log.fit_for(HashAlgorithm::Sha1), Some(MeasuredBootFailure::NoPcrsInBank(HashAlgorithm::Sha1)));
}
