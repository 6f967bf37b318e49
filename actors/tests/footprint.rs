//! The memory of an idle agent, measured as growth of the process.

mod support;

use async_trait::async_trait;
use keylime_actors::ports::{AgentCall, AgentReply, EvidenceTransport, NewRuntimePolicy, PolicyChoice};
use keylime_actors::verifier::{AgentTls, VerifierHandle, VerifierOptions, VerifierPorts, start};
use keylime_engine::ids::AgentId;
use std::sync::Arc;
use std::time::Duration;
use support::memory_store::MemoryStore;
use support::{enrolment, options, scenario};

/// The aim of the project; the allocator's own share is inside.
const MOST_BYTES_PER_AGENT: usize = 3 * 1024;

#[test]
fn an_idle_agent_costs_at_most_three_kibibytes() {
    scenario(|| async {
        let store = Arc::new(MemoryStore::default());
        let ports = VerifierPorts {
            store: store.clone(),
            transport: Arc::new(Good),
            composer: Arc::new(support::PlainComposer),
            appraiser: Arc::new(support::scripted_appraiser::ScriptedAppraiser),
            clock: Arc::new(keylime_actors::runtime::clock::TokioClock::starting_at(support::EPOCH_MILLIS)),
            entropy: Arc::new(keylime_actors::runtime::entropy::SeededEntropy::new(1)),
        };
        let options = VerifierOptions { quote_interval: Duration::from_secs(3600), ..options() };
        let handle = start(options, AgentTls::Disabled, ports).unwrap();
        enrol_range(&handle, &store, 0..2_000).await;
        let before = resident_bytes();
        enrol_range(&handle, &store, 2_000..12_000).await;
        let per_agent = resident_bytes().saturating_sub(before) / 10_000;
        println!("{per_agent} bytes per idle agent");
        assert_eq!(handle.live_agents(), 12_000);
        assert!(per_agent <= MOST_BYTES_PER_AGENT, "{per_agent} bytes");
    });
}

/// Enrols agents and waits for the first quote of each; the rows are taken away, since only the actors are measured.
async fn enrol_range(handle: &VerifierHandle, store: &MemoryStore, range: std::ops::Range<usize>) {
    for n in range {
        let mut request = enrolment(&format!("d432fbb3-d2f1-4a97-9ef7-75bd81c{n:05}"));
        request.runtime_policy = PolicyChoice::StoredOrNew(NewRuntimePolicy {
            name: "shared".to_owned(),
            text: None,
            checksum: String::new(),
            generator: 1,
            tpm_policy: None,
        });
        handle.enrol(request).await.unwrap();
        // Long enough for the first quote to be judged and its state to be written.
        if n % 100 == 99 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            store.clear_agents();
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    store.clear_agents();
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

struct Good;

#[async_trait]
impl EvidenceTransport for Good {
    async fn send(&self, _: AgentCall) -> AgentReply {
        let key = "k".repeat(451);
        let body = serde_json::json!({ "results": { "quote": "good", "pubkey": key } }).to_string();
        AgentReply::Response { status: 200, body: body.into() }
    }

    fn forget(&self, _: &AgentId) {}
}
