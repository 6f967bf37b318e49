//! What a push agent's evidence is judged by, on a software TPM and without any server: every term of the appraisal decides.

use keylime_bench::push_machine::{PushMachine, Wanted};
use keylime_engine::appraise::{PushContext, PushVerdict, appraise_push};
use keylime_engine::evidence::attestation::{
    Attestation, AttestationIndex, Challenge, FailureReason, Stage, WallMicros,
};
use keylime_engine::evidence::capabilities::EvidenceType;
use keylime_engine::evidence::negotiation::{KnownList, NegotiationTerms, negotiate};
use keylime_engine::evidence::offer::{BootTime, Offer};
use keylime_engine::evidence::requirements::{Demand, Requirements};
use keylime_engine::evidence::submission::read_evidence;
use keylime_engine::identity::attestation_key::AttestationKey;
use keylime_engine::ima::{ImaOptions, ImaState};

use keylime_engine::policy::CompiledRuntimePolicy;
use keylime_engine::policy::tpm_policy::TpmPolicy;
use keylime_engine::tpm::clock_info::ClockInfo;
use keylime_engine::tpm::pcr_mask::PcrMask;
use keylime_harness::ima_log;
use serde_json::json;

const BOOT_SECOND: i64 = 1_767_225_600;

/// A machine and what it is judged by; the parts that tests vary.
struct Setup {
    machine: PushMachine,
    key: AttestationKey,
    requirements: Requirements,
    tpm_policy: TpmPolicy,
    policy: CompiledRuntimePolicy,
    known: KnownList,
    ima: ImaState,
    clock: ClockInfo,
}

fn requirements(pcrs: &[u8], ima: Demand) -> Requirements {
    Requirements { pcrs: PcrMask::of(pcrs.iter().copied()), uefi: Demand::NotWanted, ima }
}

impl Setup {
    /// A machine that ran one allowed program.
    fn new() -> Self {
        let mut machine = PushMachine::from_seed(1).unwrap();
        machine.run("/usr/bin/allowed", &digest(b"allowed"));
        let mut policy = ima_log::policy(&[("/usr/bin/allowed", b"allowed"), ("/usr/bin/later", b"later")]);
        policy["digests"]["boot_aggregate"] = json!(["0".repeat(64)]);
        Self {
            key: AttestationKey::from_base64(&machine.ak()).unwrap(),
            machine,
            requirements: requirements(&[10], Demand::Wanted),
            tpm_policy: TpmPolicy::parse(r#"{"mask": "0x400"}"#).unwrap(),
            policy: CompiledRuntimePolicy::compile(&policy.to_string()).unwrap(),
            known: KnownList::default(),
            ima: ImaState::default(),
            clock: ClockInfo::default(),
        }
    }

    /// What the machine sends when it is asked for what the policies call for now.
    fn attest(&mut self, challenge: u8) -> Attestation {
        let capabilities = self.machine.capabilities();
        let offered = &capabilities["data"]["attributes"]["evidence_supported"];
        let offer = Offer::read(Some(offered), BootTime::At(BOOT_SECOND * 1_000_000)).unwrap();
        let (hash, sign) = (vec!["sha256".to_owned()], vec!["ecdsa".to_owned()]);
        let terms = NegotiationTerms {
            requirements: self.requirements,
            accepted_hash: &hash,
            accepted_sign: &sign,
            attestation_key: &self.key,
        };
        let negotiated = negotiate(&offer, &terms, self.known, Challenge::new([challenge; Challenge::LEN])).unwrap();
        let mut attestation = Attestation {
            index: AttestationIndex::default(),
            stage: Stage::EvaluatingEvidence,
            boot_time: negotiated.boot_time,
            capabilities_received: WallMicros(0),
            challenges_expire: None,
            evidence_received: None,
            verification_completed: None,
            items: negotiated.items,
        };
        let quote = attestation.quote_parameters().unwrap();
        let wanted = Wanted {
            challenge: quote.challenge.as_bytes().to_vec(),
            pcrs: self.requirements.pcrs,
            ima_offset: attestation
                .item(EvidenceType::ImaLog)
                .map(|_| usize::try_from(attestation.ima_offset()).unwrap()),
        };
        let evidence = self.machine.evidence(&wanted).unwrap();
        let collected = read_evidence(evidence.pointer("/data/attributes/evidence_collected"), &attestation).unwrap();
        for (item, data) in attestation.items.iter_mut().zip(collected) {
            item.data = Some(data);
        }
        attestation
    }

    fn judge(&self, attestation: &Attestation) -> PushVerdict {
        let context = PushContext {
            attestation_key: &self.key,
            requirements: self.requirements,
            tpm_policy: &self.tpm_policy,
            runtime_policy: &self.policy,
            agent_keyring: None,
            ima_options: ImaOptions::default(),
            ima: &self.ima,
            clock: self.clock,
            boot: None,
        };
        appraise_push(attestation, &context)
    }

    /// Takes over what a passed attestation leaves behind; answers how many entries it certified.
    fn pass(&mut self, attestation: &Attestation) -> u64 {
        match self.judge(attestation) {
            PushVerdict::Passed { clock, ima, certified_entries } => {
                self.known = KnownList { boot_time: attestation.boot_time, entries: ima.next_entry };
                (self.clock, self.ima) = (clock, ima);
                certified_entries
            }
            other => panic!("{other:?}"),
        }
    }

    fn reason(&self, attestation: &Attestation) -> (FailureReason, bool) {
        match self.judge(attestation) {
            PushVerdict::Failed { reason, clock, .. } => (reason, clock.is_some()),
            other => panic!("{other:?}"),
        }
    }
}

fn digest(content: &[u8]) -> [u8; 32] {
    keylime_engine::algorithm::HashAlgorithm::Sha256.digest(&[content]).as_bytes().try_into().unwrap()
}

#[test]
fn lists_go_on_where_they_were_certified_and_begin_anew_where_they_were_not() {
    let mut setup = Setup::new();
    let first = setup.attest(1);
    assert_eq!((first.ima_offset(), setup.pass(&first)), (0, 2));
    assert_eq!((setup.ima.boottime, setup.ima.next_entry), (BOOT_SECOND, 2));
    setup.machine.run("/usr/bin/later", &digest(b"later"));
    let second = setup.attest(2);
    assert_eq!((second.ima_offset(), setup.pass(&second)), (2, 1));
    // A whole list is judged from its start, whatever was certified before.
    setup.known = KnownList::default();
    let whole = setup.attest(3);
    assert_eq!((whole.ima_offset(), setup.pass(&whole)), (0, 3));
    // A part is judged from where it begins: without the state that led there it proves nothing.
    setup.machine.run("/usr/bin/later", &digest(b"later"));
    let part = setup.attest(4);
    setup.ima = ImaState::default();
    assert_eq!(setup.reason(&part), (FailureReason::BrokenEvidenceChain, false));
}

#[test]
fn evidence_that_does_not_cover_the_policies_of_the_moment_is_not_judged() {
    let mut setup = Setup::new();
    let attestation = setup.attest(1);
    for changed in [
        requirements(&[10, 4], Demand::Wanted),
        requirements(&[10], Demand::NotWanted),
        Requirements { uefi: Demand::Wanted, ..requirements(&[10], Demand::Wanted) },
    ] {
        setup.requirements = changed;
        assert_eq!(setup.judge(&attestation), PushVerdict::Outdated, "{changed:?}");
    }
    // More PCRs than are called for do no harm.
    setup.requirements = requirements(&[10, 16], Demand::Wanted);
    let more = setup.attest(2);
    setup.requirements = requirements(&[10], Demand::Wanted);
    setup.pass(&more);
    let mut unquoted = setup.attest(3);
    unquoted.items.retain(|item| item.kind != EvidenceType::TpmQuote);
    assert_eq!(setup.judge(&unquoted), PushVerdict::Outdated);
}

#[test]
fn violations_keep_the_clock_and_broken_chains_do_not() {
    let mut setup = Setup::new();
    let good = setup.attest(1);
    setup.pass(&good);
    // The same quote again: its clock does not go on, nor does it answer another challenge.
    let mut later = setup.clock;
    later.clock += 1_000_000;
    let before = std::mem::replace(&mut setup.clock, later);
    assert_eq!(setup.reason(&good), (FailureReason::BrokenEvidenceChain, false));
    setup.clock = before;
    let mut replayed = setup.attest(2);
    replayed.items = replayed
        .items
        .iter()
        .cloned()
        .zip(&good.items)
        .map(|(mut item, old)| {
            if item.kind == EvidenceType::TpmQuote {
                item.data.clone_from(&old.data);
            }
            item
        })
        .collect();
    assert_eq!(setup.reason(&replayed), (FailureReason::BrokenEvidenceChain, false));
    // Another machine's quote for the right challenge.
    let mut stranger = Setup::new();
    stranger.machine = PushMachine::from_seed(2).unwrap();
    stranger.key = AttestationKey::from_base64(&stranger.machine.ak()).unwrap();
    let foreign = stranger.attest(3);
    setup.ima = ImaState::default();
    assert_eq!(setup.reason(&foreign), (FailureReason::BrokenEvidenceChain, false));

    let mut setup = Setup::new();
    setup.machine.run("/usr/bin/unknown", &digest(b"unknown"));
    let unknown = setup.attest(4);
    assert_eq!(setup.reason(&unknown), (FailureReason::PolicyViolation, true));
    let mut setup = Setup::new();
    setup.requirements = requirements(&[10, 16], Demand::Wanted);
    setup.tpm_policy = TpmPolicy::parse(&json!({"mask": "0x10400", "16": "ff".repeat(32)}).to_string()).unwrap();
    let wrong = setup.attest(5);
    assert_eq!(setup.reason(&wrong), (FailureReason::PolicyViolation, true));
}

#[test]
fn without_a_list_the_state_of_lists_is_none() {
    let mut setup = Setup::new();
    setup.requirements = requirements(&[16], Demand::NotWanted);
    setup.tpm_policy = TpmPolicy::parse(r#"{"mask": "0x10000"}"#).unwrap();
    let attestation = setup.attest(1);
    assert_eq!(setup.pass(&attestation), 0);
    assert_eq!(setup.ima, ImaState::default());
}
