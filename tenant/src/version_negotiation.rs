//! Which API version to speak with a server (`tenant-cli.md` §3.3, `registration-flow.md` §4).

use keylime_schema::wire::api_version::ApiVersion;
use serde_json::Value;
use tracing::{debug, info, warn};

use crate::http::{HttpError, Reply};
use crate::python_repr;

/// Major version from which on the tenant does not speak an API.
const FIRST_FOREIGN_MAJOR: u16 = 3;

/// A server and the tenant have no version in common.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Incompatible {
    message: String,
}

/// The versions the tenant speaks, ascending.
#[must_use]
pub fn supported() -> Vec<ApiVersion> {
    ApiVersion::SUPPORTED.into_iter().filter(|version| version.major < FIRST_FOREIGN_MAJOR).collect()
}

/// The supported versions as a Python list.
fn supported_repr() -> String {
    python_repr::repr_list(&supported().iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// The highest version the tenant and a list of theirs have in common.
fn highest_common(theirs: &[String]) -> Option<ApiVersion> {
    let theirs: Vec<ApiVersion> = theirs.iter().filter_map(|text| ApiVersion::parse(text)).collect();
    ApiVersion::negotiate(&supported(), &theirs, FIRST_FOREIGN_MAJOR)
}

/// The versions of an answer to `GET /version`: a list, or the single text that old agents send.
fn offered(reply: &Reply) -> Option<Vec<String>> {
    let results = reply.results()?;
    match results.get("supported_versions") {
        Some(Value::Array(versions)) => versions.iter().map(|version| version.as_str().map(str::to_owned)).collect(),
        Some(Value::String(version)) => Some(vec![version.clone()]),
        _ => results.get("supported_version").and_then(Value::as_str).map(|version| vec![version.to_owned()]),
    }
}

/// The version for registrar or verifier, whose name is `server`.
///
/// A server that does not answer sensibly is spoken to in the current version: older ones have no `/version`.
///
/// # Errors
/// The server lists versions, and none is ours.
pub fn with_server(server: &str, reply: &Result<Reply, HttpError>) -> Result<ApiVersion, Incompatible> {
    let current = ApiVersion::CURRENT;
    let version = match reply {
        Ok(reply) if reply.status == 200 => match offered(reply) {
            Some(theirs) => highest_common(&theirs).ok_or_else(|| Incompatible {
                message: format!(
                    "No compatible API version with {server}. Tenant supports: {}, Server supports: {}",
                    supported_repr(),
                    python_repr::repr_list(&theirs)
                ),
            })?,
            None => {
                warn!(target: "keylime.tenant", "The {server} sent no list of API versions, using {current}");
                current
            }
        },
        Ok(reply) if reply.status == 410 => {
            debug!(target: "keylime.tenant", "The {server} has no version endpoint, using {current}");
            current
        }
        Ok(reply) => {
            warn!(
                target: "keylime.tenant",
                "The {server} answered the version request with {}, using {current}", reply.status
            );
            current
        }
        Err(error) => {
            warn!(target: "keylime.tenant", "Cannot ask the {server} for its API versions ({error}), using {current}");
            current
        }
    };
    info!(target: "keylime.tenant", "Using API version {version} for {server} communication");
    Ok(version)
}

/// The version for an agent that was asked for its versions; `None` if it did not list any.
///
/// # Errors
/// The agent lists versions, and none is ours.
pub fn with_agent(agent_id: &str, reply: &Reply) -> Result<Option<ApiVersion>, Incompatible> {
    let Some(theirs) = Some(reply).filter(|reply| reply.status == 200).and_then(offered) else { return Ok(None) };
    let version = highest_common(&theirs).ok_or_else(|| Incompatible {
        message: format!(
            "Agent {agent_id} has no compatible API version. Tenant supports: {}, Agent supports: {}",
            supported_repr(),
            python_repr::repr_list(&theirs)
        ),
    })?;
    info!(
        target: "keylime.tenant",
        "Negotiated API version {version} with agent {agent_id} (agent: {}, tenant: {})",
        python_repr::repr_list(&theirs),
        supported_repr()
    );
    Ok(Some(version))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, body: body.to_string().into_bytes() }
    }

    #[test]
    fn takes_the_highest_common_version_below_three() {
        let answer = reply(200, &json!({"results": {"supported_versions": ["1.0", "2.10", "2.5", "3.0"]}}));
        assert_eq!(with_server("verifier", &Ok(answer)), Ok(ApiVersion::new(2, 5)));
    }

    #[test]
    fn servers_without_a_sensible_answer_get_the_current_version() {
        for answer in [reply(410, &json!({})), reply(404, &json!({})), reply(200, &json!([])), reply(500, &json!(null))]
        {
            assert_eq!(with_server("registrar", &Ok(answer)), Ok(ApiVersion::CURRENT));
        }
        let unreachable = Err(HttpError::Setup("x".to_owned()));
        assert_eq!(with_server("registrar", &unreachable), Ok(ApiVersion::CURRENT));
    }

    #[test]
    fn no_common_version_is_an_error() {
        let answer = reply(200, &json!({"results": {"supported_versions": ["3.0"]}}));
        assert_eq!(
            with_server("verifier", &Ok(answer)).unwrap_err().to_string(),
            "No compatible API version with verifier. Tenant supports: \
             ['1.0', '2.0', '2.1', '2.2', '2.3', '2.4', '2.5', '2.6'], Server supports: ['3.0']"
        );
        let answer = reply(200, &json!({"results": {"supported_version": "9.9"}}));
        assert!(with_agent("a", &answer).is_err());
    }

    #[test]
    fn old_agents_send_one_version() {
        let answer = reply(200, &json!({"results": {"supported_version": "2.1"}}));
        assert_eq!(with_agent("a", &answer), Ok(Some(ApiVersion::new(2, 1))));
        assert_eq!(with_agent("a", &reply(404, &json!({}))), Ok(None));
    }
}
