//! Policies from RPM repositories, in a directory and behind a server.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use keylime_engine::algorithm::HashAlgorithm;
use keylime_engine::ima::verification_key::{Curve, VerificationKey};
use keylime_policy_tools::{Environment, Program, ProgressDisplay, run};
use rpm::{FileOptions, PackageBuilder};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use time::UtcOffset;

const PACKAGES: usize = 12;

/// A repository of packages, the first of which is too large for one range.
fn repository() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    fs::create_dir_all(root.join("repodata")).unwrap();
    fs::create_dir_all(root.join("Packages/a")).unwrap();
    let mut locations = String::new();
    for number in 0..PACKAGES {
        let mut builder = PackageBuilder::new(&format!("p{number}"), "1.0", "MIT", "noarch", "a test");
        for file in 0..if number == 0 { 1500 } else { 2 } {
            let path = format!("/usr/share/p{number}/file {file}");
            builder.with_file_contents(format!("{number}-{file}"), FileOptions::new(path)).unwrap();
        }
        builder.with_file_contents("shared", FileOptions::new("/usr/share/shared")).unwrap();
        builder.with_dir_entry(FileOptions::dir(format!("/usr/share/p{number}"))).unwrap();
        let place = format!("Packages/a/p{number}.rpm");
        let mut bytes = Vec::new();
        builder.build().unwrap().write(&mut bytes).unwrap();
        fs::write(root.join(&place), bytes).unwrap();
        locations += &format!("<package type=\"rpm\"><location href=\"{place}\"/></package>");
    }
    fs::write(
        root.join("repodata/primary.xml"),
        format!("<metadata xmlns=\"http://linux.duke.edu/metadata/common\">{locations}</metadata>"),
    )
    .unwrap();
    write_index(root, "<data type=\"primary\"><location href=\"repodata/primary.xml\"/></data>");
    directory
}

fn write_index(root: &Path, data: &str) {
    let index = format!("<repomd xmlns=\"http://linux.duke.edu/metadata/repo\">{data}</repomd>");
    fs::write(root.join("repodata/repomd.xml"), index).unwrap();
}

struct Run {
    exit: i32,
    policy: Value,
    messages: String,
}

fn tool(program: Program, words: &[&str]) -> Run {
    let environment = Environment {
        directory: PathBuf::from("/"),
        effective_user: 0,
        columns: 80,
        offset: UtcOffset::UTC,
        progress: ProgressDisplay::Hidden,
    };
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = run(program, &words, &environment, &mut stdout, &mut stderr);
    let policy = serde_json::from_slice(&stdout).unwrap_or_default();
    Run { exit, policy, messages: String::from_utf8(stderr).unwrap() }
}

fn create(option: &str, place: &str) -> Run {
    tool(Program::KeylimePolicy, &["create", "runtime", option, place])
}

fn check_digests(policy: &Value) {
    let digests = policy["digests"].as_object().unwrap();
    assert_eq!(digests.len(), 1500 + 2 * (PACKAGES - 1) + 1);
    let sha256 = |text: &str| json!([HashAlgorithm::Sha256.digest(&[text.as_bytes()]).to_hex()]);
    assert_eq!(digests["/usr/share/p0/file 1499"], sha256("0-1499"));
    assert_eq!(digests["/usr/share/p7/file 1"], sha256("7-1"));
    assert_eq!(digests["/usr/share/shared"], sha256("shared"));
}

#[test]
fn a_directory_of_packages_becomes_a_policy() {
    let repository = repository();
    let place = repository.path().to_str().unwrap();
    let made = create("--local-rpm-repo", place);
    assert_eq!((made.exit, made.messages.as_str()), (0, "Warning. Unsigned repository. Continuing the RPM scanning\n"));
    check_digests(&made.policy);
    let older = tool(Program::CreatePolicy, &["-m", "/dev/null", "-l", place]);
    assert_eq!(older.exit, 0);
    assert_eq!(older.policy["digests"], made.policy["digests"]);

    fs::write(repository.path().join("Packages/b.rpm"), b"no package").unwrap();
    let damaged = create("--local-rpm-repo", place);
    assert_eq!(damaged.exit, 1);
    assert!(damaged.messages.ends_with("Packages/b.rpm: not an RPM package\n"), "{}", damaged.messages);
    let missing = create("--local-rpm-repo", "/does/not/exist");
    assert_eq!((missing.exit, missing.messages.as_str()), (1, "/does/not/exist does not seem to exist\n"));
    fs::remove_file(repository.path().join("repodata/repomd.xml")).unwrap();
    assert!(create("--local-rpm-repo", place).messages.ends_with("repodata/repomd.xml cannot be found\n"));
}

#[test]
fn signed_metadata_must_verify() {
    let repository = repository();
    let root = repository.path();
    let place = root.to_str().unwrap();
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let index = fs::read(root.join("repodata/repomd.xml")).unwrap();
    let signature = pair.sign(&SystemRandom::new(), &index).unwrap();
    fs::write(root.join("repodata/repomd.xml.asc"), signature.as_ref()).unwrap();
    let missing = create("--local-rpm-repo", place);
    assert!(missing.messages.contains("Error. Key file") && missing.exit == 1, "{}", missing.messages);
    let key = VerificationKey::from_point(Curve::P256, pair.public_key().as_ref()).unwrap();
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(key.spki());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n");
    fs::write(root.join("repodata/repomd.xml.key"), pem).unwrap();
    let server = Server::start(root, Manners::Ranges);
    for (option, place) in [("--local-rpm-repo", place), ("--remote-rpm-repo", &server.address)] {
        let made = create(option, place);
        assert_eq!(made.exit, 0, "{}", made.messages);
        assert!(!made.messages.contains("Unsigned"));
        check_digests(&made.policy);
    }
    fs::write(root.join("repodata/repomd.xml"), [&index[..], b" "].concat()).unwrap();
    for (option, place) in [("--local-rpm-repo", place), ("--remote-rpm-repo", &server.address)] {
        let made = create(option, place);
        assert_eq!((made.exit, &made.policy), (1, &Value::Null));
        assert!(made.messages.starts_with("Error. Invalid signature. Untrusted repository"), "{}", made.messages);
    }
}

#[test]
fn openpgp_signatures_of_metadata_must_verify() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engine/tests/data/openpgp");
    let repository = repository();
    let metadata = repository.path().join("repodata");
    fs::copy(data.join("body.txt"), metadata.join("repomd.xml")).unwrap();
    fs::copy(data.join("rsa.asc"), metadata.join("repomd.xml.asc")).unwrap();
    fs::copy(data.join("rsa.pub"), metadata.join("repomd.xml.key")).unwrap();
    let place = repository.path().to_str().unwrap();
    let made = create("--local-rpm-repo", place);
    assert_eq!((made.exit, made.messages.as_str()), (0, ""));
    check_digests(&made.policy);
    fs::copy(data.join("ed25519.pub"), metadata.join("repomd.xml.key")).unwrap();
    assert_eq!(create("--local-rpm-repo", place).exit, 1);
}

#[test]
fn only_headers_are_fetched_from_servers_that_can_send_ranges() {
    let repository = repository();
    for manners in [Manners::Ranges, Manners::WholeFiles] {
        let server = Server::start(repository.path(), manners);
        let made = tool(
            Program::KeylimePolicy,
            &["create", "runtime", "--remote-rpm-repo", &server.address, "--max-workers", "3"],
        );
        assert_eq!(made.exit, 0, "{}", made.messages);
        assert_eq!(
            made.messages,
            "Warning. Unsigned repository. Continuing the RPM scanning\n\
             Warning. filelist-ext.xml not present in the repo\n"
        );
        check_digests(&made.policy);
    }
}

#[test]
fn packages_a_server_does_not_hand_out_are_left_out_with_a_warning() {
    let repository = repository();
    fs::remove_file(repository.path().join("Packages/a/p3.rpm")).unwrap();
    let server = Server::start(repository.path(), Manners::Ranges);
    let made = create("--remote-rpm-repo", &server.address);
    assert_eq!(made.exit, 0);
    assert!(made.messages.contains("p3.rpm: HTTP status 404"), "{}", made.messages);
    assert!(made.policy["digests"].get("/usr/share/p3/file 1").is_none());
}

#[test]
fn a_list_of_files_with_digests_spares_the_packages() {
    let repository = repository();
    let root = repository.path();
    let digest = "ab".repeat(32);
    let list = format!(
        "<filelists-ext xmlns=\"http://linux.duke.edu/metadata/filelists-ext\"><package><file hash=\"{digest}\">/usr/bin/x\
         </file><file type=\"dir\">/usr</file></package></filelists-ext>"
    );
    let packed = zstd::encode_all(list.as_bytes(), 1).unwrap();
    fs::write(root.join("repodata/ext.xml.zst"), packed).unwrap();
    write_index(root, "<data type=\"filelists-ext\"><location href=\"repodata/ext.xml.zst\"/></data>");
    let server = Server::start(root, Manners::Ranges);
    let made = create("--remote-rpm-repo", &server.address);
    assert_eq!(made.policy["digests"], json!({ "/usr/bin/x": [digest] }));
    assert_eq!(server.packages.load(Ordering::SeqCst), 0);
    fs::remove_file(root.join("repodata/ext.xml.zst")).unwrap();
    let missing = create("--remote-rpm-repo", &server.address);
    assert!(missing.exit == 1 && missing.messages.ends_with("ext.xml.zst cannot be found\n"), "{}", missing.messages);
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/repo", listener.local_addr().unwrap());
    drop(listener);
    let made = create("--remote-rpm-repo", &address);
    assert!(made.exit == 1 && made.messages.contains(&address), "{}", made.messages);
    assert_eq!(create("--remote-rpm-repo", "no address").exit, 1);
}

/// Whether a server understands ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Ranges,
    WholeFiles,
}

/// Serves a directory until it is dropped.
struct Server {
    address: String,
    /// Requests for packages.
    packages: Arc<AtomicUsize>,
    running: Arc<Mutex<bool>>,
}

impl Server {
    fn start(root: &Path, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let (packages, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(true)));
        let (root, count, goes_on) = (root.to_owned(), Arc::clone(&packages), Arc::clone(&running));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !*goes_on.lock().unwrap() {
                    return;
                }
                let (root, count) = (root.clone(), Arc::clone(&count));
                std::thread::spawn(move || serve(stream, &root, manners, &count));
            }
        });
        Self { address, packages, running }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        *self.running.lock().unwrap() = false;
        let _ = TcpStream::connect(self.address.trim_start_matches("http://").trim_end_matches('/'));
    }
}

fn serve(stream: TcpStream, root: &Path, manners: Manners, packages: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let path = head.first()?.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        packages.fetch_add(usize::from(path.ends_with(".rpm")), Ordering::SeqCst);
        let range = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let (from, to) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
            name.eq_ignore_ascii_case("range").then_some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
        });
        let (status, body) = match (fs::read(root.join(&path)), range) {
            (Err(_), _) => ("404 Not Found", Vec::new()),
            (Ok(body), Some((from, to))) if manners == Manners::Ranges => {
                let end = body.len().min(to + 1);
                ("206 Partial Content", body.get(from..end).unwrap_or_default().to_vec())
            }
            (Ok(body), _) => ("200 OK", body),
        };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len()).ok()?;
        stream.write_all(&body).ok()?;
    }
}
