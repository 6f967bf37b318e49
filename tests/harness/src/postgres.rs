//! Debian's PostgreSQL on a private port, for the length of a test run.

use crate::ports;
use crate::server_process::{Account, ServerProcess, StartError, finish, installed};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The owner of all databases.
const USER: &str = "keylime";
/// Its password has the characters that must be percent-encoded in a URL.
const PASSWORD: &str = "p@ss/w:rd%";
const ENCODED_PASSWORD: &str = "p%40ss%2Fw%3Ard%25";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; it stops when this is dropped or the process ends.
#[derive(Debug)]
pub struct Postgres {
    process: ServerProcess,
    port: u16,
}

impl Postgres {
    /// Makes and starts a server.
    ///
    /// # Errors
    /// It is not installed or does not start; the message says what to do.
    pub fn start() -> Result<Self, StartError> {
        let bin = newest_bin()?;
        let account = Account::named("postgres");
        let server = bin.join("postgres");
        let failed = |source| StartError::Run { program: server.display().to_string(), source };
        let directory = account.directory("keylime-postgres-").map_err(failed)?;
        let data = directory.path().join("data").display().to_string();
        let password_file = directory.path().join("password");
        std::fs::write(&password_file, PASSWORD).map_err(failed)?;
        let password_file = password_file.display().to_string();
        let initdb = ["-D", &data, "-U", USER, "-A", "scram-sha-256", "--pwfile", &password_file];
        let initdb = [&initdb[..], &["-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]].concat();
        account.run(&bin.join("initdb"), &initdb)?;
        let port = ports::free();
        let socket = directory.path().display().to_string();
        let arguments = ["-D", &data, "-k", &socket, "-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"];
        // Nothing of a test run has to survive a power cut.
        let arguments = [&arguments[..], &["-c", "fsync=off", "-c", "full_page_writes=off"]].concat();
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
        let process = ServerProcess::start(account, directory, "QUIT", &server, &arguments)?;
        let started = Self { process, port };
        started.process.wait_until(&server, START_LIMIT, || started.psql("SELECT 1").is_ok())?;
        Ok(started)
    }

    /// Makes an empty database and answers its address in SQLAlchemy's form.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_database(&self, name: &str) -> Result<String, StartError> {
        self.psql(&format!("CREATE DATABASE {name}"))?;
        Ok(format!("postgresql+psycopg2://{USER}:{ENCODED_PASSWORD}@127.0.0.1:{}/{name}", self.port))
    }

    /// The directory of the server's socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.process.directory()
    }

    fn psql(&self, statement: &str) -> Result<String, StartError> {
        let port = self.port.to_string();
        let connection = ["-h", "127.0.0.1", "-p", &port, "-U", USER, "-d", "postgres"];
        finish(Command::new("psql").env("PGPASSWORD", PASSWORD).args(connection).args(["-q", "-X", "-c", statement]))
    }
}

/// Debian keeps each version's programs in a directory of its own, outside the search path.
fn newest_bin() -> Result<PathBuf, StartError> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str().and_then(|version| version.parse::<u32>().ok()))
        .max()
        .unwrap_or_default();
    let server = format!("/usr/lib/postgresql/{newest}/bin/postgres");
    let server = installed(&[&server], "postgresql")?;
    Ok(server.parent().map(Path::to_owned).unwrap_or_default())
}
