//! The result: one JSON object.

use super::options::Options;
use serde_json::{Map, Value, json};

/// Figures that can be compared, and whether the reference's or ours is the numerator so that more is better for us.
const RATIOS: [(&str, Better); 14] = [
    ("quotes_per_s", Better::Higher),
    ("cpu_ms_per_quote", Better::Lower),
    ("enrolments_per_s", Better::Higher),
    ("cpu_ms_per_enrolment", Better::Lower),
    ("registrations_per_s", Better::Higher),
    ("cpu_ms_per_registration", Better::Lower),
    ("memory_per_agent_bytes", Better::Lower),
    ("rss_bytes", Better::Lower),
    ("attestations_per_s", Better::Higher),
    ("cpu_ms_per_attestation", Better::Lower),
    ("sessions_per_s", Better::Higher),
    ("cpu_ms_per_session", Better::Lower),
    ("serving_again_s", Better::Lower),
    ("all_tokens_tried_s", Better::Lower),
];

#[derive(Clone, Copy)]
enum Better {
    Higher,
    Lower,
}

/// What was asked for.
#[must_use]
pub fn parameters(options: &Options) -> Map<String, Value> {
    let value = json!({
        "scenario": options.scenario.name(),
        "agents": options.agents,
        "interval_s": options.interval(),
        "ak": options.ak.name(),
        "policy_digests": options.policy_files(),
        "new_entries": options.new_entries,
        "connections": options.connections,
        "idle_close_s": options.idle_close().as_secs_f64(),
    });
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// How many times better ours are, for each figure that both have.
#[must_use]
pub fn ratios(ours: &Value, peer: &Value) -> Value {
    let mut ratios = Map::new();
    for (name, better) in RATIOS {
        let (Some(our), Some(their)) = (ours[name].as_f64(), peer[name].as_f64()) else { continue };
        let (above, below) = match better {
            Better::Higher => (our, their),
            Better::Lower => (their, our),
        };
        if below > 0.0 {
            ratios.insert(name.to_owned(), json!((above / below * 10.0).round() / 10.0));
        }
    }
    Value::Object(ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_above_one() {
        let ours = json!({ "quotes_per_s": 1000.0, "cpu_ms_per_quote": 0.1, "rss_bytes": 5 });
        let peer = json!({ "quotes_per_s": 100.0, "cpu_ms_per_quote": 7.0 });
        assert_eq!(ratios(&ours, &peer), json!({ "quotes_per_s": 10.0, "cpu_ms_per_quote": 70.0 }));
    }
}
