//! The IMA emulator on swtpm: extends what a list gains, finds its place again, refuses what it did not extend.

use keylime_agent::ima_emulator::{EmulatorError, ImaEmulator};
use keylime_agent::tpm::esapi::EsapiTpm;
use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_engine::ima::measurement_list::EntryReader;
use keylime_harness::ima_log::ImaLog;
use keylime_harness::swtpm::{Manufacture, SoftwareTpm};
use tss_esapi::handles::PcrHandle;

const BANKS: [HashAlgorithm; 2] = [HashAlgorithm::Sha1, HashAlgorithm::Sha256];

fn attach(swtpm: &SoftwareTpm, log: &ImaLog) -> Result<ImaEmulator, EmulatorError> {
    ImaEmulator::attach(EsapiTpm::open(&swtpm.tcti(), b"").unwrap(), log.path(), HashAlgorithm::Sha1, &BANKS)
}

/// PCR 10 of a kernel that measured these lines.
fn replayed(log: &ImaLog, bank: HashAlgorithm) -> Digest {
    let text = std::fs::read_to_string(log.path()).unwrap();
    let mut reader = EntryReader::default();
    text.lines().fold(Digest::filled(0, bank.digest_len()), |running, line| {
        let entry = reader.read(line).unwrap();
        bank.digest(&[running.as_bytes(), bank.digest(&[entry.template_data]).as_bytes()])
    })
}

#[test]
fn follows_a_list_across_restarts() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let log = ImaLog::create(&directory.path().join("list")).unwrap();
    let mut emulator = attach(&swtpm, &log).unwrap();
    emulator.catch_up().unwrap();
    log.append("/usr/bin/one", b"1").unwrap();
    emulator.catch_up().unwrap();
    emulator.catch_up().unwrap();
    drop(emulator);

    log.append("/usr/bin/two", b"2").unwrap();
    let mut again = attach(&swtpm, &log).unwrap();
    again.catch_up().unwrap();
    drop(again);
    let mut tpm = EsapiTpm::open(&swtpm.tcti(), b"").unwrap();
    for bank in BANKS {
        assert_eq!(tpm.read_pcrs(bank, &[10]).unwrap(), [(10, replayed(&log, bank))]);
    }

    tpm.extend_pcr(PcrHandle::Pcr10, HashAlgorithm::Sha256, &Digest::filled(1, 32)).unwrap();
    drop(tpm);
    assert!(matches!(attach(&swtpm, &log), Err(EmulatorError::NoPosition)));
}

#[test]
fn an_unfinished_line_is_left_alone_until_it_stays() {
    let swtpm = SoftwareTpm::start(Manufacture::Blank).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let log = ImaLog::create(&directory.path().join("list")).unwrap();
    let mut emulator = attach(&swtpm, &log).unwrap();
    emulator.catch_up().unwrap();
    let whole = std::fs::read_to_string(log.path()).unwrap();
    std::fs::write(log.path(), format!("{whole}10 00")).unwrap();
    emulator.catch_up().unwrap();
    assert!(matches!(emulator.catch_up(), Err(EmulatorError::Entry { number: 2, .. })));
}
