//! A software TPM of its own for one test: started on free ports in a directory that goes away with it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::ports;
use tempfile::TempDir;

/// How long swtpm may take to accept connections.
const START_LIMIT: Duration = Duration::from_secs(10);
/// Attempts with two ports each; another process may take them in between.
const PORT_ATTEMPTS: u32 = 20;

/// swtpm's control command that resets the TPM (CMD_INIT).
const CONTROL_INIT: u32 = 2;
/// TPM2_Startup with TPM_SU_CLEAR.
const STARTUP_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x44, 0, 0];
/// TPM2_Shutdown with TPM_SU_CLEAR.
const SHUTDOWN_CLEAR: [u8; 12] = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x45, 0, 0];

/// A running swtpm; it is stopped and its state removed when this is dropped.
#[derive(Debug)]
pub struct SoftwareTpm {
    process: Child,
    port: u16,
    state: TempDir,
}

/// What the software TPM is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manufacture {
    /// An empty TPM: no EK certificate.
    Blank,
    /// `swtpm_setup` made EK certificates, signed by a local authority in the state directory.
    WithEkCertificate,
}

/// Why no software TPM could be started.
#[derive(Debug, thiserror::Error)]
pub enum SwtpmError {
    /// A file or process could not be used.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// `swtpm_setup` failed.
    #[error("swtpm_setup failed: {0}")]
    Setup(String),
    /// swtpm ended or did not listen in time.
    #[error("swtpm did not start listening within {START_LIMIT:?}")]
    NotListening,
}

impl SoftwareTpm {
    /// Makes and starts a software TPM.
    ///
    /// # Errors
    /// swtpm is not installed, or does not start.
    pub fn start(manufacture: Manufacture) -> Result<Self, SwtpmError> {
        let state = TempDir::with_prefix("swtpm-").map_err(io_error("make a directory for the software tpm"))?;
        if manufacture == Manufacture::WithEkCertificate {
            make_ek_certificate(state.path())?;
        }
        for _ in 0..PORT_ATTEMPTS {
            // The TCG stack expects the control channel one above the command channel.
            let port = ports::free_run(2);
            let mut process = spawn(state.path(), port)?;
            if listens(&mut process, port) {
                return Ok(Self { process, port, state });
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        Err(SwtpmError::NotListening)
    }

    /// The value for the environment variable `TCTI`.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// The port of the command channel; the control channel is one above.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Resets the TPM as a machine that is turned off and on, and starts it up through the command channel on `commands`.
    /// Loaded keys and PCR values are gone afterwards.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub fn reset(&self, commands: u16) -> io::Result<()> {
        // As an operating system does before it lets the machine reboot; the clock counts as unsafe otherwise.
        let mut channel = TcpStream::connect((Ipv4Addr::LOCALHOST, commands))?;
        channel.write_all(&SHUTDOWN_CLEAR)?;
        let mut answer = [0; 10];
        channel.read_exact(&mut answer)?;
        drop(channel);
        let mut control = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port + 1))?;
        control.write_all(&[CONTROL_INIT.to_be_bytes(), [0; 4]].concat())?;
        let mut answer = [0; 4];
        control.read_exact(&mut answer)?;
        let refused = |what: &str| io::Error::other(format!("the software tpm refused its {what}"));
        if answer != [0; 4] {
            return Err(refused("initialisation"));
        }
        let mut channel = TcpStream::connect((Ipv4Addr::LOCALHOST, commands))?;
        channel.write_all(&STARTUP_CLEAR)?;
        let mut answer = [0; 10];
        channel.read_exact(&mut answer)?;
        if answer[6..] == [0; 4] { Ok(()) } else { Err(refused("startup")) }
    }

    /// The directory that holds the TPM's state, and the certificates of its local authority if it has any.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.state.path()
    }
}

impl Drop for SoftwareTpm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> SwtpmError {
    move |source| SwtpmError::Io { action, source }
}

/// Manufactures with a configuration of its own, so that tests share no certificate authority with the machine.
fn make_ek_certificate(directory: &Path) -> Result<(), SwtpmError> {
    let write = |name: &str, text: String| {
        std::fs::write(directory.join(name), text).map_err(io_error("write the configuration of swtpm_setup"))
    };
    let shown = directory.display();
    write(
        "swtpm-localca.conf",
        format!(
            "statedir = {shown}/ca\nsigningkey = {shown}/ca/signkey.pem\nissuercert = {shown}/ca/issuercert.pem\n\
             certserial = {shown}/ca/certserial\n"
        ),
    )?;
    write(
        "swtpm-localca.options",
        "--platform-manufacturer test\n--platform-version 1\n--platform-model test\n".to_owned(),
    )?;
    write(
        "swtpm_setup.conf",
        format!(
            "create_certs_tool = swtpm_localca\ncreate_certs_tool_config = {shown}/swtpm-localca.conf\n\
             create_certs_tool_options = {shown}/swtpm-localca.options\nactive_pcr_banks = sha1,sha256,sha384\n"
        ),
    )?;
    std::fs::create_dir_all(directory.join("ca")).map_err(io_error("make the directory of the local authority"))?;
    let output = Command::new("swtpm_setup")
        .arg("--tpm2")
        .arg("--tpmstate")
        .arg(directory)
        .arg("--config")
        .arg(directory.join("swtpm_setup.conf"))
        .args(["--create-ek-cert", "--lock-nvram", "--not-overwrite", "--pcr-banks", "sha1,sha256,sha384"])
        .stdin(Stdio::null())
        .output()
        .map_err(io_error("run swtpm_setup"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(SwtpmError::Setup(String::from_utf8_lossy(&text).into_owned()))
}

fn spawn(directory: &Path, port: u16) -> Result<Child, SwtpmError> {
    Command::new("swtpm")
        .args(["socket", "--tpm2", "--tpmstate"])
        .arg(format!("dir={}", directory.display()))
        .args(["--ctrl", &format!("type=tcp,port={}", port + 1)])
        .args(["--server", &format!("type=tcp,port={port}")])
        .args(["--flags", "not-need-init,startup-clear"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io_error("run swtpm"))
}

/// Waits for both channels. The command channel serves one connection at a time and is only looked at.
fn listens(process: &mut Child, port: u16) -> bool {
    let limit = Instant::now() + START_LIMIT;
    while Instant::now() < limit {
        if !matches!(process.try_wait(), Ok(None)) {
            return false;
        }
        // Local and remote address and the state LISTEN (proc(5)).
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        if [port, port + 1].iter().all(|port| sockets.contains(&format!(" 0100007F:{port:04X} 00000000:0000 0A "))) {
            return true;
        }
        thread::sleep(Duration::from_millis(20));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tpms_run_side_by_side() {
        let first = SoftwareTpm::start(Manufacture::Blank).unwrap();
        let second = SoftwareTpm::start(Manufacture::Blank).unwrap();
        assert_ne!(first.tcti(), second.tcti());
        let directory = first.directory().to_owned();
        drop(first);
        assert!(!directory.exists());
    }

    #[test]
    fn manufacture_leaves_an_authority() {
        let tpm = SoftwareTpm::start(Manufacture::WithEkCertificate).unwrap();
        assert!(tpm.directory().join("ca/issuercert.pem").exists());
    }
}
