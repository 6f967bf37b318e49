//! Measurement lists.

use crate::{halves, text};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::device_mapper::{EventKind, grammar};
use keylime_engine::ima::{ImaContext, ImaOptions, ImaState, KeyringUse, MAX_FAILURES, appraise_with};
use keylime_engine::policy::CompiledRuntimePolicy;
use std::sync::LazyLock;

static POLICIES: LazyLock<[CompiledRuntimePolicy; 3]> = LazyLock::new(|| {
    let full =
        CompiledRuntimePolicy::compile(include_str!("../corpus/ima_policy.json")).expect("the policy of the corpus");
    [CompiledRuntimePolicy::absent(), CompiledRuntimePolicy::empty(), full]
});

/// A measurement list against three policies, with and without key rings: the register it replays to depends on the list
/// only, and the failures are bounded.
pub fn ima_list(data: &[u8]) {
    let Some((choice, list)) = data.split_first() else { return };
    let Some(list) = text(list) else { return };
    let bank = if choice & 1 == 0 { HashAlgorithm::Sha256 } else { HashAlgorithm::Sha1 };
    let options = ImaOptions { ignore_tomtou_errors: choice & 2 == 0 };
    for policy in POLICIES.iter() {
        let context =
            ImaContext { policy, tenant_keyring: None, bank, quoted_pcr10: None, boot_aggregates: &[], options };
        let state = ImaState::default();
        let considered = appraise_with(list, &state, &context, KeyringUse::Considered);
        let ignored = appraise_with(list, &state, &context, KeyringUse::Ignored);
        assert_eq!(considered.running, ignored.running);
        assert!(considered.failures.len() <= MAX_FAILURES + 100);
        for failure in considered.failures.iter().take(50) {
            let _ = (failure.id(), failure.context(), failure.detail());
        }
    }
}

/// Events of the device mapper: the text before the first zero byte chooses the kind.
pub fn device_mapper(data: &[u8]) {
    let (kind, event) = halves(data);
    let (Some(kind), Some(event)) = (text(kind).and_then(EventKind::from_name), text(event)) else { return };
    let _ = grammar::parse_event(kind, event);
}
