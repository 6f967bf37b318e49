//! Boots that `tests/vectors/eventlogs/record.sh` recorded: the replay is what the machine's TPM had, the events are what the
//! reference makes of them, and a reference state made of one boot accepts that boot and no other.

use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::measured_boot::reference_state::{self, Flavour, Options, SecureBootRule};
use keylime_engine::measured_boot::{BootPolicies, ParsedBootLog};
use keylime_engine::tpm::pcr_mask::PcrMask;
use serde_json::Value;

struct Boot {
    log: &'static [u8],
    /// Register by register: bank, number, value.
    registers: &'static str,
    events: &'static str,
}

macro_rules! boot {
    ($name:literal) => {
        Boot {
            log: include_bytes!(concat!("../../tests/vectors/eventlogs/", $name, ".bin")),
            registers: include_str!(concat!("../../tests/vectors/eventlogs/", $name, ".pcrs")),
            events: include_str!(concat!("../../tests/vectors/eventlogs/", $name, ".events.json")),
        }
    };
}

const BOOTS: [Boot; 2] = [boot!("ovmf"), boot!("ovmf_secure_boot")];

#[test]
fn the_replay_is_what_the_tpm_had() {
    for boot in BOOTS {
        let log = ParsedBootLog::parse(boot.log).unwrap();
        let mut compared = 0;
        for register in boot.registers.lines() {
            let [bank, pcr, value] = register.split(' ').collect::<Vec<_>>()[..] else { panic!("{register}") };
            let (bank, pcr) = (HashAlgorithm::from_name(bank).unwrap(), pcr.parse().unwrap());
            let Some(replayed) = log.pcrs().get(bank, pcr) else { continue };
            assert_eq!(replayed.to_hex(), value.to_lowercase(), "{bank} {pcr}");
            compared += 1;
        }
        assert_eq!(compared, 3 * 11, "PCR 0 to 9 and 14 of three banks");
    }
}

#[test]
fn the_events_are_what_the_reference_shows_to_policies() {
    for boot in BOOTS {
        let expected: Vec<Value> = serde_json::from_str(boot.events).unwrap();
        let log = ParsedBootLog::parse(boot.log).unwrap();
        assert_eq!(log.events().len(), expected.len());
        for (ours, expected) in log.events().iter().zip(&expected) {
            assert_eq!(ours, expected);
        }
    }
}

#[test]
fn a_reference_state_accepts_the_boot_it_was_made_of_and_no_other() {
    let verdicts: Vec<[bool; 2]> = BOOTS
        .iter()
        .map(|made_of| {
            let options = Options { flavour: Flavour::KeylimePolicy, secure_boot: SecureBootRule::MayBeOff };
            let state = reference_state::create(made_of.log, options).unwrap().state.to_string();
            let policy = BootPolicies::built_in(BootPolicies::EXAMPLE).compile(Some(&state));
            BOOTS.map(|boot| {
                let log = ParsedBootLog::parse(boot.log).unwrap();
                policy.evaluate(Some(&log), PcrMask::of(0..24)).is_none()
            })
        })
        .collect();
    assert!(!verdicts[0][1] && !verdicts[1][0], "{verdicts:?}");
    assert!(verdicts[1][1], "{verdicts:?}");
}
