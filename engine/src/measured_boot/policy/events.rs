//! Tests for events whose data the specification fixes (PC Client Platform Firmware Profile 1.05 §10.4.3 and §10.4.4).

use super::combinator::{DigestSet, Test};

/// A separator: four equal bytes and the digest of them.
///
/// The second value is written in upper case, as policies have it; logs have lower case, so a separator of ones, which tells
/// of an error in the firmware, is always rejected.
#[must_use]
pub fn separator_test() -> Test {
    Test::Or([("00000000", [0; 4]), ("FFFFFFFF", [0xFF; 4])].map(|(text, bytes)| fixed(text, &bytes)).to_vec())
}

/// An action that firmware may report for this PCR.
#[must_use]
pub fn action_test(pcr: u8) -> Test {
    let actions: &[&str] = match pcr {
        1 => &["Entering ROM Based Setup"],
        4 => &["Calling EFI Application from Boot Option", "Returning from EFI Application from Boot Option"],
        5 => &[
            "Exit Boot Services Invocation",
            "Exit Boot Services Returned with Failure",
            "Exit Boot Services Returned with Success",
        ],
        6 => &["UEFI Debug Mode"],
        _ => return Test::RejectAll(format!("No EV_EFI_ACTION event for {pcr} is expected in the spec")),
    };
    Test::Or(actions.iter().map(|action| fixed(action, action.as_bytes())).collect())
}

fn fixed(text: &str, bytes: &[u8]) -> Test {
    Test::And(vec![Test::field("Event", Test::text(text)), Test::Digests(DigestSet::of_bytes(bytes))])
}
