//! The push agent's program by itself: a verifier that never answers, the end on a signal, no listening port, the command line.

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keylime_harness::binaries;
use keylime_harness::child::Guarded;
use keylime_harness::stack::{Implementation, Stack};
use nix::sys::signal::Signal;

const LIMIT: Duration = Duration::from_secs(60);

/// Accepts connections and never says a word; counts them.
fn silent_server() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(stream);
        }
    });
    (port, count)
}

/// Inodes of this process's sockets that listen.
fn listening_sockets(pid: u32) -> usize {
    let own: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let tables = ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let listens = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| own.iter().any(|one| one == inode))
    };
    tables.iter().map(|table| table.lines().filter(listens).count()).sum()
}

#[test]
fn a_silent_verifier_neither_holds_the_agent_nor_its_end() {
    let (port, connections) = silent_server();
    let mut stack = Stack::prepare(|settings| {
        settings.agent = vec![
            ("verifier_url".to_owned(), format!("\"https://127.0.0.1:{port}\"")),
            ("exponential_backoff_initial_delay".to_owned(), "1000".to_owned()),
        ];
    })
    .unwrap();
    // The verifier only makes the certificates that the silent server would need.
    stack.start_verifier(Implementation::Ours).unwrap();
    stack.start_registrar(Implementation::Ours).unwrap();
    stack.start_push_agent(&["--timeout", "700"]).unwrap_or_else(|error| panic!("{error}\n{}", stack.logs()));
    let mut agent = stack.agent.take().unwrap();
    agent.wait_until(LIMIT, || connections.load(Ordering::SeqCst) >= 3).unwrap();
    assert!(agent.output().contains("verifier cannot be reached"), "{}", agent.output());
    assert_eq!(listening_sockets(agent.pid()), 0);
    assert_eq!(agent.terminate(Duration::from_secs(10)).unwrap(), Some(0));
    assert!(agent.output().contains("agent stopped"));
}

#[test]
fn an_unreachable_registrar_is_asked_again_and_a_signal_ends_the_wait() {
    let stack = Stack::prepare(|settings| {
        settings.agent = vec![("exponential_backoff_max_retries".to_owned(), "0".to_owned())];
    })
    .unwrap();
    fs::create_dir(stack.dir().join("cv_ca")).unwrap();
    let authority = rcgen_authority();
    fs::write(stack.dir().join("cv_ca/cacert.crt"), authority).unwrap();
    let mut command = stack.command(&binaries::path("keylime_push_model_agent"));
    command.env("KEYLIME_DIR", stack.dir().join("agent")).args(["--attestation-interval-seconds", "1"]);
    let mut agent = Guarded::spawn("push agent", &mut command, &stack.dir().join("agent.log")).unwrap();
    agent
        .wait_until(LIMIT, || {
            let log = fs::read_to_string(stack.dir().join("agent.log")).unwrap_or_default();
            log.matches("registration failed, trying again").count() >= 3
        })
        .unwrap();
    agent.signal(Signal::SIGINT);
    assert_eq!(agent.terminate(Duration::from_secs(10)).unwrap(), Some(0));
}

fn rcgen_authority() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().pem()
}

#[test]
fn the_command_line_is_lenient_but_not_silent() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(binaries::path("keylime_push_model_agent"))
            .args(arguments)
            .env("KEYLIME_AGENT_CONFIG", directory.path().join("agent.conf"))
            .env_remove("RUST_LOG")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for flag in [
        "--agent-identifier",
        "--api-version",
        "--ca-certificate",
        "--json-file",
        "--attestation-index",
        "--insecure",
        "--message-type",
        "--method",
        "--registrar-url",
        "--session-index",
        "--timeout",
        "--verifier-url",
        "--avoid-tpm",
        "--attestation-interval-seconds",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    fs::write(
        directory.path().join("agent.conf"),
        format!("[agent]\nkeylime_dir = \"{}\"\nrun_as = \"\"\n", directory.path().display()),
    )
    .unwrap();
    // The verifier must be spoken to over https, so this ends before anything is sent.
    let (code, log) =
        run(&["--avoid-tpm", "--insecure", "--frobnicate", "--method", "GET", "-v", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{log}");
    for text in ["--frobnicate", "--method has no effect", "NO TPM IS USED", "https"] {
        assert!(log.contains(text), "{text}: {log}");
    }
}
