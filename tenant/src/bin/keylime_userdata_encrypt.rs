//! `keylime_userdata_encrypt`: encrypts a file under a new payload key and writes both for `keylime_tenant -k -p`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use keylime_pki::payload_cipher;
use keylime_tenant::payload::{self, PayloadError};

const KEY_FILE: &str = "content_keys.txt";
const PAYLOAD_FILE: &str = "content_payload.txt";
/// Exit code of a call without a usable file.
const NO_FILE: u8 = 255;

const HELP: &str = "\
usage: keylime_userdata_encrypt FILE

Encrypts FILE under a new key for keylime_tenant -k content_keys.txt -p content_payload.txt

options:
  -h, --help            show this help message and exit
  --version             show the version and exit
";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    let file = arguments.first().map(String::as_str);
    match file {
        Some("-h" | "--help") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some("--version") => {
            println!("keylime_userdata_encrypt {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(_) | None => {}
    }
    let Some(file) = file.filter(|file| Path::new(file).is_file()) else {
        if let Some(file) = file {
            // Scripts may look for the literal "%s", which the reference prints.
            println!("ERROR: File %s not found. {file}");
        }
        println!("Please pass in a file input file to encrypt");
        return ExitCode::from(NO_FILE);
    };
    match encrypt(Path::new(file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn encrypt(file: &Path) -> Result<(), PayloadError> {
    let key = payload::random_key()?;
    let payload = payload_cipher::seal(key.k(), &payload::read(file)?)?;
    println!("Writing keys to {KEY_FILE}");
    // K, V, U: the tenant reads K, U, V, and the shares are interchangeable.
    let lines = [key.k(), key.v(), key.u()].map(|part| STANDARD.encode(part) + "\n").concat();
    write(Path::new(KEY_FILE), &lines)?;
    println!("Writing encrypted data to {PAYLOAD_FILE}");
    write(Path::new(PAYLOAD_FILE), &payload)
}

/// Writes a file that only its owner reads.
fn write(path: &Path, content: &str) -> Result<(), PayloadError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|source| PayloadError::Io { path: path.to_owned(), source })
}
