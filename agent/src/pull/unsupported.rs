//! Answers to paths and methods that do not exist. The verifier reads one of these texts: it negotiates the version anew
//! when it finds `API version not supported`.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use crate::pull::answer::{bad_request, method_not_allowed};
use crate::pull::state::AgentState;

/// Below `/`.
pub async fn at_root(request: HttpRequest, state: web::Data<AgentState>) -> HttpResponse {
    if let Some((major, minor)) = version_prefix(request.path()) {
        return bad_request(format!("API version not supported: v{major}.{minor}"));
    }
    if !is_get_or_post(request.method()) {
        return method_not_allowed("Method is not supported", "GET, POST");
    }
    let versions = state.api_versions.iter().map(|version| format!("/{version}")).collect::<Vec<_>>().join(", ");
    bad_request(format!("Not Implemented: Use {versions} or /version interfaces"))
}

/// Below `/v2.x`.
pub async fn in_version(request: HttpRequest) -> HttpResponse {
    match *request.method() {
        Method::GET => bad_request("Not Implemented: Use /agent, /keys, or /quotes interfaces"),
        Method::POST => bad_request("Not Implemented: Use /keys or /notifications interfaces"),
        _ => method_not_allowed("Method is not supported", "GET, POST"),
    }
}

/// Below `/v2.x/keys`.
pub async fn in_keys(request: HttpRequest) -> HttpResponse {
    match *request.method() {
        Method::GET => {
            bad_request("URI not supported, only /pubkey and /verify are supported for GET in /keys interface")
        }
        Method::POST => {
            bad_request("URI not supported, only /ukey and /vkey are supported for POST in /keys interface")
        }
        _ => method_not_allowed("Method is not supported in /keys interface", "GET, POST"),
    }
}

/// Below `/v2.x/quotes`.
pub async fn in_quotes(request: HttpRequest) -> HttpResponse {
    match *request.method() {
        Method::GET => {
            bad_request("URI not supported, only /identity and /integrity are supported for GET in /quotes/ interface")
        }
        _ => method_not_allowed("Method is not supported in /quotes/ interface", "GET"),
    }
}

/// Below `/v2.x/notifications`.
pub async fn in_notifications(request: HttpRequest) -> HttpResponse {
    match *request.method() {
        Method::POST => {
            bad_request("URI not supported, only /revocation is supported for POST in /notifications/ interface")
        }
        _ => method_not_allowed("Method is not supported in /notifications/ interface", "POST"),
    }
}

/// Below `/v2.x/agent`.
pub async fn in_agent(request: HttpRequest) -> HttpResponse {
    match *request.method() {
        Method::GET => bad_request("URI not supported, only /info is supported for GET in /agent interface"),
        _ => method_not_allowed("Method is not supported in /agent interface", "GET"),
    }
}

fn is_get_or_post(method: &Method) -> bool {
    *method == Method::GET || *method == Method::POST
}

/// The digits of a path that starts with `/v<digits>.<digits>`.
fn version_prefix(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v")?;
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let (major, rest) = rest.split_at(digits(rest));
    let rest = rest.strip_prefix('.')?;
    let minor = &rest[..digits(rest)];
    (!major.is_empty() && !minor.is_empty()).then_some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_prefixes() {
        assert_eq!(version_prefix("/v10.20/x"), Some(("10", "20")));
        assert_eq!(version_prefix("/v2.0"), Some(("2", "0")));
        for path in ["/v2/keys", "/v.1", "/2.1", "/vx.1", "/"] {
            assert_eq!(version_prefix(path), None, "{path}");
        }
    }
}
