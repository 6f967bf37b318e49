//! Commands, crashes, restarts and outages, on paused time.

mod support;

use keylime_actors::ports::{NewRuntimePolicy, PolicyChoice};
use keylime_actors::verifier::{AttestationStatus, CommandError, Deletion, EnrolError, Readiness};
use keylime_engine::ids::AgentId;
use std::sync::Arc;
use std::time::Duration;
use support::memory_store::MemoryStore;
use support::scripted_fleet::Act;
use support::{World, enrolment, options, pass, scenario, start_on};

#[test]
fn a_resting_agent_is_deleted_at_once() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("resting").await;
        pass(1.0).await;
        assert_eq!(world.handle.delete(&agent).await.unwrap(), Deletion::Done);
        assert!(world.row(&agent).is_none());
        assert!(world.handle.status(&agent).await.unwrap().is_none());
        pass(0.1).await;
        assert_eq!(world.handle.live_agents(), 0);
        assert!(matches!(world.handle.delete(&agent).await, Err(CommandError::NotFound)));
        world.enrol("resting").await;
        pass(1.0).await;
        assert_eq!(world.status(&agent).await.operational_state, Some(3), "the id can be used again");
    });
}

#[test]
fn deletion_waits_for_the_request_in_flight() {
    scenario(|| async {
        let world = World::new();
        let id = enrolment("busy").agent_id;
        world.fleet.script(&id, [Act::Slow(Duration::from_secs(10))]);
        let agent = world.enrol("busy").await;
        pass(1.0).await;
        assert_eq!(world.handle.delete(&agent).await.unwrap(), Deletion::Accepted);
        assert_eq!(world.status(&agent).await.operational_state, Some(8));
        assert_eq!(world.handle.delete(&agent).await.unwrap(), Deletion::Accepted);
        pass(10.0).await;
        assert!(world.row(&agent).is_none());
        assert_eq!(world.handle.live_agents(), 0);
    });
}

#[test]
fn stop_and_reactivate() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("stopped").await;
        pass(1.0).await;
        world.handle.stop(&agent).await.unwrap();
        assert_eq!(world.row(&agent).unwrap().operational_state, Some(10));
        let status = world.status(&agent).await;
        assert_eq!((status.operational_state, status.attestation_status), (Some(10), AttestationStatus::Fail));
        world.fleet.forget_requests();
        pass(10.0).await;
        assert!(world.fleet.asked(&agent).is_empty());
        world.handle.reactivate(&agent).await.unwrap();
        pass(1.0).await;
        assert_eq!(world.status(&agent).await.operational_state, Some(3));
        assert_eq!(world.row(&agent).unwrap().operational_state, Some(3));
        assert!(world.fleet.paths(&agent)[0].contains("partial=0"), "the payload key is asked for again");
        world.handle.reactivate(&agent).await.unwrap();
        pass(10.0).await;
        assert!(world.fleet.asked(&agent).len() <= 7, "no second loop");
    });
}

#[test]
fn a_failed_agent_revives_and_may_fail_again_with_a_new_notice() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("revived").await;
        world.fleet.habit(&agent, Act::Quote("forged"));
        pass(3.0).await;
        world.handle.reactivate(&agent).await.unwrap();
        pass(3.0).await;
        assert_eq!(world.status(&agent).await.operational_state, Some(9));
        assert_eq!(world.store.outbox().len(), 2);
    });
}

#[test]
fn agents_of_other_verifiers_are_shown_but_not_commanded() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("foreign").await;
        world.store.change(&agent, |row| row.verifier_id = "other".to_owned());
        assert!(world.handle.status(&agent).await.unwrap().is_some());
        assert!(matches!(world.handle.stop(&agent).await, Err(CommandError::OtherVerifier)));
        assert_eq!(world.handle.agent_ids(Some("other")).await.unwrap(), ["foreign"]);
    });
}

#[test]
fn cve_2022_3500_a_panic_in_one_of_a_hundred_leaves_the_others_on_time() {
    scenario(|| async {
        let world = World::new();
        let mut agents = Vec::new();
        for n in 0..100 {
            agents.push(world.enrol(&format!("agent-{n:03}")).await);
        }
        pass(1.0).await;
        assert_eq!(world.handle.live_agents(), 100);
        world.fleet.script(&agents[42], [Act::Quote("panic")]);
        world.fleet.forget_requests();
        pass(20.0).await;
        for (n, agent) in agents.iter().enumerate() {
            let asked = world.fleet.asked(agent);
            let status = world.status(agent).await;
            assert_eq!(status.operational_state, Some(3), "agent {n}");
            assert!(asked.len() >= 9, "agent {n} was asked {} times", asked.len());
            if n != 42 {
                for pair in asked.windows(2) {
                    let gap = pair[1].at - pair[0].at;
                    assert!(gap < Duration::from_millis(2040), "agent {n} waited {gap:?}");
                }
            }
        }
        assert_eq!(world.handle.live_agents(), 100);
        assert!(world.store.outbox().is_empty(), "a crash is no verdict");
    });
}

#[test]
fn cve_2022_3500_an_actor_that_keeps_crashing_is_quarantined_and_comes_back_on_request() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("crashing").await;
        let other = world.enrol("fine").await;
        pass(3.0).await;
        world.fleet.habit(&agent, Act::Quote("panic"));
        pass(60.0).await;
        let status = world.status(&agent).await;
        assert!(status.quarantined);
        assert_ne!(status.attestation_status, AttestationStatus::Fail, "a crash is no verdict");
        assert_eq!(world.handle.live_agents(), 1);
        assert_eq!(world.status(&other).await.attestation_status, AttestationStatus::Pass);
        pass(600.0).await;
        assert_eq!(world.status(&agent).await.attestation_status, AttestationStatus::Pending, "nor a pass for ever");
        world.fleet.habit(&agent, Act::Quote("good"));
        world.handle.reactivate(&agent).await.unwrap();
        pass(3.0).await;
        let status = world.status(&agent).await;
        assert_eq!((status.quarantined, status.attestation_status), (false, AttestationStatus::Pass));
        world.fleet.habit(&agent, Act::Quote("panic"));
        pass(120.0).await;
        assert_eq!(world.handle.delete(&agent).await.unwrap(), Deletion::Done, "a quarantined agent can be deleted");
        assert!(world.row(&agent).is_none());
    });
}

#[test]
fn a_restarted_verifier_takes_up_its_agents_spread_over_the_interval() {
    scenario(|| async {
        let first = World::new();
        for n in 0..50 {
            first.enrol(&format!("agent-{n:02}")).await;
        }
        let failed = first.enrol("failed").await;
        first.fleet.habit(&failed, Act::Quote("forged"));
        pass(5.0).await;
        let deleting = first.enrol("deleting").await;
        first.handle.shutdown(Duration::from_secs(5)).await;
        assert_eq!(first.handle.ready(), Readiness::Stopping);
        first.store.change(&deleting, |row| row.operational_state = Some(8));
        let counts: Vec<i64> = (0..50).map(|n| first.row(&id(n)).unwrap().attestation_count).collect();
        assert!(counts.iter().all(|count| *count >= 2), "stored before the end: {counts:?}");

        first.fleet.forget_requests();
        let second = start_on(options(), Arc::clone(&first.store), Arc::clone(&first.fleet));
        pass(2.1).await;
        assert_eq!(second.ready(), Readiness::Ready);
        assert_eq!(second.live_agents(), 51);
        assert!(first.row(&deleting).is_none(), "an interrupted deletion is finished");
        let mut early = 0;
        let begun = first.fleet.asked(&id(0))[0].at;
        for n in 0..50 {
            let asked = first.fleet.asked(&id(n));
            assert!((1..=2).contains(&asked.len()), "agent {n} was asked {} times", asked.len());
            assert!(asked[0].path.contains("partial=0"));
            assert!(asked[0].path.contains("ima_ml_entry=") && !asked[0].path.ends_with("ima_ml_entry=0"));
            early += usize::from(asked[0].at < begun + Duration::from_millis(500) && asked[0].at >= begun);
        }
        assert!(early < 40, "not all at once: {early}");
        assert!(first.fleet.asked(&failed).is_empty(), "a failed agent is not revived");
        let status = second.status(&failed).await.unwrap().unwrap();
        assert_eq!(status.operational_state, Some(9));
    });
}

#[test]
fn nothing_is_attested_while_the_database_is_away_and_no_verdict_is_lost() {
    scenario(|| async {
        let world = World::new();
        let good = world.enrol("good").await;
        let bad = world.enrol("bad").await;
        pass(1.0).await;
        world.store.set_away(true);
        world.fleet.habit(&bad, Act::Quote("forged"));
        pass(5.0).await;
        assert_eq!(world.handle.ready(), Readiness::StoreUnavailable);
        assert!(world.store.outbox().is_empty());
        assert!(matches!(world.handle.enrol(enrolment("late")).await, Err(EnrolError::Busy { .. })));
        world.fleet.forget_requests();
        pass(30.0).await;
        assert!(world.fleet.asked(&good).is_empty(), "admission is closed");
        world.store.set_away(false);
        pass(10.0).await;
        assert_eq!(world.handle.ready(), Readiness::Ready);
        let outbox = world.store.outbox();
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox[0].agent_id, bad);
        assert_eq!(world.row(&bad).unwrap().operational_state, Some(9));
        assert!(!world.fleet.asked(&good).is_empty(), "and attestation goes on");
    });
}

#[test]
fn a_replaced_policy_takes_effect_at_the_next_quote() {
    scenario(|| async {
        let world = World::new();
        let mut request = enrolment("judged");
        request.runtime_policy = PolicyChoice::New(policy("ours", 2));
        let agent = world.enrol_with(request).await;
        pass(1.0).await;
        assert!(world.status(&agent).await.has_runtime_policy);
        let users = world.handle.store().update_runtime_policy(policy("ours", 1)).await.unwrap();
        assert_eq!(users, std::slice::from_ref(&agent));
        world.handle.policy_changed(users).await;
        assert!(!world.status(&agent).await.has_runtime_policy, "the new row is used at once");
        pass(3.0).await;
        assert_eq!(world.status(&agent).await.operational_state, Some(3));
    });
}

#[test]
fn rows_and_actors_are_reconciled() {
    scenario(|| async {
        let world = World::new();
        let agent = world.enrol("known").await;
        pass(1.0).await;
        let mut stranger = world.row(&agent).unwrap();
        stranger.agent_id = AgentId::parse("stranger").unwrap();
        world.store.insert(stranger);
        world.store.remove(&agent);
        pass(200.0).await;
        assert_eq!(world.handle.live_agents(), 1);
        let stranger = AgentId::parse("stranger").unwrap();
        assert!(!world.fleet.asked(&stranger).is_empty());
    });
}

#[test]
fn pages_show_what_the_actors_know() {
    scenario(|| async {
        let world = World::with(options(), Arc::new(MemoryStore::default()));
        for n in 0..7 {
            world.enrol(&format!("agent-{n:02}")).await;
        }
        pass(9.0).await;
        let first = world.handle.statuses(Some("default"), None, 4).await.unwrap();
        let ids: Vec<&str> = first.iter().map(|status| &*status.agent_id).collect();
        assert_eq!(ids, ["agent-00", "agent-01", "agent-02", "agent-03"]);
        assert!(first.iter().all(|status| status.attestation_count == 5), "memory is ahead of the rows");
        let rest = world.handle.statuses(None, Some("agent-03"), 100).await.unwrap();
        assert_eq!(rest.len(), 3);
        assert!(world.handle.statuses(None, Some("agent-06"), 100).await.unwrap().is_empty());
    });
}

fn id(n: usize) -> AgentId {
    AgentId::parse(&format!("agent-{n:02}")).unwrap()
}

fn policy(name: &str, generator: i32) -> NewRuntimePolicy {
    NewRuntimePolicy {
        name: name.to_owned(),
        text: None,
        checksum: format!("{generator}"),
        generator,
        tpm_policy: None,
    }
}
