//! Keylime 7.14.3 goes on with a database that was made and written here.

use crate::engines::{options, vector};
use crate::registrar_suite::registration;
use crate::verifier_suite::{enrol, progress};
use keylime_actors::adapters::registrar_store::SqlRegistrarStore;
use keylime_actors::adapters::verifier_store::SqlVerifierStore;
use keylime_actors::ports::{AgentProgress, ExplanationChange, RegistrarStore as _, VerifierStore as _, VerifierWrite};
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
    store.write(vec![enrol("prüfling"), enrol("other"), advance]).await.unwrap();
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
