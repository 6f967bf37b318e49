//! Section `policy_tools`: runs of the tools that make, sign and convert policies, without a process.

use super::{Answers, Report, Vectors, cases, text};
use keylime_policy_tools::{Environment, Program, ProgressDisplay, run};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use time::UtcOffset;

/// Runs of tools, with the files they write.
pub fn runs(vectors: &Vectors, section: &Value, report: &mut Report) {
    for (id, case) in cases(section) {
        report.compare(vectors, "policy_tools", &id, case, answers(vectors, case));
    }
}

/// The directory a case works in, with the tree and the RAM disks it names.
struct Workshop {
    directory: tempfile::TempDir,
    /// Whether files could be given to another user, which some of the tree belong to.
    owners: bool,
}

impl Workshop {
    fn new(vectors: &Vectors, case: &Value) -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
        let ram_disks = directory.path().join("ram");
        fs::create_dir(&ram_disks).map_err(|e| e.to_string())?;
        for path in case["ramdisk_files"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let name = Path::new(path).file_name().ok_or("a RAM disk without a name")?;
            fs::write(ram_disks.join(name), vectors.file(path)?).map_err(|e| e.to_string())?;
        }
        let mut workshop = Self { directory, owners: true };
        if case["argv"].to_string().contains("ROOT") {
            let tree: Value =
                serde_json::from_slice(&vectors.file("tools/rootfs/tree.json")?).map_err(|e| e.to_string())?;
            workshop.plant(&tree).map_err(|e| e.to_string())?;
        }
        Ok(workshop)
    }

    fn plant(&mut self, tree: &Value) -> std::io::Result<()> {
        let root = self.root();
        for (path, content) in tree["files"].as_object().into_iter().flatten() {
            let file = root.join(path);
            fs::create_dir_all(file.parent().unwrap_or(&root))?;
            let (content, owner) = content.as_str().unwrap_or_default().split_once(" (uid ").unzip();
            fs::write(&file, content.unwrap_or_else(|| tree["files"][path].as_str().unwrap_or_default()))?;
            if let Some(owner) = owner.and_then(|owner| owner.trim_end_matches(')').parse::<u32>().ok()) {
                self.owners &= std::os::unix::fs::chown(&file, Some(owner), Some(owner)).is_ok();
            }
        }
        for (path, target) in tree["symlinks"].as_object().into_iter().flatten() {
            symlink(target.as_str().unwrap_or_default(), root.join(path))?;
        }
        let fifo = root.join(tree["fifo"].as_str().unwrap_or("fifo"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU)?;
        Ok(())
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn output(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    /// An argument of the vectors, with the directory its capital name stands for.
    fn argument(&self, argument: &str) -> String {
        let root = self.root();
        let path = match argument {
            "OUT" => self.output(),
            "ROOT" => root,
            "ROOT/" => return format!("{}/", root.display()),
            "ROOTx" => self.directory.path().join("rootx"),
            "PARENT" => self.directory.path().to_owned(),
            "RAMDIR" => self.directory.path().join("ram"),
            other => return other.to_owned(),
        };
        path.display().to_string()
    }
}

fn answers(vectors: &Vectors, case: &Value) -> Result<Answers, String> {
    let id = text(case, "id").unwrap_or_default();
    let program = match id.split_once('-').map_or(id, |(first, _)| first) {
        "convert" => Program::ConvertRuntimePolicy,
        "legacy" => Program::CreatePolicy,
        _ => Program::KeylimePolicy,
    };
    let workshop = Workshop::new(vectors, case)?;
    if !workshop.owners {
        return Err("this case needs root, because files of other users take part".to_owned());
    }
    let arguments = case["argv"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let arguments: Vec<String> = arguments.map(|argument| workshop.argument(argument)).collect();
    let environment = Environment {
        directory: vectors.root.join("tools"),
        effective_user: 0,
        columns: 80,
        offset: UtcOffset::UTC,
        progress: ProgressDisplay::Hidden,
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = run(program, &arguments, &environment, &mut stdout, &mut stderr);
    let directory = workshop.directory.path().display().to_string();
    let messages = String::from_utf8_lossy(&stderr).replace(&directory, "WORK");
    // Only the last lines were recorded.
    let recorded = case["stderr"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let (recorded, told) = (relevant(recorded), relevant(messages.lines()));
    let told = if recorded.is_empty() { &told[..] } else { &told[told.len().saturating_sub(recorded.len())..] };
    let mut ours = Map::new();
    ours.insert("exit".to_owned(), json!(exit));
    ours.insert("stderr".to_owned(), json!(told));
    let mut expected = Map::new();
    expected.insert("exit".to_owned(), case["exit"].clone());
    expected.insert("stderr".to_owned(), json!(recorded));
    if let Some(lines) = case.get("stdout") {
        expected.insert("stdout".to_owned(), lines.clone());
        let text = String::from_utf8_lossy(&stdout).into_owned();
        ours.insert("stdout".to_owned(), json!(text.lines().collect::<Vec<_>>()));
    }
    let written = fs::read_to_string(workshop.output()).ok();
    if let Some(recorded) = case.get("output").or(case.get("output_text")) {
        expected.insert("output".to_owned(), recorded_output(vectors, recorded)?);
        ours.insert("output".to_owned(), written.map_or(Value::Null, |text| comparable(&text, recorded)));
    } else {
        expected.insert("written".to_owned(), json!(false));
        ours.insert("written".to_owned(), json!(written.is_some()));
    }
    Ok(Answers { expected: Value::Object(expected), ours: Value::Object(ours) })
}

/// Messages without usage texts, whose wrapping depends on the program's name, and without the reference's own notes about
/// its configuration.
fn relevant<'l>(lines: impl Iterator<Item = &'l str>) -> Vec<String> {
    let lines = lines.filter(|line| !line.starts_with(' ') && !line.starts_with("usage:"));
    let lines = lines.filter(|line| !line.starts_with("INFO:keylime.config:"));
    let lines: Vec<String> = lines.map(|line| line.replace("keylime_policy.py", "keylime-policy")).collect();
    let blank = lines.iter().rev().take_while(|line| line.is_empty()).count();
    lines[..lines.len() - blank].to_vec()
}

/// The recorded output, or the file it refers to.
fn recorded_output(vectors: &Vectors, recorded: &Value) -> Result<Value, String> {
    match recorded.as_str().and_then(|text| text.strip_prefix("== ")) {
        Some(path) => serde_json::from_slice(&vectors.file(path)?).map_err(|e| e.to_string()),
        None => Ok(without_signature(recorded.clone())),
    }
}

/// What was written, without what differs from run to run.
fn comparable(text: &str, recorded: &Value) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(mut policy) => {
            if let Some(meta) = policy.get_mut("meta").and_then(Value::as_object_mut) {
                meta.shift_remove("timestamp");
            }
            without_signature(policy)
        }
        Err(_) if recorded.is_string() => json!(text),
        Err(error) => json!(format!("no JSON: {error}")),
    }
}

/// ECDSA signatures are never the same twice.
fn without_signature(mut document: Value) -> Value {
    if let Some(signature) = document.pointer_mut("/signatures/0/sig") {
        *signature = json!("signature");
    }
    document
}
