//! Debian's MariaDB on a private port, for the length of a test run.

use crate::ports;
use crate::server_process::{Account, ServerProcess, StartError, finish, installed};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Owner of the databases; its password has the characters that must be percent-encoded in a URL.
const CREATE_USER: &str = "CREATE USER keylime@localhost IDENTIFIED BY 'p@ss/w:rd%'; \
                           CREATE USER keylime@127.0.0.1 IDENTIFIED BY 'p@ss/w:rd%'";
const CREDENTIALS: &str = "keylime:p%40ss%2Fw%3Ard%25";
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running server; it stops when this is dropped or the process ends.
#[derive(Debug)]
pub struct MariaDb {
    process: ServerProcess,
    port: u16,
}

impl MariaDb {
    /// Makes and starts a server.
    ///
    /// # Errors
    /// It is not installed or does not start; the message says what to do.
    pub fn start() -> Result<Self, StartError> {
        let server = installed(&["/usr/sbin/mariadbd", "/usr/sbin/mysqld"], "mariadb-server")?;
        let install = installed(&["/usr/bin/mariadb-install-db", "/usr/bin/mysql_install_db"], "mariadb-server")?;
        let account = Account::named("mysql");
        let failed = |source| StartError::Run { program: server.display().to_string(), source };
        let directory = account.directory("keylime-mariadb-").map_err(failed)?;
        let data = format!("--datadir={}", directory.path().join("data").display());
        let options = ["--no-defaults", &data, "--auth-root-authentication-method=normal", "--skip-test-db"];
        account.run(&install, &options)?;
        let port = ports::free();
        let arguments = vec![
            "--no-defaults".to_owned(),
            data,
            format!("--port={port}"),
            format!("--socket={}", socket(directory.path())),
            format!("--pid-file={}", directory.path().join("pid").display()),
            "--bind-address=127.0.0.1".to_owned(),
            // Nothing of a test run has to survive a power cut.
            "--innodb-flush-log-at-trx-commit=0".to_owned(),
        ];
        let process = ServerProcess::start(account, directory, "TERM", &server, &arguments)?;
        let started = Self { process, port };
        started.process.wait_until(&server, START_LIMIT, || started.client("SELECT 1").is_ok())?;
        started.client(CREATE_USER)?;
        Ok(started)
    }

    /// Makes an empty database and answers its address in SQLAlchemy's form.
    ///
    /// # Errors
    /// The server refuses.
    pub fn create_database(&self, name: &str) -> Result<String, StartError> {
        self.client(&format!(
            "CREATE DATABASE {name}; GRANT ALL ON {name}.* TO keylime@localhost; GRANT ALL ON {name}.* TO keylime@127.0.0.1"
        ))?;
        Ok(format!("mysql+pymysql://{CREDENTIALS}@127.0.0.1:{}/{name}?charset=utf8", self.port))
    }

    fn client(&self, statement: &str) -> Result<String, StartError> {
        let socket = format!("--socket={}", socket(self.process.directory()));
        finish(Command::new("mariadb").args(["--no-defaults", &socket, "--user=root", "-e", statement]))
    }
}

fn socket(directory: &Path) -> String {
    directory.join("socket").display().to_string()
}
