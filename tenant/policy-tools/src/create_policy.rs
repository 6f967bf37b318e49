//! `keylime_create_policy`, the tool that `keylime-policy create runtime` replaces (`policy-tools.md` §3).

use crate::allowlist::{self, PathSpelling};
use crate::environment::{Console, Environment, FileError, write_output};
use crate::error::{ToolError, in_context};
use crate::exclude_list;
use crate::key_files::{self, json_text};
use crate::measurement_list::{self, BufferChoice, KERNEL_LIST, TemplateMatch, Wanted};
use crate::policy_draft::PolicyDraft;
use crate::python_text::universal_newlines;
use crate::rpm::{self, RepositoryDigests, RepositoryError};
use keylime_arguments::Matches;
use keylime_engine::policy::schema_check::{SchemaViolation, check_runtime_policy};
use serde_json::Value;
use std::num::NonZeroUsize;

/// Runs the tool.
///
/// # Errors
/// See [`ToolError`].
pub fn run(matches: &Matches, environment: &Environment, console: &mut Console<'_>) -> Result<(), ToolError> {
    let given = |name: &str| matches.value(name).filter(|value| !value.is_empty());
    let text = |path: &str| -> Result<String, FileError> {
        Ok(universal_newlines(&environment.read_text(path)?).into_owned())
    };
    let list_path = matches.value("ima_measurement_list").unwrap_or(KERNEL_LIST);
    let mut draft = match given("base_policy") {
        Some(path) => base(&text(path).map_err(in_context("An error occurred while loading the policy"))?)?,
        None => PolicyDraft::default(),
    };
    if let Some(path) = given("allowlist") {
        let list = text(path).map_err(in_context("An error occurred while accessing the allowlist"))?;
        let found = allowlist::read(&list, PathSpelling::Verbatim);
        found.skipped.iter().for_each(|message| console.note(message));
        draft.digests.merge(found.values);
    } else if let Some(path) = given("local_repo") {
        take_repository(&mut draft, console, rpm::digests_of_directory(&environment.absolute(path), workers()))?;
    } else if let Some(address) = given("remote_repo") {
        take_repository(&mut draft, console, rpm::digests_at_url(address, workers()))?;
    } else if !matches.is_present("no_hashes") {
        let list = text(list_path).map_err(in_context("An error occurred"))?;
        let found = measurement_list::file_digests(&list).map_err(ToolError::refused)?;
        // The reference prints the line with its line feed.
        found.skipped.iter().for_each(|message| console.note(format_args!("{message}\n")));
        draft.digests.merge(found.values);
    }
    if let Some(path) = given("exclude_list_file") {
        let list = text(path).map_err(in_context("An error occurred"))?;
        draft.excludes.extend(exclude_list::read(&list).map_err(ToolError::refused)?);
    }
    draft.ignored_keyrings.extend_from_slice(matches.values("ignored_keyrings"));
    let wanted = |name: &str| Wanted::when(matches.is_present(name));
    let (keys, others) = (wanted("get_keyrings"), wanted("get_ima_buf"));
    if keys == Wanted::Yes || others == Wanted::Yes {
        let list = text(list_path).map_err(in_context("An error occurred"))?;
        let ignored_keyrings = &draft.ignored_keyrings;
        let choice = BufferChoice { keys, others, ignored_keyrings, template: TemplateMatch::Exact };
        let found = measurement_list::buffer_digests(&list, choice).map_err(ToolError::refused)?;
        found.skipped.iter().for_each(|message| console.note(format_args!("{message}\n")));
        draft.keyrings.merge(found.values.keyrings);
        draft.buffers.merge(found.values.others);
    }
    let added = key_files::add(environment, &draft.verification_keys, matches.values("ima_signature_keys"))?;
    added.problems.iter().for_each(|problem| console.note(problem));
    if let Some(keyring) = added.keyring {
        draft.verification_keys = keyring;
    }
    let policy = json_text(&draft.finish(&environment.timestamp()).map_err(invalid)?);
    match given("output") {
        Some(path) => write_output(environment, console, path, policy.as_bytes())
            .map_err(in_context("An error occurred while writing the policy")),
        None => Ok(console.line(policy)?),
    }
}

/// As many packages at a time as there are processors, eight times over, since servers keep them waiting.
fn workers() -> NonZeroUsize {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    processors.saturating_mul(NonZeroUsize::MIN.saturating_add(7))
}

fn take_repository(
    draft: &mut PolicyDraft,
    console: &mut Console<'_>,
    found: Result<RepositoryDigests, RepositoryError>,
) -> Result<(), ToolError> {
    let found = found.map_err(ToolError::refused)?;
    found.warnings.iter().for_each(|warning| console.note(warning));
    draft.digests.merge(found.digests);
    Ok(())
}

fn base(text: &str) -> Result<PolicyDraft, ToolError> {
    let policy: Value = serde_json::from_str(text).map_err(|error| {
        ToolError::refused(format!("An error occurred while converting the policy to a JSON object: {error}"))
    })?;
    check_runtime_policy(&policy).map_err(invalid)?;
    Ok(PolicyDraft::from_checked(&policy))
}

fn invalid(violation: SchemaViolation) -> ToolError {
    ToolError::refused(format!("Base policy is not a valid runtime policy: {violation}"))
}
