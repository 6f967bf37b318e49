//! A fleet that is due all at once is asked in turn, on paused time.

mod support;

use keylime_actors::verifier::{AttestationStatus, VerifierOptions};
use keylime_engine::ids::AgentId;
use std::sync::Arc;
use std::time::Duration;
use support::memory_store::MemoryStore;
use support::scripted_fleet::Act;
use support::{World, options, pass, scenario};

const AGENTS: usize = 1_000;
/// What a shard opens at a time.
const OPENINGS: usize = 64;

async fn enrolled(world: &World, act: &Act) -> Vec<AgentId> {
    let mut agents = Vec::new();
    for n in 0..AGENTS {
        let id = AgentId::parse(&format!("agent-{n:04}")).unwrap();
        world.fleet.habit(&id, act.clone());
        agents.push(world.enrol(id.as_str()).await);
    }
    agents
}

async fn assert_attested(world: &World, agents: &[AgentId]) {
    for agent in agents {
        let status = world.status(agent).await;
        assert_eq!(
            (status.operational_state, status.attestation_status),
            (Some(3), AttestationStatus::Pass),
            "{agent}"
        );
        assert!(status.attestation_count >= 2, "{agent}: {}", status.attestation_count);
        // Nobody is asked early because it has waited for an earlier turn.
        for pair in world.fleet.asked(agent).windows(2) {
            let gap = pair[1].at - pair[0].at;
            assert!(gap >= Duration::from_millis(9_700), "{agent} was asked again after {gap:?}");
        }
    }
}

#[test]
fn few_connections_are_opened_at_a_time_and_nobody_is_given_up_for_it() {
    scenario(|| async {
        let options = VerifierOptions {
            quote_interval: Duration::from_secs(10),
            request_timeout: Duration::from_secs(1),
            ..options()
        };
        let world = World::with(options, Arc::new(MemoryStore::default()));
        world.fleet.close_connections();
        // All at once they would take a hundred seconds of a machine that does one connection in a tenth.
        let agents = enrolled(&world, &Act::Slow(Duration::from_millis(400))).await;
        pass(60.0).await;
        assert_eq!(world.fleet.most_openings(), OPENINGS);
        assert_attested(&world, &agents).await;
    });
}

#[test]
fn requests_beyond_the_limit_wait_for_those_in_flight() {
    scenario(|| async {
        let options = VerifierOptions { quote_interval: Duration::from_secs(10), max_in_flight: 50, ..options() };
        let world = World::with(options, Arc::new(MemoryStore::default()));
        let agents = enrolled(&world, &Act::Slow(Duration::from_millis(200))).await;
        pass(60.0).await;
        assert_eq!(world.fleet.most_openings(), 0);
        assert_attested(&world, &agents).await;
    });
}

#[test]
fn an_agent_that_was_stopped_while_it_waited_is_not_asked() {
    scenario(|| async {
        let options = VerifierOptions { quote_interval: Duration::from_secs(10), max_in_flight: 1, ..options() };
        let world = World::with(options, Arc::new(MemoryStore::default()));
        let [first, stopped, last] = ["first", "stopped", "last"].map(|name| AgentId::parse(name).unwrap());
        world.fleet.habit(&first, Act::Slow(Duration::from_secs(5)));
        for agent in [&first, &stopped, &last] {
            world.enrol(agent.as_str()).await;
        }
        pass(1.0).await;
        assert_eq!((world.fleet.asked(&first).len(), world.fleet.asked(&stopped).len()), (1, 0));
        world.handle.stop(&stopped).await.unwrap();
        pass(8.0).await;
        assert!(world.fleet.asked(&stopped).is_empty());
        assert_eq!(world.status(&last).await.attestation_count, 1);
    });
}
