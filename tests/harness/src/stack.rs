//! A complete Keylime in one directory: registrar, verifier, an agent on a software TPM with an IMA emulator, and a tenant,
//! each from this project or from the reference implementation.

use crate::child::{Finished, Guarded, run};
use crate::configuration::{self, Settings};
use crate::ima_log::ImaLog;
use crate::machine_boot::MachineBoot;
use crate::swtpm::{Manufacture, SoftwareTpm};
use crate::{binaries, peer, ports, tpm_switch};
use serde_json::Value;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whose program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// This project's.
    Ours,
    /// Keylime 7.14.3's.
    Peer,
}

impl Implementation {
    fn program(self, name: &str) -> PathBuf {
        match self {
            Self::Ours => binaries::path(name),
            Self::Peer => peer::program(name),
        }
    }
}

/// How long a server may take to listen; the reference needs several seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A running stack; dropping it ends everything.
#[derive(Debug)]
pub struct Stack {
    /// Ports and options in force.
    pub settings: Settings,
    /// The verifier.
    pub verifier: Option<Guarded>,
    /// The registrar.
    pub registrar: Option<Guarded>,
    /// The agent.
    pub agent: Option<Guarded>,
    /// Extends PCR 10 for each line of the measurement list.
    pub emulator: Option<Guarded>,
    /// The measurement list.
    pub ima: ImaLog,
    boot: MachineBoot,
    tcti: String,
    shared_port: u16,
    // The TPM outlives the agent, and the directory outlives everything.
    tpm: SoftwareTpm,
    dir: TempDir,
}

impl Stack {
    /// Makes the directory, the configuration and the software TPM; starts no server.
    ///
    /// # Errors
    /// A part is missing or a file cannot be written.
    pub fn prepare(change: impl FnOnce(&mut Settings)) -> io::Result<Self> {
        let dir = TempDir::with_prefix("keylime-stack-")?;
        let tpm = SoftwareTpm::start(Manufacture::WithEkCertificate).map_err(io::Error::other)?;
        let shared = ports::free_run(2);
        tpm_switch::start(shared, tpm.port())?;
        let mut settings = Settings {
            verifier_port: ports::free(),
            registrar_port: ports::free(),
            registrar_tls_port: ports::free(),
            agent_port: ports::free(),
            agent_id: "d432fbb3-d2f1-4a97-9ef7-75bd81c00000".to_owned(),
            quote_interval: 1.0,
            verifier: Vec::new(),
            registrar: Vec::new(),
            revocations: Vec::new(),
            tenant: Vec::new(),
            agent: Vec::new(),
        };
        change(&mut settings);
        let store = dir.path().join("tpm_cert_store");
        for folder in [dir.path().join("agent"), store.clone()] {
            fs::create_dir(&folder)?;
            fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        }
        for entry in fs::read_dir(tpm.directory().join("ca"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with("cert.pem") {
                fs::copy(entry.path(), store.join(name))?;
            }
        }
        configuration::write(dir.path(), &settings)?;
        let ima = ImaLog::create(&dir.path().join("ascii_runtime_measurements"))?;
        let boot = MachineBoot::first(&dir.path().join("proc"))?;
        Ok(Self {
            settings,
            verifier: None,
            registrar: None,
            agent: None,
            emulator: None,
            ima,
            boot,
            tcti: format!("swtpm:host=127.0.0.1,port={shared}"),
            shared_port: shared,
            tpm,
            dir,
        })
    }

    /// Starts verifier, registrar, emulator and agent, and waits until the agent is registered.
    ///
    /// # Errors
    /// A part does not come up; the message holds the end of its output.
    pub fn start_all(&mut self, verifier: Implementation, registrar: Implementation) -> io::Result<()> {
        self.start_verifier(verifier)?;
        self.start_registrar(registrar)?;
        self.start_emulator()?;
        self.start_agent()
    }

    /// The directory: `KEYLIME_DIR` of verifier, registrar and tenant.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The software TPM's address, for the environment variable `TCTI`.
    #[must_use]
    pub fn tcti(&self) -> &str {
        &self.tcti
    }

    /// A command with the environment of the stack.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new(program);
        command.current_dir(dir).env("KEYLIME_DIR", dir).env("TCTI", &self.tcti).env("TPM2TOOLS_TCTI", &self.tcti);
        for component in ["verifier", "registrar", "tenant", "ca", "logging", "agent"] {
            let variable = format!("KEYLIME_{}_CONFIG", component.to_uppercase());
            command.env(variable, dir.join(format!("{component}.conf")));
        }
        command.env_remove("RUST_LOG").env_remove("KEYLIME_TEST");
        command
    }

    /// Starts the verifier and waits until it listens.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_verifier(&mut self, whose: Implementation) -> io::Result<()> {
        let mut command = self.command(&whose.program("keylime_verifier"));
        let mut child = Guarded::spawn("verifier", &mut command, &self.dir.path().join("verifier.log"))?;
        child.wait_for_port(self.settings.verifier_port, START_LIMIT)?;
        self.verifier = Some(child);
        Ok(())
    }

    /// Starts the registrar and waits until it listens.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_registrar(&mut self, whose: Implementation) -> io::Result<()> {
        let mut command = self.command(&whose.program("keylime_registrar"));
        let mut child = Guarded::spawn("registrar", &mut command, &self.dir.path().join("registrar.log"))?;
        child.wait_for_port(self.settings.registrar_port, START_LIMIT)?;
        child.wait_for_port(self.settings.registrar_tls_port, START_LIMIT)?;
        self.registrar = Some(child);
        Ok(())
    }

    /// Starts our IMA emulator and waits until it has extended the list as it is.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_emulator(&mut self) -> io::Result<()> {
        let mut command = self.command(&binaries::path("keylime_ima_emulator"));
        command.args(["--hash_algs", "sha256", "--ima-hash-alg", "sha1", "--ima-log"]).arg(self.ima.path());
        let mut child = Guarded::spawn("IMA emulator", &mut command, &self.dir.path().join("emulator.log"))?;
        // Until then the list is ahead of the PCR, which no kernel's list ever is.
        let list = std::fs::read_to_string(self.ima.path())?;
        let last = list.lines().last().and_then(|line| line.rsplit(' ').next()).unwrap_or("boot_aggregate");
        child.wait_for_output(&format!(" for {last}"), START_LIMIT)?;
        self.emulator = Some(child);
        Ok(())
    }

    /// Starts our agent and waits until it listens, which it does once it is registered and activated.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_agent(&mut self) -> io::Result<()> {
        let mut command = self.command(&binaries::path("keylime_agent"));
        command.env("KEYLIME_DIR", self.dir.path().join("agent")).env("RUST_LOG", "keylime_agent=info,keylime=info");
        let mut child = Guarded::spawn("agent", &mut command, &self.dir.path().join("agent.log"))?;
        child.wait_for_port(self.settings.agent_port, START_LIMIT)?;
        self.agent = Some(child);
        Ok(())
    }

    /// Starts our push agent and waits until it is registered and activated. `TPM2TOOLS_TCTI` and the like are those of the
    /// pull agent.
    ///
    /// # Errors
    /// It does not come up.
    pub fn start_push_agent(&mut self, arguments: &[&str]) -> io::Result<()> {
        let mut command = self.command(&binaries::path("keylime_push_model_agent"));
        command.args(arguments).env("KEYLIME_DIR", self.dir.path().join("agent"));
        command.env("RUST_LOG", "keylime_push_model_agent=debug,keylime=debug");
        let log = self.dir.path().join("agent.log");
        let earlier = fs::read_to_string(&log).unwrap_or_default().len();
        let mut child = Guarded::spawn("push agent", &mut command, &log)?;
        let activated = format!("SUCCESS: Agent {} activated", self.settings.agent_id);
        child.wait_until(START_LIMIT, || {
            fs::read_to_string(&log).is_ok_and(|text| text.get(earlier..).is_some_and(|new| new.contains(&activated)))
        })?;
        self.agent = Some(child);
        Ok(())
    }

    /// Turns the machine off and on: agent and emulator end, the TPM is reset, a new boot begins with an empty measurement
    /// list. The caller starts emulator and agent again.
    ///
    /// # Errors
    /// The TPM cannot be reset, or a file cannot be written.
    pub fn reboot(&mut self) -> io::Result<()> {
        if let Some(mut agent) = self.agent.take() {
            agent.terminate(Duration::from_secs(20))?;
        }
        self.emulator = None;
        self.tpm.reset(self.shared_port)?;
        self.ima = ImaLog::create(&self.dir.path().join("ascii_runtime_measurements"))?;
        fs::write(self.dir.path().join("emulator.log"), "")?;
        self.boot.reboot()
    }

    /// Runs the tenant with the agent's id added.
    ///
    /// # Errors
    /// It cannot be started or does not end within two minutes.
    pub fn tenant(&self, whose: Implementation, arguments: &[&str]) -> io::Result<Finished> {
        let mut command = self.command(&whose.program("keylime_tenant"));
        command.args(arguments).args(["--uuid", &self.settings.agent_id]);
        run(&mut command, Duration::from_secs(120))
    }

    /// Writes a JSON document into the stack's directory and answers its path.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_json(&self, name: &str, value: &Value) -> io::Result<String> {
        let path = self.dir.path().join(name);
        fs::write(&path, serde_json::to_vec_pretty(value)?)?;
        Ok(path.display().to_string())
    }

    /// The agent's record at the verifier as the tenant prints it.
    ///
    /// # Errors
    /// The tenant fails, or prints no record.
    pub fn status(&self, whose: Implementation) -> io::Result<Value> {
        let finished = self.tenant(whose, &["-c", "cvstatus"])?;
        let record = finished.stdout.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()).find_map(|mut v| {
            let record = v[&self.settings.agent_id].take();
            record.get("operational_state").is_some().then_some(record)
        });
        record.ok_or_else(|| io::Error::other(format!("no record of the agent: {finished:?}")))
    }

    /// Waits until the agent's record satisfies `wanted`, and answers it.
    ///
    /// # Errors
    /// The time is over; the message holds the last record and the ends of the logs.
    pub fn wait_for_status(&self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> io::Result<Value> {
        let start = Instant::now();
        let mut last = Value::Null;
        while start.elapsed() < limit {
            match self.status(Implementation::Ours) {
                Ok(record) if wanted(&record) => return Ok(record),
                Ok(record) => last = record,
                Err(e) => last = Value::from(e.to_string()),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Err(io::Error::other(format!("not within {limit:?}: {last}\n{}", self.logs())))
    }

    /// The ends of all logs, for messages.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for name in ["verifier", "registrar", "agent", "emulator"] {
            let log = fs::read(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            text.push_str(&format!("--- {name}\n{}\n", lines[lines.len().saturating_sub(25)..].join("\n")));
        }
        text
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.agent = None;
        // The agent mounts its secure directory; it must go before its folder can.
        let mount = self.dir.path().join("agent/secure");
        let _ = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    }
}
