//! The demonstration: a machine is attested, runs an unknown program, is caught, and a subscriber hears of it.

use crate::binaries;
use crate::packages;
use crate::rabbitmq::RabbitMq;
use crate::stack::{Implementation, Stack};
use crate::subscriber::Subscriber;
use crate::webhook_sink::WebhookSink;
use crate::{ima_log, ports};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// How the demonstration hears of the revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// From RabbitMQ.
    RabbitMq,
    /// From a webhook.
    Webhook,
}

enum Receiver {
    // The broker is kept alive with its subscriber.
    Broker(Subscriber, #[allow(dead_code, reason = "kept for its drop")] RabbitMq),
    Webhook(WebhookSink),
}

/// Runs the demonstration.
///
/// # Errors
/// A part does not come up, or the machine is not caught; the message says which and why.
pub fn run(notice: Notice, interval: f64) -> io::Result<()> {
    println!("Keylime in Rust: attest a machine, then catch it.\n");
    prepare_machine(notice)?;
    let broker = match notice {
        Notice::RabbitMq => Some(waiting("starting RabbitMQ", RabbitMq::start)?),
        Notice::Webhook => None,
    };
    let webhook_port = ports::free();
    let mut stack = waiting("starting a software TPM", || {
        Stack::prepare(|settings| {
            settings.quote_interval = interval;
            settings.revocations = match &broker {
                Some(broker) => vec![
                    ("enabled_revocation_notifications".into(), "['amqp']".into()),
                    ("amqp_url".into(), broker.url()),
                ],
                None => vec![
                    ("enabled_revocation_notifications".into(), "['webhook']".into()),
                    ("webhook_url".into(), format!("https://127.0.0.1:{webhook_port}")),
                ],
            };
        })
    })?;
    let (verifier, registrar) = (stack.settings.verifier_port, stack.settings.registrar_port);
    waiting(&format!("starting the verifier on port {verifier}"), || stack.start_verifier(Implementation::Ours))?;
    waiting(&format!("starting the registrar on port {registrar}"), || stack.start_registrar(Implementation::Ours))?;
    let receiver = match broker {
        Some(broker) => Receiver::Broker(Subscriber::start(&broker.url())?, broker),
        None => {
            let ca = stack.dir().join("cv_ca");
            let (certificate, key) = (ca.join("server-cert.crt"), ca.join("server-private.pem"));
            Receiver::Webhook(WebhookSink::start(webhook_port, &certificate, &key)?)
        }
    };
    let known = known_programs();
    waiting("starting the IMA emulator, which stands in for the kernel's measurements", || {
        for (name, content) in &known {
            stack.ima.append(name, content)?;
        }
        stack.start_emulator()
    })?;
    waiting("starting the agent: it proves to the registrar that its keys live in the TPM", || stack.start_agent())?;
    enrol(&stack, &known)?;
    show_attestation(&stack, 5)?;
    let (program, line) = run_unknown_program(&stack)?;
    let since = Instant::now();
    catch(&stack, &receiver, &program, &line, since)?;
    println!("\nStopping everything; the temporary directory {} goes away.", stack.dir().display());
    Ok(())
}

fn prepare_machine(notice: Notice) -> io::Result<()> {
    let mut needed: Vec<&str> = packages::BUILD.to_vec();
    needed.extend(packages::DEMO.iter().filter(|p| notice == Notice::RabbitMq || **p != "rabbitmq-server"));
    packages::ensure(&needed)?;
    println!("Building the programs (the first time takes some minutes):");
    binaries::build()
}

/// Programs of this machine that the policy will know.
fn known_programs() -> Vec<(String, Vec<u8>)> {
    let read = |path: &str| fs::read(path).ok().map(|content| (path.to_owned(), content));
    ["/usr/bin/env", "/usr/bin/sort", "/bin/ls", "/bin/sh"].into_iter().filter_map(read).collect()
}

fn enrol(stack: &Stack, known: &[(String, Vec<u8>)]) -> io::Result<()> {
    let files: Vec<(&str, &[u8])> = known.iter().map(|(n, c)| (n.as_str(), c.as_slice())).collect();
    let policy = stack.write_json("policy.json", &ima_log::policy(&files))?;
    println!("\n$ keylime_tenant -c add -t 127.0.0.1 -u {} --runtime-policy policy.json", stack.settings.agent_id);
    let added = waiting("enrolling the machine with a policy of the programs it may run", || {
        stack.tenant(Implementation::Ours, &["-c", "add", "-t", "127.0.0.1", "--runtime-policy", &policy])
    })?;
    if added.code == Some(0) {
        return Ok(());
    }
    Err(io::Error::other(format!("keylime_tenant ended with {:?}:\n{}\n{}", added.code, added.stdout, stack.logs())))
}

fn show_attestation(stack: &Stack, quotes: i64) -> io::Result<()> {
    println!("\nThe verifier asks for a quote every {} s and judges it:", stack.settings.quote_interval);
    let mut seen = -1;
    while seen < quotes {
        let record = stack.wait_for_status(LIMIT, |r| r["attestation_count"].as_i64() > Some(seen))?;
        seen = record["attestation_count"].as_i64().unwrap_or(seen);
        let state = record["operational_state"].as_str().unwrap_or("?");
        println!("  {state:<14} attestation_count={seen:<4} attestation_status={}", status(&record));
        if status(&record) == "FAIL" {
            return Err(io::Error::other(format!("the machine failed too early: {record}\n{}", stack.logs())));
        }
    }
    Ok(())
}

fn status(record: &Value) -> &str {
    record["attestation_status"].as_str().unwrap_or("?")
}

/// Writes a program of our own, measures its real bytes as the kernel would, and runs it.
fn run_unknown_program(stack: &Stack) -> io::Result<(PathBuf, String)> {
    let program = stack.dir().join("unknown-program");
    fs::write(&program, "#!/bin/sh\necho '  (unknown-program says hello)'\n")?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    println!("\nNow a program runs that the policy does not know: {}", program.display());
    println!("  (its bytes are hashed into the IMA log and PCR 10 here, in place of the kernel's IMA)");
    let line = stack.ima.append(&program.display().to_string(), &fs::read(&program)?)?;
    Command::new(&program).status()?;
    Ok((program, line))
}

fn catch(stack: &Stack, receiver: &Receiver, program: &Path, line: &str, since: Instant) -> io::Result<()> {
    let record = stack.wait_for_status(LIMIT, |r| status(r) == "FAIL")?;
    println!("\nCaught after {:.1} s:", since.elapsed().as_secs_f64());
    println!("  operational_state  {}", record["operational_state"].as_str().unwrap_or("?"));
    println!("  last_event_id      {}", record["last_event_id"].as_str().unwrap_or("?"));
    println!("  the log line       {line}");
    let (from, body) = match receiver {
        Receiver::Broker(subscriber, _) => ("RabbitMQ", subscriber.wait_for("revocation", LIMIT)),
        Receiver::Webhook(sink) => ("the webhook", sink.wait_for("revocation", LIMIT)),
    };
    let body = body.ok_or_else(|| io::Error::other(format!("no revocation arrived from {from}\n{}", stack.logs())))?;
    let notice: Value = serde_json::from_str(&body)?;
    let message: Value = serde_json::from_str(notice["msg"].as_str().unwrap_or("null"))?;
    println!("\nRevocation received from {from}:\n{}", serde_json::to_string_pretty(&message)?);
    let named = message["context"].as_str().is_some_and(|c| c.contains(&program.display().to_string()));
    if !named {
        println!("  (the program is {})", program.display());
    }
    Ok(())
}

fn waiting<T, E>(what: &str, work: impl FnOnce() -> Result<T, E>) -> io::Result<T>
where
    E: std::fmt::Display,
{
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = work();
    bar.finish_and_clear();
    println!("  {what}: {}", if result.is_ok() { "done" } else { "failed" });
    result.map_err(|e| io::Error::other(e.to_string()))
}
