//! The commands of `keylime_tenant` (`tenant-cli.md` §4).

mod bulk_listing;
mod delete;
mod enrol;
mod explain;
mod list;
mod policy;
mod reactivate;
mod status;

use crate::enrollment_step::Purpose;
use crate::error::TenantError;
use crate::session::Session;
use crate::verifier_client::PolicyKind;

pub use delete::remove_enrolment;
pub use status::{MissingAgent, verifier_status};

/// What can be done to a named policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PolicyAction {
    Add,
    Update,
    Show,
    Delete,
    List,
}

/// Runs the command of the session's options.
///
/// # Errors
/// The command failed; nothing of it has been reported yet.
pub async fn run(mut session: Session) -> Result<(), TenantError> {
    let command = session.options.command().to_owned();
    match command.as_str() {
        "add" => enrol::enrol(session, Purpose::New).await,
        "update" => enrol::enrol(session, Purpose::Replacement).await,
        "delete" => delete::delete(&mut session).await,
        "status" => status::status(&mut session).await,
        "cvstatus" => status::verifier(&mut session).await,
        "regstatus" => status::registrar(&mut session).await,
        "cvlist" => list::verifier(&mut session).await,
        "reglist" => list::registrar(&mut session).await,
        "bulkinfo" => list::bulk(&mut session).await,
        "reactivate" => reactivate::reactivate(&mut session).await,
        "explain" => explain::explain(&mut session).await,
        "regdelete" => delete::registration(&mut session).await,
        other => match policy_command(other) {
            Some((kind, action)) => {
                policy::warn_about_old_name(other);
                policy::run(&mut session, kind, action).await
            }
            None => Err(TenantError::refused(format!("Invalid command specified: {other}"))),
        },
    }
}

fn policy_command(command: &str) -> Option<(PolicyKind, PolicyAction)> {
    use PolicyAction::{Add, Delete, List, Show, Update};
    Some(match command {
        "addruntimepolicy" | "addallowlist" => (PolicyKind::Runtime, Add),
        "updateruntimepolicy" => (PolicyKind::Runtime, Update),
        "showruntimepolicy" | "showallowlist" => (PolicyKind::Runtime, Show),
        "deleteruntimepolicy" | "deleteallowlist" => (PolicyKind::Runtime, Delete),
        "listruntimepolicy" => (PolicyKind::Runtime, List),
        "addmbpolicy" => (PolicyKind::MeasuredBoot, Add),
        "updatembpolicy" => (PolicyKind::MeasuredBoot, Update),
        "showmbpolicy" => (PolicyKind::MeasuredBoot, Show),
        "deletembpolicy" => (PolicyKind::MeasuredBoot, Delete),
        "listmbpolicy" => (PolicyKind::MeasuredBoot, List),
        _ => return None,
    })
}
