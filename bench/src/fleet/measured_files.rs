//! The files agents measure, in the form of a kernel's measurement list and as PCR extensions, made once for all agents.

use keylime_engine::algorithm::{Digest, HashAlgorithm};
use keylime_harness::ima_log;
use std::fmt::Write as _;

/// The bank agents quote.
pub const BANK: HashAlgorithm = HashAlgorithm::Sha256;
/// The PCR the kernel measures files into.
pub const IMA_PCR: u8 = 10;

/// One entry of a measurement list.
#[derive(Debug, Clone)]
pub struct MeasuredFile {
    line: String,
    extension: Digest,
}

impl MeasuredFile {
    /// An `ima-ng` entry (`ima.md` §2) of a file with this SHA-256 digest.
    fn new(name: &str, digest: &Digest) -> Self {
        let length = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let algorithm = b"sha256:\0";
        let digest_length = length(algorithm.len() + digest.as_bytes().len());
        let name_length = length(name.len() + 1);
        let template: [&[u8]; 6] = [&digest_length, algorithm, digest.as_bytes(), &name_length, name.as_bytes(), b"\0"];
        let template_hash = HashAlgorithm::Sha1.digest(&template).to_hex();
        let line = format!("{IMA_PCR} {template_hash} ima-ng sha256:{} {name}", digest.to_hex());
        Self { line, extension: BANK.digest(&template) }
    }

    /// What the kernel extends PCR 10 with.
    #[must_use]
    pub const fn extension(&self) -> &Digest {
        &self.extension
    }
}

/// A boot aggregate, the allowed files, and one file no policy knows.
#[derive(Debug)]
pub struct MeasuredFiles {
    boot_aggregate: MeasuredFile,
    allowed: Vec<MeasuredFile>,
    unknown: MeasuredFile,
    policy: String,
}

impl MeasuredFiles {
    /// `count` allowed files and the policy that allows them.
    #[must_use]
    pub fn new(count: u32) -> Self {
        let names: Vec<String> = (0..count).map(|n| format!("/usr/lib/bench/{}/file-{n}", n % 97)).collect();
        let contents: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
        let measured = |name: &str, content: &[u8]| MeasuredFile::new(name, &HashAlgorithm::Sha256.digest(&[content]));
        Self {
            boot_aggregate: measured("boot_aggregate", &[0; 320]),
            allowed: contents.iter().map(|(name, content)| measured(name, content)).collect(),
            unknown: measured("/tmp/intruder", b"a program that nobody allowed"),
            policy: ima_log::policy(&contents).to_string(),
        }
    }

    /// The runtime policy, JSON.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Whether agents send measurement lists.
    #[must_use]
    pub fn are_measured(&self) -> bool {
        !self.allowed.is_empty()
    }

    /// The entry at a position of a list in which the unknown file stands at `unknown_at`.
    #[must_use]
    pub fn entry(&self, position: u64, unknown_at: Option<u64>) -> &MeasuredFile {
        if unknown_at == Some(position) {
            return &self.unknown;
        }
        let Some(file) = position.checked_sub(1) else { return &self.boot_aggregate };
        let count = self.allowed.len().max(1) as u64;
        #[allow(clippy::cast_possible_truncation, reason = "the remainder is below a length")]
        self.allowed.get((file % count) as usize).unwrap_or(&self.boot_aggregate)
    }

    /// The text of a list from one position up to another.
    #[must_use]
    pub fn list(&self, from: u64, to: u64, unknown_at: Option<u64>) -> String {
        let mut text = String::new();
        for position in from..to {
            let _ = writeln!(text, "{}", self.entry(position, unknown_at).line);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::ima::{ImaContext, ImaOptions, ImaState, appraise};
    use keylime_engine::policy::CompiledRuntimePolicy;

    #[test]
    fn lists_satisfy_their_policy_until_the_unknown_file() {
        let files = MeasuredFiles::new(3);
        let policy = CompiledRuntimePolicy::compile(files.policy()).unwrap();
        for unknown_at in [None, Some(4)] {
            let mut pcr = Digest::filled(0, BANK.digest_len());
            for position in 0..6 {
                let entry = files.entry(position, unknown_at);
                pcr = BANK.digest(&[pcr.as_bytes(), entry.extension().as_bytes()]);
            }
            let context = ImaContext {
                policy: &policy,
                tenant_keyring: None,
                bank: BANK,
                quoted_pcr10: Some(pcr.as_bytes()),
                boot_aggregates: &[],
                options: ImaOptions::default(),
            };
            let appraisal = appraise(&files.list(0, 6, unknown_at), &ImaState::default(), &context);
            assert_eq!(appraisal.failures.len(), usize::from(unknown_at.is_some()));
            assert_eq!(appraisal.running, pcr);
        }
    }
}
