use super::*;

const BASE: &[u8] = include_bytes!("../../../tests/data/boot/sb_base.bin");

fn problem(log: &[u8]) -> String {
    EventLog::parse(log).unwrap_err().to_string()
}

#[test]
fn a_real_log_is_split_into_its_events() {
    let log = EventLog::parse(BASE).unwrap();
    assert_eq!(log.events.len(), 51);
    let LogFormat::CryptoAgile(header) = &log.format else { panic!("{:?}", log.format) };
    assert_eq!((header.signature, header.algorithms.as_slice()), (&b"Spec ID Event03\0"[..], &[(11, 32)][..]));
    let end = log.events.last().map(|event| event.offset + event.length);
    assert_eq!(end, Some(BASE.len()));
    assert!(log.events.iter().enumerate().all(|(index, event)| event.number == index + 1));
}

#[test]
fn the_older_format_is_split_too() {
    let log = EventLog::parse(include_bytes!("../../../tests/data/boot/sha1_legacy.bin")).unwrap();
    assert_eq!(log.format, LogFormat::Sha1);
    assert!(log.events.iter().all(|event| event.digests[0].digest.len() == 20));
}

#[test]
fn errors_say_which_event_and_where() {
    assert_eq!(problem(&[]), "event 0 at offset 0x0: the log ends in the event: 4 bytes are needed where 0 are left");
    let text = problem(&BASE[..3000]);
    assert!(text.starts_with("event 6 at offset 0x"), "{text}");
    let mut log = BASE.to_vec();
    log.extend([32, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(problem(&log), "event 52 at offset 0x3c0d: there is no PCR 32");
}

#[test]
fn what_claims_more_than_it_holds_is_refused_without_allocating_it() {
    let mut log = BASE.to_vec();
    log.extend([0, 0, 0, 0, 4, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    log.extend([0; 2 * MAX_DIGESTS + 2]);
    assert!(problem(&log).contains("digests, more than"));
    let mut header = BASE[..65].to_vec();
    header[56..60].copy_from_slice(&[0xFF; 4]);
    assert!(problem(&header).contains("too many algorithms"));
    assert!(problem(&vec![0; MAX_LOG_BYTES + 1]).contains("more than the"));
}

#[test]
fn a_variable_larger_than_its_event_is_refused() {
    let mut data = vec![0; 16];
    data.extend(u64::MAX.to_le_bytes());
    data.extend(2_u64.to_le_bytes());
    assert!(!variable_fits(&data));
    data[16..24].copy_from_slice(&(1_u64 << 63).to_le_bytes());
    assert!(!variable_fits(&data), "the doubled length must not wrap");
}
