//! The TLS files of a server: made, found, guarded, and taken into use again when they change.

mod support;

use keylime_gateway::authorization::{Gate, NoSessions, SimpleProvider};
use keylime_gateway::configuration::{AuthorityConfiguration, TlsDirectory, VerifierConfiguration};
use keylime_gateway::routes::verifier_routes;
use keylime_gateway::routing::{Router, RouterLimits};
use keylime_gateway::server::{ConnectionLimits, Endpoint, RunningServer, TlsSource, bind};
use keylime_gateway::tls::{
    AlternativeNames, Generated, ServerTlsFiles, TlsPaths, TlsSetupError, generate, reload_when_changed,
};
use keylime_pki::authority::Authority;
use keylime_pki::tls::load_identity;
use keylime_settings::{Component, Config};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::backends::{ScriptedVerifier, verifier_state};
use support::client;

fn configuration(text: &str) -> VerifierConfiguration {
    VerifierConfiguration::read(&Config::from_parts(Component::Verifier, text, &[]).unwrap()).unwrap()
}

fn authority() -> AuthorityConfiguration {
    AuthorityConfiguration::read(&Config::from_parts(Component::Ca, "[ca]\npassword = pw\n", &[]).unwrap()).unwrap()
}

fn generated(work_dir: &Path) -> TlsPaths {
    keylime_pki::install_crypto_provider();
    let paths = TlsPaths::new(work_dir, Component::Verifier, &TlsDirectory::Generate);
    let names = AlternativeNames::of_this_host("127.0.0.1", &[]);
    generate(&paths, &authority(), &names, None, Generated::ServerAndClient(None)).unwrap();
    paths
}

#[test]
fn generates_once_and_keeps_what_is_there() {
    let work_dir = tempfile::tempdir().unwrap();
    let paths = generated(work_dir.path());
    let file = |name: &str| std::fs::read(paths.directory().join(name)).unwrap();
    for name in ["cacert.crt", "ca-public.pem", "cacrl.der", "cacrl.pem", "private.yml"] {
        assert!(!file(name).is_empty(), "{name}");
    }
    for name in ["server", "client"] {
        assert!(!file(&format!("{name}-public.pem")).is_empty());
    }
    let before = (file("cacert.crt"), file("server-cert.crt"), file("client-private.pem"));
    generated(work_dir.path());
    assert_eq!(before, (file("cacert.crt"), file("server-cert.crt"), file("client-private.pem")));
    std::fs::remove_file(paths.directory().join("client-cert.crt")).unwrap();
    generated(work_dir.path());
    assert_eq!(before.1, file("server-cert.crt"));
    assert_ne!(before.2, file("client-private.pem"));
}

#[test]
fn cve_2022_23952_a_key_that_everybody_can_read_is_refused() {
    let work_dir = tempfile::tempdir().unwrap();
    let paths = generated(work_dir.path());
    let tls = configuration("").tls;
    assert!(ServerTlsFiles::locate(&paths, &tls).unwrap().load().is_ok());
    let key = paths.directory().join("server-private.pem");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(ServerTlsFiles::locate(&paths, &tls), Err(TlsSetupError::ExposedKey(path)) if path == key));
}

#[test]
fn a_missing_directory_is_named() {
    let work_dir = tempfile::tempdir().unwrap();
    let paths = TlsPaths::new(work_dir.path(), Component::Registrar, &TlsDirectory::Default);
    let error = ServerTlsFiles::locate(&paths, &configuration("").tls).err().unwrap().to_string();
    assert!(error.starts_with("It appears that the specified tls_dir does not exist: "), "{error}");
}

#[test]
fn a_revoked_administrator_is_refused_without_a_restart() {
    let work_dir = tempfile::tempdir().unwrap();
    let paths = generated(work_dir.path());
    let files = ServerTlsFiles::locate(&paths, &configuration("").tls).unwrap();
    let socket = bind("127.0.0.1", 0).unwrap();
    let address = socket.local_addr().unwrap();
    let (ready, wait) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        actix_rt::System::new().block_on(async move {
            let source = Arc::new(TlsSource::new(files.load().unwrap()));
            let gate = Gate::new(Arc::new(SimpleProvider), Arc::new(NoSessions));
            let limits = RouterLimits { max_upload_size: 1024, body_deadline: Duration::from_secs(5) };
            let state = Arc::new(verifier_state(Arc::new(ScriptedVerifier::default())));
            let router = Arc::new(Router::new(verifier_routes(), gate, state, limits));
            let endpoints = vec![Endpoint::Tls(socket, Arc::clone(&source))];
            let server = RunningServer::start(endpoints, router, 1, ConnectionLimits::default()).unwrap();
            actix_rt::spawn(reload_when_changed(files, source, Duration::from_millis(50)));
            ready.send(()).unwrap();
            let _ = stopped.await;
            server.stop().await;
        });
    });
    wait.recv().unwrap();
    let ask = || {
        let file = |name: &str| paths.directory().join(name);
        let identity = load_identity(&file("client-cert.crt"), &file("client-private.pem"), None).unwrap();
        let mut wire = client::secure(address, Some(identity))?;
        client::exchange(&mut wire, &client::request("GET", "/v2.6/agents", &[], ""))
    };
    assert_eq!(ask().unwrap().status, 200);

    Authority::open(paths.directory(), "pw").unwrap().revoke("client").unwrap();

    let start = Instant::now();
    while ask().is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "a revoked certificate is still accepted");
        std::thread::sleep(Duration::from_millis(50));
    }
    stop.send(()).unwrap();
    thread.join().unwrap();
}
