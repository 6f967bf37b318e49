//! `database_url`: SQLAlchemy's spelling of a database address, as Keylime's configuration has it.
//!
//! `dialect[+driver]://user:password@host:port/database?option=value`, where user and password are percent-encoded, or
//! the keyword `sqlite`. The Python driver named after `+` says nothing to us beyond its dialect.

use std::fmt;
use std::path::{Path, PathBuf};

/// Longest address that is looked at, in bytes.
const MAX_URL_BYTES: usize = 4096;

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// An embedded database.
    Sqlite(SqliteLocation),
    /// A database server.
    Server(ServerUrl),
}

/// Where an embedded database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SqliteLocation {
    /// In the memory of this process; gone at its end.
    Memory,
    /// In this file; a relative path starts at the current directory.
    File(PathBuf),
}

/// The kind of a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerEngine {
    /// PostgreSQL.
    Postgres,
    /// MySQL or MariaDB.
    MySql,
}

/// Address of a database server. Its `Debug` form leaves the password out.
#[derive(Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the parts of the URL")]
pub struct ServerUrl {
    pub engine: ServerEngine,
    pub username: Option<String>,
    pub password: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub database: Option<String>,
    /// Options after `?`, in their order; empty values are left out.
    pub options: Vec<(String, String)>,
}

/// Why a text is not a usable database address. No text in it can hold the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum InvalidDatabaseUrl {
    #[error("database_url is empty")]
    Empty,
    #[error("database_url is longer than {MAX_URL_BYTES} bytes")]
    TooLong,
    #[error("database_url is neither the keyword sqlite nor of the form dialect://user:password@host:port/database")]
    Form,
    #[error("database_url names the dialect '{0}'; sqlite, postgresql, mysql and mariadb are supported")]
    Dialect(String),
    #[error("database_url has a port that is not a number from 1 to 65535")]
    Port,
    #[error("database_url has a host or a user, but an sqlite file needs the form sqlite:////absolute/path")]
    SqliteHost,
    #[error("database_url has the option '{0}', which is not supported for this database")]
    Option(String),
    #[error("database_url has an unusable value for the option '{0}'")]
    OptionValue(String),
    #[error("database_url names no database")]
    NoDatabase,
}

impl DatabaseUrl {
    /// Reads an address. `default_file` is what the keyword `sqlite` means: `cv_data.sqlite` or `reg_data.sqlite` in
    /// Keylime's working directory.
    ///
    /// # Errors
    /// See [`InvalidDatabaseUrl`].
    pub fn parse(text: &str, default_file: &Path) -> Result<Self, InvalidDatabaseUrl> {
        let text = text.trim();
        if text.is_empty() {
            return Err(InvalidDatabaseUrl::Empty);
        }
        if text.len() > MAX_URL_BYTES {
            return Err(InvalidDatabaseUrl::TooLong);
        }
        if text == "sqlite" {
            return Ok(Self::Sqlite(SqliteLocation::File(default_file.to_owned())));
        }
        let (name, rest) = text.split_once("://").ok_or(InvalidDatabaseUrl::Form)?;
        let (dialect, driver) = name.split_once('+').unwrap_or((name, ""));
        let parts = Parts::split(rest)?;
        match dialect {
            "sqlite" if driver == "pysqlcipher" => Err(InvalidDatabaseUrl::Dialect(name.to_owned())),
            "sqlite" => parts.into_sqlite().map(Self::Sqlite),
            "postgresql" | "postgres" => parts.into_server(ServerEngine::Postgres).map(Self::Server),
            "mysql" | "mariadb" => parts.into_server(ServerEngine::MySql).map(Self::Server),
            _ => Err(InvalidDatabaseUrl::Dialect(name.to_owned())),
        }
    }
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerUrl")
            .field("engine", &self.engine)
            .field("username", &self.username)
            .field("host", &self.host)
            .field("port", &self.port)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for DatabaseUrl {
    /// The address without user, password and options, for logs and error messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(SqliteLocation::Memory) => f.write_str("sqlite in memory"),
            Self::Sqlite(SqliteLocation::File(path)) => write!(f, "sqlite file {}", path.display()),
            Self::Server(server) => {
                let engine = match server.engine {
                    ServerEngine::Postgres => "postgresql",
                    ServerEngine::MySql => "mysql",
                };
                let host = server.host.as_deref().unwrap_or("local socket");
                write!(f, "{engine} database {} at {host}", server.database.as_deref().unwrap_or_default())?;
                server.port.map_or(Ok(()), |port| write!(f, " port {port}"))
            }
        }
    }
}

/// The parts behind `://`, percent-decoded where SQLAlchemy decodes them: user, password and options.
struct Parts {
    username: Option<String>,
    password: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    options: Vec<(String, String)>,
}

impl Parts {
    fn split(rest: &str) -> Result<Self, InvalidDatabaseUrl> {
        let (credentials, rest) = split_credentials(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) =
            rest.split_once('/').map_or((rest, None), |(authority, database)| (authority, Some(database)));
        let (host, port) = split_authority(authority)?;
        let (username, password) = match credentials {
            None => (None, None),
            Some((username, password)) => (Some(percent_decode(username)), password.map(percent_decode)),
        };
        Ok(Self {
            username: username.filter(|name| !name.is_empty()),
            password,
            host,
            port,
            database: database.filter(|name| !name.is_empty()).map(str::to_owned),
            options: ::url::form_urlencoded::parse(query.as_bytes())
                .filter(|(_, value)| !value.is_empty())
                .map(|(key, value)| (key.into_owned(), value.into_owned()))
                .collect(),
        })
    }

    fn into_sqlite(self) -> Result<SqliteLocation, InvalidDatabaseUrl> {
        if self.username.is_some() || self.host.is_some() || self.port.is_some() || self.password.is_some() {
            return Err(InvalidDatabaseUrl::SqliteHost);
        }
        for (option, _) in &self.options {
            // Settings of Python's driver that have no counterpart: threads, and how long to wait for a lock.
            if !matches!(option.as_str(), "check_same_thread" | "timeout" | "isolation_level" | "cached_statements") {
                return Err(InvalidDatabaseUrl::Option(option.clone()));
            }
        }
        match self.database.as_deref() {
            None | Some(":memory:") => Ok(SqliteLocation::Memory),
            Some(path) => Ok(SqliteLocation::File(PathBuf::from(path))),
        }
    }

    fn into_server(self, engine: ServerEngine) -> Result<ServerUrl, InvalidDatabaseUrl> {
        if self.database.is_none() {
            return Err(InvalidDatabaseUrl::NoDatabase);
        }
        let Self { username, password, host, port, database, options } = self;
        Ok(ServerUrl { engine, username, password, host, port, database, options })
    }
}

/// Splits `user[:password]@` off. A password ends at the first `@`, a user name alone at the last one before any `:` or
/// `/`, as in SQLAlchemy's grammar.
fn split_credentials(rest: &str) -> (Option<(&str, Option<&str>)>, &str) {
    let name_end = rest.find([':', '/']).unwrap_or(rest.len());
    if rest[name_end..].starts_with(':')
        && let Some(length) = rest[name_end + 1..].find('@')
    {
        let password_end = name_end + 1 + length;
        return (Some((&rest[..name_end], Some(&rest[name_end + 1..password_end]))), &rest[password_end + 1..]);
    }
    match rest[..name_end].rfind('@') {
        Some(at) => (Some((&rest[..at], None)), &rest[at + 1..]),
        None => (None, rest),
    }
}

fn split_authority(authority: &str) -> Result<(Option<String>, Option<u16>), InvalidDatabaseUrl> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']').ok_or(InvalidDatabaseUrl::Form)?;
            (host, after.strip_prefix(':').unwrap_or(after))
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = match port {
        "" => None,
        digits => match digits.parse::<u16>() {
            Ok(0) | Err(_) => return Err(InvalidDatabaseUrl::Port),
            Ok(port) => Some(port),
        },
    };
    Ok(((!host.is_empty()).then(|| host.to_owned()), port))
}

/// Replaces `%XX`; what is no such escape stays, and what is no UTF-8 becomes the replacement character.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, tail)) = rest.split_first() {
        let escape = match tail {
            [high, low, ..] if byte == b'%' => hex_digit(*high).zip(hex_digit(*low)),
            _ => None,
        };
        match escape {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None => {
                decoded.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<DatabaseUrl, InvalidDatabaseUrl> {
        DatabaseUrl::parse(text, Path::new("/var/lib/keylime/cv_data.sqlite"))
    }

    fn server(text: &str) -> ServerUrl {
        match parse(text).unwrap() {
            DatabaseUrl::Server(server) => server,
            DatabaseUrl::Sqlite(location) => panic!("{location:?}"),
        }
    }

    #[test]
    fn reads_every_sqlite_form() {
        let file = |path: &str| Ok(DatabaseUrl::Sqlite(SqliteLocation::File(PathBuf::from(path))));
        let memory = Ok(DatabaseUrl::Sqlite(SqliteLocation::Memory));
        assert_eq!(parse("sqlite"), file("/var/lib/keylime/cv_data.sqlite"));
        assert_eq!(parse("sqlite:////srv/k l/a.sqlite"), file("/srv/k l/a.sqlite"));
        assert_eq!(parse("sqlite+pysqlite:////srv/a?timeout=30&check_same_thread=false"), file("/srv/a"));
        assert_eq!(parse("sqlite:///data/a.sqlite"), file("data/a.sqlite"));
        for text in ["sqlite://", "sqlite:///", "sqlite:///:memory:"] {
            assert_eq!(parse(text), memory, "{text}");
        }
        assert_eq!(parse("sqlite://data/a.sqlite"), Err(InvalidDatabaseUrl::SqliteHost));
        assert_eq!(parse("sqlite:///a?uri=true"), Err(InvalidDatabaseUrl::Option("uri".into())));
    }

    #[test]
    fn reads_server_addresses() {
        let url = server("postgresql+psycopg2://key%40lime:p%3Aa%2Fs%25s+x@db.example:5433/cv?sslmode=require&x=");
        assert_eq!(url.engine, ServerEngine::Postgres);
        assert_eq!(url.username.as_deref(), Some("key@lime"));
        assert_eq!(url.password.as_deref(), Some("p:a/s%s+x"));
        assert_eq!((url.host.as_deref(), url.port), (Some("db.example"), Some(5433)));
        assert_eq!(url.database.as_deref(), Some("cv"));
        assert_eq!(url.options, [("sslmode".to_owned(), "require".to_owned())]);

        let url = server("mysql+pymysql://keylime:@[2001:db8::1]:3306/cv?charset=utf8");
        assert_eq!(url.engine, ServerEngine::MySql);
        assert_eq!(url.password.as_deref(), Some(""));
        assert_eq!(url.host.as_deref(), Some("2001:db8::1"));

        let url = server("mariadb+pymysql://keylime@localhost/cv");
        assert_eq!((url.engine, url.username.as_deref(), url.password), (ServerEngine::MySql, Some("keylime"), None));

        let url = server("postgresql:///cv?host=/var/run/postgresql");
        assert_eq!((url.host, url.database.as_deref()), (None, Some("cv")));
        // Reserved characters that SQLAlchemy tolerates inside a password.
        assert_eq!(server("postgresql://u:a/b:c@h/cv").password.as_deref(), Some("a/b:c"));
    }

    #[test]
    fn refuses_what_cannot_be_used_and_says_why() {
        assert_eq!(parse(" "), Err(InvalidDatabaseUrl::Empty));
        assert_eq!(parse("cv_data.sqlite"), Err(InvalidDatabaseUrl::Form));
        assert_eq!(parse("oracle://u:secret@h/cv"), Err(InvalidDatabaseUrl::Dialect("oracle".into())));
        assert_eq!(parse("postgresql://u:secret@h:70000/cv"), Err(InvalidDatabaseUrl::Port));
        assert_eq!(parse("postgresql://u:secret@h:0/cv"), Err(InvalidDatabaseUrl::Port));
        assert_eq!(parse("postgresql://u:secret@h"), Err(InvalidDatabaseUrl::NoDatabase));
        assert_eq!(parse("postgresql://[::1/cv"), Err(InvalidDatabaseUrl::Form));
        assert_eq!(parse(&"x".repeat(5000)), Err(InvalidDatabaseUrl::TooLong));
    }

    #[test]
    fn the_password_is_in_no_printed_form() {
        let url = parse("postgresql://u:secret@h:5432/cv?password=secret").unwrap();
        assert!(!format!("{url:?} {url}").contains("secret"));
    }

    proptest! {
        #[test]
        fn any_text_is_an_answer(text in "\\PC{0,80}", tail in "[a-z:/@?&=%\\[\\]0-9]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("postgresql://{tail}"));
        }

        #[test]
        fn encoded_credentials_come_back(user in "\\PC{1,12}", password in "\\PC{0,12}") {
            let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let url = server(&format!("mysql+pymysql://{}:{}@h/cv", encode(&user), encode(&password)));
            prop_assert_eq!(url.username.as_deref(), Some(user.as_str()));
            prop_assert_eq!(url.password.as_deref(), Some(password.as_str()));
        }
    }
}
