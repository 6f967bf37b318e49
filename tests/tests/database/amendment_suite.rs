//! Changes of enrolled agents in the verifier's store.

use crate::engines::TestDatabase;
use crate::on_every_engine;
use crate::verifier_suite::{agent, boot, enrol, id, runtime};
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{
    AgentAmendment, AgentRecord, NewBootPolicy, NewRuntimePolicy, PolicyChoice, VerifierStore as _, VerifierWrite,
    WriteOutcome,
};

on_every_engine!(Verifier;
    a_change_touches_what_it_names_and_nothing_else,
    policies_of_a_change_follow_the_rules_of_an_enrolment,
    an_agents_own_policy_is_replaced_unless_another_uses_it,
);

fn store(test: &TestDatabase) -> SqlVerifierStore {
    SqlVerifierStore::new(test.db.clone())
}

fn amend(agent: &str, changes: AgentAmendment) -> VerifierWrite {
    VerifierWrite::Amend { agent_id: id(agent), changes: Box::new(changes) }
}

async fn outcome(store: &SqlVerifierStore, agent: &str, changes: AgentAmendment) -> WriteOutcome {
    store.write(vec![amend(agent, changes)]).await.unwrap().remove(0)
}

async fn a_change_touches_what_it_names_and_nothing_else(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("a"), enrol("b")]).await.unwrap();
    let before = store.agent("a").await.unwrap().unwrap();
    let changes = AgentAmendment {
        ip: Some("agent.example".into()),
        port: Some(9003),
        tpm_policy: Some(r#"{"mask": "0x401", "0": ["größer"]}"#.into()),
        meta_data: Some(r#"{"rack": "ß"}"#.into()),
        accept_tpm_signing_algs: Some(vec!["ecdsa".into(), "rsassa".into()]),
        ..AgentAmendment::default()
    };
    assert_eq!(outcome(&store, "a", changes.clone()).await, WriteOutcome::Written);
    let mut expected = before.clone();
    changes.apply(&mut expected);
    assert_eq!(store.agent("a").await.unwrap().unwrap(), expected);
    let untouched = store.agent("b").await.unwrap().unwrap();
    assert_eq!(AgentRecord { runtime_policy_id: None, boot_policy_id: None, ..untouched }, agent("b"));
    // Two changes in one batch are both made, and no change is none.
    let meta = AgentAmendment { meta_data: Some("{}".into()), ..AgentAmendment::default() };
    let keys = AgentAmendment { revocation_key: Some(String::new()), ..AgentAmendment::default() };
    let batch = vec![amend("a", meta), amend("a", keys), amend("a", AgentAmendment::default()), amend("none", changes)];
    let outcomes = store.write(batch).await.unwrap();
    assert_eq!(outcomes[..3], [WriteOutcome::Written, WriteOutcome::Written, WriteOutcome::Written]);
    assert_eq!(outcomes[3], WriteOutcome::Gone { stored_state: None });
    let stored = store.agent("a").await.unwrap().unwrap();
    assert_eq!((stored.meta_data.as_str(), stored.revocation_key.as_str()), ("{}", ""));
}

async fn policies_of_a_change_follow_the_rules_of_an_enrolment(test: TestDatabase) {
    let store = store(&test);
    store.write(vec![enrol("a")]).await.unwrap();
    store.create_runtime_policy(runtime("shared")).await.unwrap();
    store.create_boot_policy(boot("shared")).await.unwrap();
    let before = store.agent("a").await.unwrap().unwrap();
    let with = |runtime_policy, boot_policy| AgentAmendment {
        runtime_policy,
        boot_policy,
        meta_data: Some("{\"changed\": 1}".into()),
        ..AgentAmendment::default()
    };
    let stored = |name: &str| Some(PolicyChoice::Stored(name.to_owned()));
    for (changes, refusal) in [
        (with(Some(PolicyChoice::New(runtime("shared"))), None), WriteOutcome::RuntimePolicyExists("shared".into())),
        (with(stored("none"), None), WriteOutcome::RuntimePolicyMissing("none".into())),
        // The runtime policy could be stored, the boot policy not: neither is.
        (
            with(Some(PolicyChoice::New(runtime("trace"))), Some(PolicyChoice::New(boot("shared")))),
            WriteOutcome::BootPolicyExists("shared".into()),
        ),
        (
            with(Some(PolicyChoice::New(runtime("trace"))), Some(PolicyChoice::Stored("none".into()))),
            WriteOutcome::BootPolicyMissing("none".into()),
        ),
    ] {
        assert_eq!(outcome(&store, "a", changes).await, refusal);
    }
    assert_eq!(store.agent("a").await.unwrap().unwrap(), before);
    assert_eq!(store.runtime_policy("trace").await.unwrap(), None);

    let changes = with(stored("shared"), Some(PolicyChoice::New(boot("new"))));
    assert_eq!(outcome(&store, "a", changes).await, WriteOutcome::Written);
    let after = store.agent("a").await.unwrap().unwrap();
    let shared = store.runtime_policy("shared").await.unwrap().unwrap();
    let new = store.boot_policy("new").await.unwrap().unwrap();
    assert_eq!((after.runtime_policy_id, after.boot_policy_id), (Some(shared.id), Some(new.id)));
    assert_eq!(after.meta_data, "{\"changed\": 1}");
}

async fn an_agents_own_policy_is_replaced_unless_another_uses_it(test: TestDatabase) {
    let store = store(&test);
    let borrower = VerifierWrite::Enrol {
        agent: Box::new(agent("borrower")),
        runtime_policy: PolicyChoice::Stored("lender".into()),
        boot_policy: PolicyChoice::Stored("lender".into()),
    };
    store.write(vec![enrol("a"), enrol("lender"), borrower]).await.unwrap();
    let own = |name: &str| AgentAmendment {
        runtime_policy: Some(PolicyChoice::Own(NewRuntimePolicy { text: Some("new".into()), ..runtime(name) })),
        boot_policy: Some(PolicyChoice::Own(NewBootPolicy { name: name.to_owned(), text: Some("{}".into()) })),
        ..AgentAmendment::default()
    };
    let before = store.agent("a").await.unwrap().unwrap();
    assert_eq!(outcome(&store, "a", own("a")).await, WriteOutcome::Written);
    assert_eq!(store.agent("a").await.unwrap().unwrap(), before);
    assert_eq!(store.runtime_policy("a").await.unwrap().unwrap().text.as_deref(), Some("new"));
    assert_eq!(store.boot_policy("a").await.unwrap().unwrap().text.as_deref(), Some("{}"));
    let refused = outcome(&store, "lender", own("lender")).await;
    assert_eq!(refused, WriteOutcome::RuntimePolicyExists("lender".into()));
    assert_eq!(store.runtime_policy("lender").await.unwrap().unwrap().text, runtime("lender").text);
    // Who has no policy of its own yet gets one.
    assert_eq!(outcome(&store, "borrower", own("borrower")).await, WriteOutcome::Written);
    assert_eq!(outcome(&store, "lender", own("lender")).await, WriteOutcome::Written);
    // Its own goes with it.
    store.write(vec![VerifierWrite::Delete { agent_id: id("borrower") }]).await.unwrap();
    assert_eq!(store.runtime_policy("borrower").await.unwrap(), None);
}
