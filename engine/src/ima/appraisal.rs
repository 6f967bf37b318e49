//! Appraisal of a measurement list: replay, policy, signatures, learned keys (`ima.md` §5 to §8).

use super::device_mapper::{DeviceMapperState, EventKind, TableHash};
use super::evm_signature::read_claim;
use super::failure::{EntryProblem, ImaFailure, MAX_EXPECTED, MAX_TEXT_BYTES, PolicyTable};
use super::file_signature::FileSignature;
use super::key_reading::{KeyReadError, read_key};
use super::keyring::{Keyring, LearnedKeyrings, SignatureVerdict, verify_with};
use super::measurement_list::{Entry, EntryError, EntryReader, lines};
use super::state::ImaState;
use super::template::{Extra, Template};
use crate::algorithm::{Digest, HashAlgorithm};
use crate::policy::CompiledRuntimePolicy;
use crate::policy::compiled_policy::Presence;
use crate::policy::digest_table::{Candidate, DigestTable, PathHash};
use smallvec::SmallVec;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// The operator's choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImaOptions {
    /// Whether violations (time of measure, time of use; open writers) are accepted. The name is taken at its word, which
    /// is the reverse of what Keylime's code does with it.
    pub ignore_tomtou_errors: bool,
}

/// What a list is appraised against.
#[derive(Debug, Clone, Copy)]
pub struct ImaContext<'a> {
    /// The runtime policy.
    pub policy: &'a CompiledRuntimePolicy,
    /// Keys the operator trusts: the agent's `ima_sign_verification_keys`, else the policy's `verification-keys`.
    pub tenant_keyring: Option<&'a Keyring>,
    /// The bank of the quote.
    pub bank: HashAlgorithm,
    /// PCR 10 as quoted; `None` when there is no quote to compare with.
    pub quoted_pcr10: Option<&'a [u8]>,
    /// Boot aggregates computed from an event log that was verified with the same quote.
    pub boot_aggregates: &'a [Digest],
    /// The operator's choices.
    pub options: ImaOptions,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct ImaAppraisal {
    /// What is wrong, in the order of the lines; empty when the list is accepted.
    pub failures: Vec<ImaFailure>,
    /// What to remember. After a failure this is the initial state, so that the whole list is asked for next.
    pub state: ImaState,
    /// The replayed PCR 10 after the last line.
    pub running: Digest,
}

/// Whether signatures are considered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyringUse {
    /// Signatures are verified and measured keys are learned: attestation of agents.
    Considered,
    /// Signatures and keys are left aside and only digests count: evidence presented once (`ima.md` §8.4).
    Ignored,
}

/// Most failures kept. Beyond it only failures of an id not seen before are added, so that a hostile list cannot fill the
/// memory and the severity of every id still counts.
pub const MAX_FAILURES: usize = 10_000;

/// Appraises the entries an agent sent, in continuation of `state`.
#[must_use]
pub fn appraise(list: &str, state: &ImaState, context: &ImaContext<'_>) -> ImaAppraisal {
    appraise_with(list, state, context, KeyringUse::Considered)
}

/// Appraises entries with or without regard to signatures.
#[must_use]
pub fn appraise_with(list: &str, state: &ImaState, context: &ImaContext<'_>, keyrings: KeyringUse) -> ImaAppraisal {
    let mut run = Run::start(state, context, keyrings);
    let mut readers: [EntryReader; WAVE] = Default::default();
    let mut lines = lines(list);
    loop {
        // The readers come first: at the end of a wave no line is taken that nobody reads.
        let read = readers.iter_mut().zip(&mut lines).map(|(reader, (line, text))| (line, text, reader.read(text)));
        let wave: SmallVec<[_; WAVE]> = read.collect();
        if wave.is_empty() {
            return run.finish();
        }
        let entries = wave.iter().map(|(_, _, entry)| entry.as_ref().ok());
        let listed = run.list_digests(entries);
        for ((line, text, entry), digest_listed) in wave.into_iter().zip(listed) {
            run.take(line, text, entry, digest_listed);
        }
    }
}

/// Lines that are looked up together.
const WAVE: usize = 16;

struct Run<'a> {
    context: &'a ImaContext<'a>,
    keyrings: KeyringUse,
    before: &'a ImaState,
    running: Running,
    /// The template hash as the log should have it; shared with the replay when both use the same algorithm.
    log_hash: HashAlgorithm,
    expected_hash: Digest,
    matched: Match,
    length: u64,
    learned: Option<Arc<LearnedKeyrings>>,
    devices: Option<Arc<DeviceMapperState>>,
    /// The devices when the replay reached the quoted value; entries after it are judged again with the next list.
    matched_devices: Option<Arc<DeviceMapperState>>,
    failures: Vec<ImaFailure>,
    /// Ids of all failures, filled once there are [`MAX_FAILURES`].
    known_ids: HashSet<String>,
}

/// Where the replay reached the quoted value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    NotYet,
    /// Nothing to compare with.
    NotAsked,
    /// After this line, with this value; line 0 is before the first.
    At(u64, Digest),
}

/// Whether the policy lists an entry's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    Yes,
    No,
}

/// The replayed register.
struct Running {
    bank: HashAlgorithm,
    /// The register, then room for one contribution.
    block: [u8; 128],
    register_len: usize,
}

impl Running {
    fn new(bank: HashAlgorithm, start: &[u8]) -> Self {
        let mut block = [0; 128];
        let register_len = start.len().min(64);
        block[..register_len].copy_from_slice(&start[..register_len]);
        Self { bank, block, register_len }
    }

    fn register(&self) -> &[u8] {
        &self.block[..self.register_len]
    }

    /// TPM 2.0 Part 1 §11.4.7: new value = H(old value ‖ digest).
    fn extend(&mut self, contribution: &[u8]) {
        let end = self.register_len + contribution.len();
        self.block[self.register_len..end].copy_from_slice(contribution);
        let value = self.bank.digest(&[&self.block[..end]]);
        self.register_len = value.as_bytes().len();
        self.block[..self.register_len].copy_from_slice(value.as_bytes());
    }
}

impl<'a> Run<'a> {
    fn start(state: &'a ImaState, context: &'a ImaContext<'a>, keyrings: KeyringUse) -> Self {
        let zeros = Digest::filled(0, context.bank.digest_len());
        let start = state.pcr10.unwrap_or(zeros);
        let matched = match context.quoted_pcr10 {
            None => Match::NotAsked,
            Some(quoted) if quoted == start.as_bytes() => Match::At(0, start),
            Some(_) => Match::NotYet,
        };
        Self {
            context,
            keyrings,
            before: state,
            running: Running::new(context.bank, start.as_bytes()),
            log_hash: context.policy.log_hash,
            expected_hash: zeros,
            matched,
            length: 0,
            learned: state.learned.clone(),
            devices: state.device_mapper.clone().filter(|_| state.next_entry != 0),
            matched_devices: state.device_mapper.clone(),
            failures: Vec::new(),
            known_ids: HashSet::new(),
        }
    }

    /// Appraises one line, read into an entry.
    fn take(&mut self, line: u64, text: &str, entry: Result<Entry<'_, '_>, EntryError>, digest_listed: Listed) {
        self.length += 1;
        match entry {
            Ok(entry) => {
                self.extend(&entry);
                self.judge(line, &entry, digest_listed);
                self.note_match(line);
            }
            Err(_) if self.is_known(EntryProblem::UNREADABLE_ID) => {}
            Err(error) => {
                let text = clipped(text, MAX_TEXT_BYTES).to_owned();
                self.fail(line, "", EntryProblem::Unreadable { text, error });
            }
        }
    }

    /// Extends the replayed register by one entry and computes the hash the log should have.
    fn extend(&mut self, entry: &Entry<'_, '_>) {
        let bank = self.context.bank;
        self.expected_hash = self.log_hash.digest(&[entry.template_data]);
        if is_filled(entry.logged_hash, 0, self.log_hash) {
            // The kernel logs zeros for a violation and extends ones.
            let ones = Digest::filled(0xFF, bank.digest_len());
            self.running.extend(ones.as_bytes());
        } else if bank == self.log_hash {
            self.running.extend(self.expected_hash.as_bytes());
        } else {
            self.running.extend(bank.digest(&[entry.template_data]).as_bytes());
        }
    }

    fn note_match(&mut self, line: u64) {
        if self.matched == Match::NotYet && self.context.quoted_pcr10 == Some(self.running.register()) {
            self.matched = Match::At(line, Digest::from_slice(self.running.register()));
            self.matched_devices.clone_from(&self.devices);
        }
    }

    /// Steps 3 to 6 of `ima.md` §5.
    fn judge(&mut self, line: u64, entry: &Entry<'_, '_>, digest_listed: Listed) {
        if entry.pcr != "10" {
            let got = clipped(entry.pcr, MAX_TEXT_BYTES).to_owned();
            self.fail(line, entry.name, EntryProblem::OtherPcr { got });
        }
        if is_filled(entry.logged_hash, 0, self.log_hash) || is_filled(entry.logged_hash, 0xFF, self.log_hash) {
            if !self.context.options.ignore_tomtou_errors {
                self.fail(line, entry.name, EntryProblem::Violation);
            }
            return;
        }
        if entry.logged_hash != self.expected_hash.as_bytes() {
            let clip = |bytes: &[u8]| bytes[..bytes.len().min(MAX_TEXT_BYTES)].to_vec();
            let (logged, template_data) = (clip(entry.logged_hash), clip(entry.template_data));
            self.fail(line, entry.name, EntryProblem::TemplateHash { logged, template_data });
            return;
        }
        if let Err(problem) = self.validate(line, entry, digest_listed) {
            self.fail(line, entry.name, problem);
        }
    }

    fn validate(&mut self, line: u64, entry: &Entry<'_, '_>, digest_listed: Listed) -> Result<(), EntryProblem> {
        match entry.template {
            Template::Ima
            | Template::ImaNg
            | Template::ImaNgV2
            | Template::ImaSig
            | Template::ImaSigV2
            | Template::ImaModsig
            | Template::EvmSig
                if digest_listed == Listed::Yes =>
            {
                Ok(())
            }
            Template::Ima | Template::ImaNg | Template::ImaNgV2 => self.listed(PolicyTable::Digests, entry),
            Template::ImaSig | Template::ImaSigV2 | Template::ImaModsig | Template::EvmSig => {
                self.listed_or_signed(entry)
            }
            Template::ImaBuf => self.buffer(line, entry),
        }
    }

    /// Whether `digests` of the policy lists each entry's digest for its name: the one look-up that nearly all need.
    fn list_digests<'e>(
        &self,
        entries: impl Iterator<Item = Option<&'e Entry<'e, 'e>>> + Clone,
    ) -> SmallVec<[Listed; WAVE]> {
        let digests = &self.context.policy.digests;
        let hash =
            |entry: Option<&Entry<'_, '_>>| entry.map_or_else(PathHash::default, |entry| digests.hash(entry.name));
        let hashes: SmallVec<[PathHash; WAVE]> = entries.clone().map(hash).collect();
        let candidates: SmallVec<[Candidate; WAVE]> = hashes.into_iter().map(|hash| digests.candidate(hash)).collect();
        let find = |(entry, candidate): (Option<&Entry<'_, '_>>, Candidate)| {
            let entry = entry?;
            digests.get_at(candidate, entry.name).filter(|list| list.contains(entry.digest()))
        };
        entries.zip(candidates).map(find).map(|found| if found.is_some() { Listed::Yes } else { Listed::No }).collect()
    }

    /// Whether the policy accepts the entry's digest or excludes its name.
    ///
    /// The digest is looked for first because that is cheaper; the verdict does not depend on the order.
    fn listed(&self, table: PolicyTable, entry: &Entry<'_, '_>) -> Result<(), EntryProblem> {
        let policy = self.context.policy;
        if policy.presence == Presence::Absent {
            return Ok(());
        }
        let digests: &DigestTable = match table {
            PolicyTable::Digests => &policy.digests,
            PolicyTable::Keyrings => &policy.keyrings,
            PolicyTable::Buffers => &policy.buffers,
        };
        let list = digests.get(entry.name);
        let boot_aggregates = match table {
            PolicyTable::Digests if entry.name == "boot_aggregate" => self.context.boot_aggregates,
            PolicyTable::Digests | PolicyTable::Keyrings | PolicyTable::Buffers => &[],
        };
        if list.is_some_and(|list| list.contains(entry.digest()))
            || boot_aggregates.iter().any(|aggregate| aggregate.as_bytes() == entry.digest())
            || policy.excludes(entry.name)
        {
            return Ok(());
        }
        if list.is_none() && boot_aggregates.is_empty() {
            let got = hex::encode(&entry.digest()[..entry.digest().len().min(MAX_TEXT_BYTES)]);
            return Err(EntryProblem::NotInPolicy { table, got });
        }
        let computed = boot_aggregates.iter().map(Digest::to_hex);
        let listed = list.into_iter().flat_map(|list| list.iter()).map(|element| element.to_text());
        let expected = listed.chain(computed).take(MAX_EXPECTED).collect();
        let got = hex::encode(&entry.digest()[..entry.digest().len().min(MAX_TEXT_BYTES)]);
        Err(EntryProblem::OtherDigest { table, got, expected })
    }

    /// A signature by a known key or a listed digest will do; with neither the digest's failure is reported, or the
    /// signature's when there is no policy.
    fn listed_or_signed(&self, entry: &Entry<'_, '_>) -> Result<(), EntryProblem> {
        let listed = match self.context.policy.presence {
            Presence::Given => self.listed(PolicyTable::Digests, entry),
            Presence::Absent => match self.keyrings {
                KeyringUse::Considered => Err(EntryProblem::InvalidSignature),
                KeyringUse::Ignored => Ok(()),
            },
        };
        if listed.is_err() && self.keyrings == KeyringUse::Considered && self.is_signed(entry) {
            return Ok(());
        }
        listed
    }

    fn is_signed(&self, entry: &Entry<'_, '_>) -> bool {
        match &entry.extra {
            Extra::Signature(Some(range)) => self.vouches(entry.part(range), entry),
            Extra::Evm(fields) => read_claim(entry, fields).is_some_and(|claim| {
                let covers = claim.content_signature.is_none_or(|signature| {
                    self.verify(&signature, entry.algorithm, entry.digest()) == SignatureVerdict::Verified
                });
                let hash = claim.signature.hash.name();
                covers && self.verify(&claim.signature, hash, &claim.signed_digest) == SignatureVerdict::Verified
            }),
            Extra::Signature(None) | Extra::Nothing | Extra::Buffer(_) => false,
        }
    }

    fn vouches(&self, field: &[u8], entry: &Entry<'_, '_>) -> bool {
        FileSignature::read(field).is_some_and(|signature| {
            self.verify(&signature, entry.algorithm, entry.digest()) == SignatureVerdict::Verified
        })
    }

    fn verify(&self, signature: &FileSignature<'_>, algorithm: &str, digest: &[u8]) -> SignatureVerdict {
        let learned = self.learned.iter().flat_map(|rings| rings.iter()).map(|(_, ring)| ring);
        verify_with(self.context.tenant_keyring.into_iter().chain(learned), signature, algorithm, digest)
    }

    /// A measured buffer is a key, which the policy must accept before it is learned, a device-mapper event, or any other
    /// buffer.
    fn buffer(&mut self, line: u64, entry: &Entry<'_, '_>) -> Result<(), EntryProblem> {
        let Extra::Buffer(range) = &entry.extra else { return self.listed(PolicyTable::Buffers, entry) };
        match read_key(entry.part(range)) {
            Ok(key) => {
                if self.context.policy.ignores_keyring(entry.name) {
                    return Ok(());
                }
                self.listed(PolicyTable::Keyrings, entry)?;
                if self.keyrings == KeyringUse::Ignored {
                    return Ok(());
                }
                let learned = self.learned.get_or_insert_default();
                Arc::make_mut(learned)
                    .learn(entry.name, &key)
                    .map_err(|e| EntryProblem::InvalidKey { reason: e.to_string() })
            }
            Err(error @ KeyReadError::UnsupportedType(_)) => {
                Err(EntryProblem::InvalidKey { reason: error.to_string() })
            }
            Err(KeyReadError::NotAKey) => {
                match (&self.context.policy.device_mapper, EventKind::from_name(entry.name)) {
                    (Some(_), Some(kind)) => {
                        self.device_mapper(line, kind, entry, range);
                        Ok(())
                    }
                    (None, _) | (_, None) => self.listed(PolicyTable::Buffers, entry),
                }
            }
        }
    }

    fn device_mapper(&mut self, line: u64, kind: EventKind, entry: &Entry<'_, '_>, range: &Range<usize>) {
        let Some(policy) = &self.context.policy.device_mapper else { return };
        let logged = TableHash { algorithm: entry.algorithm.to_owned(), digest: entry.digest().to_vec() };
        let devices = Arc::make_mut(self.devices.get_or_insert_default());
        for failure in devices.take_event(policy, kind, entry.part(range), logged) {
            self.fail(line, entry.name, EntryProblem::DeviceMapper(failure));
        }
    }

    /// Whether a failure of this id would not be kept.
    fn is_known(&self, id: &str) -> bool {
        self.failures.len() >= MAX_FAILURES && self.known_ids.contains(id)
    }

    fn fail(&mut self, line: u64, name: &str, problem: EntryProblem) {
        if self.failures.len() >= MAX_FAILURES && self.known_ids.contains(&*problem.id()) {
            return;
        }
        let name = clipped(name, MAX_TEXT_BYTES).to_owned();
        let failure = ImaFailure::Entry { line, name, problem };
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
            return;
        }
        if self.known_ids.is_empty() {
            self.known_ids = self.failures.iter().map(|known| known.id().into_owned()).collect();
        }
        if self.known_ids.insert(failure.id().into_owned()) {
            self.failures.push(failure);
        }
    }

    fn finish(mut self) -> ImaAppraisal {
        let running = Digest::from_slice(self.running.register());
        let mut state = self.before.clone();
        match self.matched {
            Match::NotYet => {
                let quoted = hex::encode(self.context.quoted_pcr10.unwrap_or_default());
                self.failures.push(ImaFailure::PcrMismatch { quoted });
            }
            Match::NotAsked => {}
            Match::At(line, value) => {
                state.next_entry = state.next_entry.saturating_add(line);
                state.pcr10 = Some(value);
                if !makes_progress(state.progress, line, self.length) {
                    self.failures.push(ImaFailure::QuoteProgress { matched: line, length: self.length });
                }
                state.progress = Some((line, self.length));
            }
        }
        state.learned = self.learned;
        state.device_mapper = self.matched_devices;
        if !self.failures.is_empty() {
            state = ImaState::default();
        }
        ImaAppraisal { failures: self.failures, state, running }
    }
}

/// Whether a quote that covers `matched` of `length` entries keeps up: entries that were pending before it must be covered
/// by it, unless the list holds none that are pending (`ima.md` §7).
fn makes_progress(previous: Option<(u64, u64)>, matched: u64, length: u64) -> bool {
    let Some((previous_matched, previous_length)) = previous else { return true };
    matched == length || matched >= previous_length.saturating_sub(previous_matched)
}

/// Whether a hash consists of `value` only and has the length of the log's algorithm.
fn is_filled(hash: &[u8], value: u8, algorithm: HashAlgorithm) -> bool {
    hash.len() == algorithm.digest_len() && hash.iter().all(|byte| *byte == value)
}

/// The text, cut to at most `limit` bytes.
fn clipped(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}
