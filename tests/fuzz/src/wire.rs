//! Bodies of requests and answers.

use keylime_engine::appraise::{EvidenceVerdict, PresentedTerms, appraise_request};
use keylime_engine::evidence::{QuoteResults, classify_quote_reply, classify_share_reply, classify_version_reply};
use keylime_engine::identity::certificate_store::CertificateStore;
use keylime_engine::identity::registration::{
    RegistrationEntropy, RegistrationRequest, RegistrationRules, activate, register,
};
use keylime_engine::ids::AgentId;
use keylime_engine::evidence::json_bound::json_nodes;
use keylime_schema::wire::python_json::{self, Layout};
use keylime_schema::wire::v2::enrolment::EnrolmentRequest;
use serde_json::Value;

/// A registration, and a second one under the same id: what was accepted once is accepted again.
pub fn registration(data: &[u8]) {
    let Ok(Value::Object(members)) = serde_json::from_slice(data) else { return };
    let agent_id = AgentId::parse("a1").expect("an id");
    let entropy = || RegistrationEntropy { challenge: [7; 96], seal: [9; 264] };
    let request = RegistrationRequest {
        agent_id: &agent_id,
        members: &members,
        stored: None,
        authorities: &CertificateStore::default(),
    };
    let Ok(accepted) = register(&request, RegistrationRules::default(), &entropy()) else { return };
    let again = RegistrationRequest { stored: Some(&accepted.registration), ..request };
    assert!(register(&again, RegistrationRules::default(), &entropy()).is_ok());
    assert!(activate(&agent_id, &accepted.registration, "00").is_err());
}

/// Bodies that the servers and the verifier read as JSON.
pub fn wire_json(data: &[u8]) {
    let _ = QuoteResults::parse(data);
    let _ = classify_quote_reply(200, data);
    let _ = classify_share_reply(200, data);
    let _ = classify_version_reply(200, data);
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    assert!(count(&value) <= json_nodes(data));
    let _ = EnrolmentRequest::from_json(&value);
    let text = python_json::to_string(&value, Layout::Compact).expect("any value can be written");
    assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(value));
}

/// Evidence that anybody presents: nothing the fuzzer can think of is valid.
pub fn presented_evidence(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Value>(data) else { return };
    let terms = PresentedTerms::default();
    let verdict = appraise_request(&request, &terms);
    // The corpus holds one valid request; what says the same in other words is valid, too.
    if verdict == EvidenceVerdict::Valid {
        assert_eq!(request["data"]["nonce"], "N1");
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum::<usize>(),
        Value::Object(members) => members.values().map(count).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}
