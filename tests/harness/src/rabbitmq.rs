//! Debian's RabbitMQ on private ports and directories.

use crate::child::{Guarded, run};
use crate::ports;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START_LIMIT: Duration = Duration::from_secs(120);

/// What a broker shows, and whose certificates it accepts; PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Authority of the clients' certificates.
    pub authority: PathBuf,
    /// The broker's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A running broker; dropping it ends the node and removes its data.
#[derive(Debug)]
pub struct RabbitMq {
    node: Option<Guarded>,
    epmd: Guarded,
    port: u16,
    tls_port: u16,
    dist_port: u16,
    epmd_port: u16,
    dir: TempDir,
}

impl RabbitMq {
    /// Starts a node with the default user `guest` and waits until it accepts.
    ///
    /// # Errors
    /// RabbitMQ is not installed or does not come up; the message holds the end of its output.
    pub fn start() -> io::Result<Self> {
        Self::start_node_with(None)
    }

    /// Starts a node that also listens with TLS, and lets nobody in there without a certificate.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with_tls(files: &TlsFiles) -> io::Result<Self> {
        Self::start_node_with(Some(files))
    }

    fn start_node_with(tls: Option<&TlsFiles>) -> io::Result<Self> {
        let dir = TempDir::with_prefix("keylime-rabbitmq-")?;
        let (port, tls_port) = (ports::free(), ports::free());
        let (dist_port, epmd_port) = (ports::free(), ports::free());
        let mut command = Command::new(epmd()?);
        command.args(["-port", &epmd_port.to_string(), "-address", "127.0.0.1"]);
        let epmd = Guarded::spawn("epmd", &mut command, &dir.path().join("epmd.log"))?;
        let mut broker = Self { node: None, epmd, port, tls_port, dist_port, epmd_port, dir };
        broker.epmd.wait_for_port(epmd_port, Duration::from_secs(20))?;
        fs::write(broker.dir.path().join("enabled_plugins"), "[].\n")?;
        // A node in a sandbox sees little disk and memory; its alarms would only block publishers.
        let mut configuration = format!(
            "listeners.tcp.default = 127.0.0.1:{port}\ndisk_free_limit.absolute = 1MB\nvm_memory_high_watermark.absolute = 2GB\n\
             loopback_users = none\nlog.console = true\nlog.console.level = warning\nlog.file = false\n"
        );
        if let Some(files) = tls {
            let file = |path: &Path| path.display().to_string();
            configuration.push_str(&format!(
                "listeners.ssl.default = 127.0.0.1:{}\nssl_options.cacertfile = {}\nssl_options.certfile = {}\n\
                 ssl_options.keyfile = {}\nssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n",
                broker.tls_port,
                file(&files.authority),
                file(&files.certificate),
                file(&files.key),
            ));
        }
        fs::write(broker.dir.path().join("rabbitmq.conf"), configuration)?;
        broker.start_node()?;
        Ok(broker)
    }

    /// Address of the TLS listener, with credentials; the broker's certificate is checked for `localhost`.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("amqps://guest:guest@localhost:{}/%2f", self.tls_port)
    }

    /// Address with credentials.
    #[must_use]
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port)
    }

    /// The AMQP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the node as a power failure would; its data stays.
    pub fn kill(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.kill();
        }
    }

    /// Starts the node, after [`Self::kill`] with the data it had.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_node(&mut self) -> io::Result<()> {
        let mut command = self.command("rabbitmq-server")?;
        let mut node = Guarded::spawn("rabbitmq", &mut command, &self.dir.path().join("node.log"))?;
        node.wait_for_port(self.port, START_LIMIT)?;
        let mut wait = self.command("rabbitmqctl")?;
        wait.arg("await_startup");
        let awaited = run(&mut wait, START_LIMIT)?;
        if awaited.code != Some(0) {
            return Err(io::Error::other(format!("rabbitmqctl await_startup: {awaited:?}\n{}", node.output())));
        }
        self.node = Some(node);
        Ok(())
    }

    /// The scripts of the package insist on the user `rabbitmq`; those of the library run as anybody.
    fn command(&self, script: &str) -> io::Result<Command> {
        let dir = self.dir.path();
        let mut command = Command::new(library()?.join("sbin").join(script));
        command
            .env("HOME", dir)
            .env("RABBITMQ_NODENAME", format!("keylime-{}@localhost", self.port))
            .env("RABBITMQ_DIST_PORT", self.dist_port.to_string())
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_MNESIA_BASE", dir.join("mnesia"))
            .env("RABBITMQ_LOG_BASE", dir.join("log"))
            .env("RABBITMQ_CONFIG_FILE", dir.join("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", dir.join("enabled_plugins"))
            .env("RABBITMQ_CONF_ENV_FILE", dir.join("none"))
            .env("RABBITMQ_PID_FILE", dir.join("pid"));
        Ok(command)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        self.epmd.kill();
    }
}

fn library() -> io::Result<PathBuf> {
    let base = Path::new("/usr/lib/rabbitmq/lib");
    let found = fs::read_dir(base)?.flatten().map(|e| e.path()).find(|p| p.join("sbin/rabbitmq-server").is_file());
    found.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, "no RabbitMQ below /usr/lib/rabbitmq/lib; install rabbitmq-server")
    })
}

/// The port mapper of Erlang; one of our own, so that no node of the machine is met.
fn epmd() -> io::Result<PathBuf> {
    let mut candidates: Vec<PathBuf> = vec!["/usr/bin/epmd".into()];
    candidates
        .extend(fs::read_dir("/usr/lib/erlang").into_iter().flatten().flatten().map(|e| e.path().join("bin/epmd")));
    candidates
        .into_iter()
        .find(|p| p.is_file())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no epmd; install rabbitmq-server"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriber::Subscriber;

    #[test]
    fn a_broker_accepts_subscribers_and_survives_a_kill() {
        let mut broker = RabbitMq::start().unwrap();
        Subscriber::start(&broker.url()).unwrap();
        broker.kill();
        assert!(Subscriber::start(&broker.url()).is_err());
        broker.start_node().unwrap();
        Subscriber::start(&broker.url()).unwrap();
    }
}
