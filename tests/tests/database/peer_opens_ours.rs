//! Keylime 7.14.3 goes on with a database that was made and written here.

use crate::engines::{options, vector};
use crate::push_suite::{conclude, receive, received, session, written};
use crate::registrar_suite::registration;
use crate::verifier_suite::{enrol, progress};
use keylime_actors::adapters::registrar_store::SqlRegistrarStore;
use keylime_actors::adapters::session_rows::SqlSessionStore;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{AgentProgress, ExplanationChange, RegistrarStore as _, VerifierStore as _, VerifierWrite};
use keylime_actors::sessions::SessionStore as _;
use keylime_engine::evidence::attestation::{AttestationIndex, Evaluation, FailureReason};
use keylime_engine::verdict::Explanation;
use keylime_harness::{child, peer};
use keylime_schema::database::{Database, Service};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[tokio::test]
async fn keylime_reads_and_changes_what_was_written_here() {
    peer::ensure().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let verifier_file = directory.path().join("cv.sqlite");
    let db = Database::open(&options("sqlite", Service::Verifier, &verifier_file)).await.unwrap();
    let store = SqlVerifierStore::new(db.clone());
    let explanations = ExplanationChange::Replace([Explanation::default()].into());
    let progress = Box::new(AgentProgress { explanations, ..*progress("prüfling", 5) });
    let advance = VerifierWrite::Progress { progress, outbox: vec![] };
    let failed = Evaluation::Fail(FailureReason::PolicyViolation);
    let attested = vec![
        receive("prüfling", &received(0)),
        conclude("prüfling", 0, Evaluation::Pass, &[]),
        receive("prüfling", &received(1)),
        conclude("prüfling", 1, failed, &[]),
        receive("prüfling", &received(2)),
    ];
    written(&store, vec![enrol("prüfling"), enrol("other")]).await;
    written(&store, attested).await;
    written(&store, vec![advance]).await;
    let (row, _) = session(7, "prüfling");
    SqlSessionStore::new(db.clone()).begin(vec![row]).await.unwrap();
    let registrar_file = directory.path().join("reg.sqlite");
    let registrar_db = Database::open(&options("sqlite", Service::Registrar, &registrar_file)).await.unwrap();
    let registrar = SqlRegistrarStore::new(registrar_db.clone());
    registrar.register(vec![(None, registration("a", "RUs="))]).await.unwrap();

    let printed = run_keylime(directory.path(), &verifier_file, &registrar_file);
    assert!(
        printed.contains("prüfling 3 {\"mask\": \"0x400\", \"22\": [\"größer\"]} ['sha512', 'sha256'] 5"),
        "{printed}"
    );
    assert!(printed.contains("{'.ima': ['ab']} [10] 32 4711 prüfling None"), "{printed}");
    assert!(printed.contains("a RUs= 1 False"), "{printed}");

    assert!(printed.contains("latest 2 evaluating_evidence pending None 2025-11-23T11:00:00+00:00 3"), "{printed}");
    assert!(printed.contains("tpm_quote ecdsa ['sha1', 'sha256'] 16 7 300 None"), "{printed}");
    assert!(printed.contains("ima_log 4096 True ['text/plain'] 4 2 größe None"), "{printed}");
    assert!(printed.contains("failed 1 verification_complete fail policy_violation"), "{printed}");
    assert!(printed.contains("passed 0 goes on at 2"), "{printed}");
    assert!(printed.contains("session prüfling True 2025-11-23T12:00:07+00:00 64 None"), "{printed}");
    // What it leaves of an attestation is read here.
    let judged = store.attestation("prüfling", AttestationIndex(2)).await.unwrap().unwrap();
    assert_eq!(judged.stage.evaluation_name(), "pass");
    let changed = store.agent("prüfling").await.unwrap().unwrap();
    assert_eq!((changed.operational_state, changed.attestation_count), (Some(9), 6));
    assert!(store.agent("other").await.unwrap().is_none());
    assert!(registrar.registration("a").await.unwrap().unwrap().active);
}

/// Runs `use_database.py` with Keylime's own Python.
fn run_keylime(directory: &Path, verifier: &Path, registrar: &Path) -> String {
    let mut command = Command::new(peer::program("python"));
    command.arg(vector("use_database.py")).env("KEYLIME_DIR", directory).env("PYTHONIOENCODING", "utf-8");
    for (component, url) in [
        ("verifier", format!("database_url = sqlite:///{}", verifier.display())),
        ("registrar", format!("database_url = sqlite:///{}", registrar.display())),
        ("tenant", String::new()),
        ("ca", String::new()),
    ] {
        let file = directory.join(format!("{component}.conf"));
        std::fs::write(&file, format!("[{component}]\nversion = 2.5\n{url}\n")).unwrap();
        command.env(format!("KEYLIME_{}_CONFIG", component.to_uppercase()), file);
    }
    let finished = child::run(&mut command, Duration::from_secs(120)).unwrap();
    assert_eq!(finished.code, Some(0), "{}{}", finished.stdout, finished.stderr);
    finished.stdout
}
