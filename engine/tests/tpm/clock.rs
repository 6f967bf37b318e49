//! The clock rule against recorded verdicts.

use crate::vectors::{list, load};
use keylime_engine::tpm::clock_info::ClockInfo;

const CLOCK: &str = include_str!("../data/clock.json");

#[test]
fn verdicts_are_the_recorded_ones() {
    let file = load(CLOCK);
    assert_eq!(serde_json::to_value(ClockInfo::default()).unwrap(), file["default_previous"]);
    for case in list(&file, "cases") {
        let previous = match &case["previous"] {
            serde_json::Value::Null => ClockInfo::default(),
            value => serde_json::from_value(value.clone()).unwrap(),
        };
        let quoted: ClockInfo = serde_json::from_value(case["quote"].clone()).unwrap();
        let error = quoted.may_follow(&previous).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), case["error"].as_str(), "{case}");
    }
}
