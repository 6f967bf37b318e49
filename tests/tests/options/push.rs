//! Options of push attestation.

use super::push_site::{Answer, Site};
use keylime_bench::push_machine::PushMachine;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

fn moment(answer: &Answer, member: &str) -> OffsetDateTime {
    let text = answer.body["data"]["attributes"][member].as_str().unwrap_or_else(|| panic!("{member}: {answer:?}"));
    OffsetDateTime::parse(text, &Rfc3339).unwrap()
}

fn seconds_between(answer: &Answer, from: &str, to: &str) -> f64 {
    (moment(answer, to) - moment(answer, from)).as_seconds_f64()
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").unwrap_or_else(|| panic!("{answer:?}")).parse().unwrap()
}

#[test]
fn lifetimes_and_intervals_are_those_of_the_options() {
    let site = Site::start(&[
        ("nonce_lifetime", "41"),
        ("session_lifetime", "93"),
        ("challenge_lifetime", "37"),
        ("quote_interval", "7"),
        ("severity_labels", r#"["low", "high"]"#),
        ("severity_policy", r#"[{"event_id": "ima.*", "severity_label": "high"}]"#),
        ("extend_token_on_attestation", "False"),
    ]);
    let mut machine = PushMachine::from_seed(1).unwrap();
    machine.run("/usr/bin/unknown", &[7; 32]);
    site.enrol("agent-1", &machine, &[]);
    let opened = site.session("agent-1");
    let nonce = seconds_between(&opened, "created_at", "challenges_expire_at");
    assert!((nonce - 41.0).abs() < 1.0, "nonce_lifetime: {nonce}");
    let proved = site.prove("agent-1", &opened, &mut machine);
    let session = seconds_between(&proved, "response_received_at", "token_expires_at");
    assert!((session - 93.0).abs() < 1.0, "session_lifetime: {session}");
    let token = proved.body["data"]["attributes"]["token"].as_str().unwrap();

    let path = "/v3.0/agents/agent-1/attestations";
    let asked = site.agent(token, "POST", path, &machine.capabilities());
    assert_eq!(asked.status, 201, "{asked:?}");
    let challenge = seconds_between(&asked, "capabilities_received_at", "challenges_expire_at");
    assert!((challenge - 37.0).abs() < 1.0, "challenge_lifetime: {challenge}");
    let location = asked.header("location").unwrap().to_owned();
    let wanted = keylime_bench::push_machine::Wanted::read(&asked.body).unwrap();
    let taken = site.agent(token, "PATCH", &location, &machine.evidence(&wanted).unwrap());
    assert_eq!(taken.body["meta"]["seconds_to_next_attestation"], 7, "quote_interval: {taken:?}");
    assert_eq!(site.verdict(&location), ("fail".to_owned(), json!("policy_violation")));
    let early = site.agent(token, "POST", path, &machine.capabilities());
    assert_eq!(early.status, 429, "quote_interval: {early:?}");
    assert!((1..=7).contains(&retry_after(&early)), "quote_interval: {early:?}");
    // The second of the two labels.
    assert_eq!(site.status("agent-1")["severity_level"], 1, "severity_labels, severity_policy");
}

/// Statuses of sessions that are asked for by these agents, a moment after the first two.
fn sessions(options: &[(&str, &str)], agents: [&str; 3]) -> Vec<u16> {
    let site = Site::start(options);
    let machine = PushMachine::from_seed(2).unwrap();
    for agent in ["one", "two", "three"] {
        site.enrol(agent, &machine, &[]);
    }
    let mut statuses = Vec::new();
    for (number, agent) in agents.into_iter().enumerate() {
        if number == 2 {
            std::thread::sleep(Duration::from_millis(1_500));
        }
        statuses.push(site.session(agent).status);
    }
    statuses
}

#[test]
fn sessions_are_limited_by_agent_by_address_and_in_all() {
    let (same, others) = (["one", "one", "one"], ["one", "two", "three"]);
    let limits = [
        ("session_create_rate_limit_per_agent", "session_create_rate_limit_window_agent", same),
        ("session_create_rate_limit_per_ip", "session_create_rate_limit_window_ip", others),
        ("session_create_rate_limit_global", "session_create_rate_limit_window_global", others),
    ];
    for (limit, window, agents) in limits {
        // Beyond the limit of their address, agents that are enrolled are served out of the common budget.
        let mut options = vec![(limit, "2")];
        match limit {
            "session_create_rate_limit_per_ip" => options.push(("session_create_rate_limit_global", "0")),
            "session_create_rate_limit_global" => options.push(("session_create_rate_limit_per_ip", "0")),
            _ => {}
        }
        let with = |seconds| [options.clone(), vec![(window, seconds)]].concat();
        assert_eq!(sessions(&with("1000"), agents), [200, 200, 429], "{limit}");
        assert_eq!(sessions(&with("1"), agents), [200, 200, 200], "{window}");
    }
}

#[test]
fn failures_are_made_up_for_only_where_that_is_allowed() {
    for (recovers, status) in [("False", "FAIL"), ("True", "PASS")] {
        let site = Site::start(&[("auto_recover_attestation_failures", recovers)]);
        let mut machine = PushMachine::from_seed(3).unwrap();
        site.enrol("agent-1", &machine, &[("/usr/bin/allowed", b"allowed")]);
        let token = site.token("agent-1", &mut machine);
        let attest = |machine: &mut PushMachine| {
            let (location, wanted) = site.open("agent-1", &token, machine);
            let evidence = machine.evidence(&wanted).unwrap();
            assert_eq!(site.agent(&token, "PATCH", &location, &evidence).status, 202);
            site.verdict(&location).0
        };
        machine.run("/usr/bin/unknown", &[7; 32]);
        assert_eq!(attest(&mut machine), "fail");
        machine.reboot();
        assert_eq!(attest(&mut machine), "pass");
        assert_eq!(site.status("agent-1")["attestation_status"], Value::from(status), "{recovers}");
    }
}

#[test]
fn a_silent_agent_comes_back_by_itself_only_where_that_is_allowed() {
    let site = Site::start(&[("timeout_recovery", "manual")]);
    let mut machine = PushMachine::from_seed(4).unwrap();
    site.enrol("agent-1", &machine, &[]);
    let token = site.token("agent-1", &mut machine);
    let (location, wanted) = site.open("agent-1", &token, &machine);
    let evidence = machine.evidence(&wanted).unwrap();
    assert_eq!(site.agent(&token, "PATCH", &location, &evidence).status, 202);
    assert_eq!(site.verdict(&location).0, "pass");
    let start = Instant::now();
    while site.status("agent-1")["attestation_status"] != "TIMEOUT" {
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = site.agent(&token, "POST", "/v3.0/agents/agent-1/attestations", &machine.capabilities());
    assert_eq!(refused.status, 403, "timeout_recovery: {refused:?}");
}
