//! `keylime-policy create runtime`: puts a runtime policy together from everything that tells what a machine may run
//! (`policy-tools.md` §2.1).

use crate::algorithm_choice::{Hint, decide};
use crate::allowlist::{self, PathSpelling};
use crate::digest_map::DigestMap;
use crate::environment::{Console, Environment, Verbosity, write_output};
use crate::error::{ToolError, in_context};
use crate::exclude_list;
use crate::file_digests::digest_files;
use crate::initrd;
use crate::key_files::{self, json_text};
use crate::measurement_list::{self, BufferChoice, KERNEL_LIST, NO_LIST, TemplateMatch, Wanted};
use crate::policy_draft::PolicyDraft;
use crate::root_filesystem;
use crate::rpm::{self, RepositoryDigests, RepositoryError};
use keylime_arguments::Matches;
use keylime_engine::algorithm::HashAlgorithm;
use rayon::prelude::*;
use serde_json::Value;
use std::num::NonZeroUsize;

/// Packages that are read at the same time.
const DEFAULT_WORKERS: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Runs the command.
///
/// # Errors
/// See [`ToolError`]; nothing is written then.
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    if matches.is_present("verbose") {
        console.set_verbosity(Verbosity::Verbose);
    }
    let mut work = Work { matches, environment, console };
    let mut draft = work.base_policy()?;
    let base_hint = work.given("base_policy").map(|_| Hint::of_list(draft.digests.first_digest()));
    let algorithm_option = work.given("algo").and_then(HashAlgorithm::from_name);
    if algorithm_option.is_some() && work.given("ramdisk_dir").is_none() && work.given("rootfs").is_none() {
        let advice = "You need to specify at least one of --ramdisk-dir or --rootfs to use a custom digest algorithm";
        work.console.warning(advice);
    }
    let allowed = work.allowlist()?;
    let allowed_hint = work.given("allowlist").map(|_| Hint::of_list(allowed.first_digest()));
    let (list_hint, listed) = work.measurement_list()?.unzip();
    let packaged = work.repositories()?;
    let algorithm = work.algorithm(&[
        ("--algo option", algorithm_option.map(Hint::Known)),
        ("base policy", base_hint),
        ("allowlist", allowed_hint),
        ("IMA measurement list", list_hint),
    ])?;
    let unpacked = work.ram_disks(algorithm)?;
    let scanned = work.root_file_system(algorithm);
    for digests in [allowed, listed.unwrap_or_default(), scanned, unpacked, packaged] {
        draft.digests.merge(digests);
    }
    work.excludes(&mut draft)?;
    draft.ignored_keyrings.extend_from_slice(matches.values("ignored_keyrings"));
    work.buffers(&mut draft)?;
    work.verification_keys(&mut draft)?;
    let policy = draft
        .finish(&environment.timestamp())
        .map_err(|violation| ToolError::refused(format!("Base policy is not a valid runtime policy: {violation}")))?;
    let text = if matches.is_present("legacy_allowlist") { legacy_text(&policy) } else { json_text(&policy) };
    let output = matches.value("output").unwrap_or("/dev/stdout");
    write_output(environment, work.console, output, text.as_bytes())
        .map_err(in_context("An error occurred while writing the policy"))
}

struct Work<'w, 'c> {
    matches: &'w Matches,
    environment: &'w Environment,
    console: &'w mut Console<'c>,
}

impl Work<'_, '_> {
    /// The value of an option, unless it is empty.
    fn given(&self, name: &str) -> Option<&str> {
        self.matches.value(name).filter(|value| !value.is_empty())
    }

    fn base_policy(&mut self) -> Result<PolicyDraft, ToolError> {
        let Some(file) = self.given("base_policy") else { return Ok(PolicyDraft::default()) };
        let text =
            self.environment.read_text(file).map_err(in_context("An error occurred while loading the policy"))?;
        let base: Value = serde_json::from_str(&text).map_err(|error| {
            ToolError::refused(format!("An error occurred while parsing a JSON object from file {file}: {error}"))
        })?;
        if !base.is_object() {
            return Err(ToolError::refused(format!("The base policy in file {file} is no JSON object")));
        }
        PolicyDraft::from_base(&base).map_err(|violation| {
            ToolError::refused(format!(
                "Could not convert the provided base policy to a valid runtime policy: {violation}"
            ))
        })
    }

    fn allowlist(&mut self) -> Result<DigestMap, ToolError> {
        let Some(file) = self.given("allowlist") else { return Ok(DigestMap::default()) };
        let text = self.text(file).map_err(in_context("An error occurred while accessing the allowlist"))?;
        let found = allowlist::read(&text, PathSpelling::AsMeasured);
        found.skipped.iter().for_each(|message| self.console.debug(message));
        Ok(found.values)
    }

    fn text(&self, file: &str) -> Result<String, crate::environment::FileError> {
        Ok(crate::python_text::universal_newlines(&self.environment.read_text(file)?).into_owned())
    }

    /// The list to read, if any: the option without a value means the kernel's own.
    fn list_path(&self) -> &str {
        if self.matches.is_present("ima_measurement_list") {
            self.matches.value("ima_measurement_list").unwrap_or(KERNEL_LIST)
        } else {
            NO_LIST
        }
    }

    fn measurement_list(&mut self) -> Result<Option<(Hint, DigestMap)>, ToolError> {
        let path = self.list_path();
        if path == NO_LIST {
            return Ok(None);
        }
        if !self.environment.path(path).is_file() {
            return Err(ToolError::refused(format!("The IMA measurement list file '{path}' does not seem to exist")));
        }
        let list = self.text(path).map_err(in_context("An error occurred"))?;
        self.console.debug(format_args!(
            "Measurement list is {}",
            self.matches.value("ima_measurement_list").unwrap_or(KERNEL_LIST)
        ));
        let found = measurement_list::file_digests(&list).map_err(ToolError::refused)?;
        found.skipped.iter().for_each(|message| self.console.debug(message));
        Ok(Some((measurement_list::boot_aggregate_algorithm(&list), found.values)))
    }

    fn repositories(&mut self) -> Result<DigestMap, ToolError> {
        let workers = self.given("max_workers").and_then(|count| count.parse().ok()).unwrap_or(DEFAULT_WORKERS);
        let mut digests = DigestMap::default();
        let local = self.given("local_rpm_repo").map(|path| self.environment.absolute(path));
        let local = local.map(|path| rpm::digests_of_directory(&path, workers));
        let remote = || self.given("remote_rpm_repo").map(|address| rpm::digests_at_url(address, workers));
        let found: Vec<Result<RepositoryDigests, RepositoryError>> = match local {
            Some(Err(error)) => vec![Err(error)],
            local => local.into_iter().chain(remote()).collect(),
        };
        for repository in found {
            let repository = repository.map_err(ToolError::refused)?;
            repository.warnings.iter().for_each(|warning| self.console.warning(warning));
            digests.merge(repository.digests);
        }
        Ok(digests)
    }

    fn algorithm(&mut self, hints: &[(&str, Option<Hint>)]) -> Result<HashAlgorithm, ToolError> {
        let decided = decide(hints).map_err(|problems| {
            problems.iter().for_each(|problem| self.console.warning(problem));
            ToolError::refused("Aborting operation")
        })?;
        let measures = self.given("ramdisk_dir").is_some() || self.given("rootfs").is_some();
        match decided {
            Some(Hint::Known(algorithm)) => Ok(algorithm),
            Some(Hint::Sha256OrSm3) => {
                if measures {
                    let advice = "The given digests may be of sha256 or sm3_256; files are digested with sha256. \
                                  Create the policy with --algo sm3_256 and without them if that is wrong";
                    self.console.warning(advice);
                }
                Ok(HashAlgorithm::Sha256)
            }
            Some(Hint::Invalid) | None => {
                self.console.debug("Using default digest algorithm sha256");
                Ok(HashAlgorithm::Sha256)
            }
        }
    }

    fn ram_disks(&mut self, algorithm: HashAlgorithm) -> Result<DigestMap, ToolError> {
        let mut digests = DigestMap::default();
        let Some(directory) = self.given("ramdisk_dir") else { return Ok(digests) };
        let environment = self.environment;
        let failed = |error| crate::environment::FileError { path: directory.to_owned(), error };
        let images = initrd::list(&environment.path(directory)).map_err(failed)?;
        let contents: Vec<_> = images
            .par_iter()
            .map(|path| {
                let name = path.display().to_string();
                let image = environment.read(&name)?;
                initrd::digest_contents(&image, algorithm)
                    .map_err(|error| ToolError::refused(format!("Unable to process file '{name}': {error}")))
            })
            .collect();
        for (path, contents) in images.iter().zip(contents) {
            let contents = contents?;
            for note in contents.notes {
                self.console.debug(format_args!("{}: {note}", path.display()));
            }
            contents.digests.into_iter().for_each(|(path, digest)| digests.add(path, digest));
        }
        Ok(digests)
    }

    fn root_file_system(&mut self, algorithm: HashAlgorithm) -> DigestMap {
        let mut digests = DigestMap::default();
        let Some(root) = self.given("rootfs") else { return digests };
        let skipped = self.given("skip_path").unwrap_or_default();
        let scan = root_filesystem::scan(self.environment, root, skipped);
        scan.details.iter().for_each(|message| self.console.debug(message));
        scan.warnings.iter().for_each(|message| self.console.warning(message));
        if let Some(refusal) = scan.refusal {
            self.console.error(refusal);
        }
        let found = digest_files(scan.files, algorithm, self.environment.progress);
        found.unreadable.iter().for_each(|message| self.console.debug(message));
        found.digests.into_iter().for_each(|(key, digest)| digests.add(key, digest));
        digests
    }

    fn excludes(&mut self, draft: &mut PolicyDraft) -> Result<(), ToolError> {
        let Some(file) = self.given("exclude_list_file") else { return Ok(()) };
        let text = self.text(file).map_err(in_context("An error occurred"))?;
        draft.excludes.extend(exclude_list::read(&text).map_err(ToolError::refused)?);
        Ok(())
    }

    fn buffers(&mut self, draft: &mut PolicyDraft) -> Result<(), ToolError> {
        let wanted = |name: &str| Wanted::when(self.matches.is_present(name));
        let (keys, others) = (wanted("get_keyrings"), wanted("get_ima_buf"));
        if (keys, others) == (Wanted::No, Wanted::No) {
            return Ok(());
        }
        let list = self.text(self.list_path()).map_err(in_context("An error occurred"))?;
        let ignored_keyrings = &draft.ignored_keyrings;
        let choice = BufferChoice { keys, others, ignored_keyrings, template: TemplateMatch::Part };
        let found = measurement_list::buffer_digests(&list, choice).map_err(ToolError::refused)?;
        found.skipped.iter().for_each(|message| self.console.debug(message));
        draft.keyrings.merge(found.values.keyrings);
        draft.buffers.merge(found.values.others);
        Ok(())
    }

    fn verification_keys(&mut self, draft: &mut PolicyDraft) -> Result<(), ToolError> {
        let files = self.matches.values("ima_signature_keys");
        let added = key_files::add(self.environment, &draft.verification_keys, files)?;
        added.problems.iter().for_each(|problem| self.console.error(problem));
        if let Some(keyring) = added.keyring {
            draft.verification_keys = keyring;
        }
        Ok(())
    }
}

/// The digests of a policy as a flat allowlist, the boot aggregate first.
fn legacy_text(policy: &Value) -> String {
    const BOOT_AGGREGATE: &str = "boot_aggregate";
    let digests = DigestMap::from_json(&policy["digests"]);
    let first = digests.get(BOOT_AGGREGATE).map(|list| (BOOT_AGGREGATE, list));
    let others = digests.iter().filter(|(path, _)| *path != BOOT_AGGREGATE);
    let lines = first.into_iter().chain(others);
    lines.flat_map(|(path, list)| list.iter().map(move |digest| format!("{digest}  {path}\n"))).collect()
}
