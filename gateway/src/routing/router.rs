//! The way of a request through the gateway: route, transport, token, authorization, body, handler.

use super::call::is_json;
use super::{BodyLimit, Call, Parameters, RawPath, Reply, Route, Traffic, Transport, entity_tag};
use crate::authorization::{Admission, Credentials, Gate, Refusal};
use crate::error_response;
use crate::request_id;
use crate::server::{BodyError, ConnectionFacts, discard_body, read_body};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use keylime_engine::evidence::json_bound::{MAX_JSON_NODES, json_nodes};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Largest body of a request that anybody may send, such as a registration with its certificates, in bytes.
const SMALL_BODY: u64 = 1 << 20;

/// A small body has to be complete after this time: anybody may send one, and nobody may keep its connection by sending
/// it slowly.
const SMALL_BODY_DEADLINE: Duration = Duration::from_secs(20);

/// Seconds after which a client may find a restarted server.
const STOPPING_RETRY_SECONDS: u32 = 5;

/// How long the body of a refused request is waited for.
const DISCARD_DEADLINE: Duration = Duration::from_secs(1);

/// Methods that a server may be asked at all (`registrar.md` §3); every other one is answered 501.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Bounds of a server's requests.
#[derive(Debug, Clone, Copy)]
pub struct RouterLimits {
    /// `max_upload_size`, in bytes.
    pub max_upload_size: u64,
    /// A body has to be complete after this time.
    pub body_deadline: Duration,
}

/// The route table of a server with the state `S`, and the gate in front of it.
pub struct Router<S> {
    routes: Vec<Route<S>>,
    gate: Gate,
    state: Arc<S>,
    limits: RouterLimits,
    traffic: Arc<Traffic>,
}

/// A route that fits method and path.
struct Match<'r, S> {
    route: &'r Route<S>,
    parameters: Vec<(&'static str, String)>,
}

impl<S: Send + Sync + 'static> Router<S> {
    /// A router over this table; the first route that fits wins.
    pub fn new(routes: Vec<Route<S>>, gate: Gate, state: Arc<S>, limits: RouterLimits) -> Self {
        Self { routes, gate, state, limits, traffic: Arc::default() }
    }

    /// The table.
    pub fn routes(&self) -> &[Route<S>] {
        &self.routes
    }

    /// The requests that are being answered.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// Answers one request.
    pub async fn answer(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let id = request.headers().get("x-request-id").map(|value| request_id::sanitise(value.as_bytes()));
        let id = id.unwrap_or_default();
        let Some(passage) = self.traffic.enter() else {
            let stopping = Reply::empty(StatusCode::SERVICE_UNAVAILABLE).retry_after(STOPPING_RETRY_SECONDS).closing();
            return error_response::render(stopping, &id);
        };
        let reply = self.dispatch(&request, payload).await.holding(passage);
        let known = request.headers().get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
        let reply = entity_tag::tagged(reply, request.method(), known);
        tracing::debug!(
            target: "keylime.web",
            reqid = %id,
            method = %request.method(),
            path = %request.uri().path(),
            status = reply.status().as_u16(),
            "answered"
        );
        error_response::render(reply, &id)
    }

    async fn dispatch(&self, request: &HttpRequest, payload: web::Payload) -> Reply {
        if announced_length(request).is_some_and(|length| length > self.limits.max_upload_size) {
            return refuse(Reply::empty(StatusCode::BAD_REQUEST), request, payload).await;
        }
        let facts = request.conn_data::<ConnectionFacts>().cloned().unwrap_or_default();
        let (matched, admission) = match self.enter(request, &facts).await {
            Ok(entered) => entered,
            Err(reply) => return refuse(reply, request, payload).await,
        };
        let limit = match matched.route.body {
            BodyLimit::Upload => self.limits.max_upload_size,
            BodyLimit::Small => self.limits.max_upload_size.min(SMALL_BODY),
        };
        if announced_length(request).is_some_and(|length| length > limit) {
            return refuse(Reply::empty(StatusCode::BAD_REQUEST), request, payload).await;
        }
        let deadline = match matched.route.body {
            BodyLimit::Upload => self.limits.body_deadline,
            BodyLimit::Small => self.limits.body_deadline.min(SMALL_BODY_DEADLINE),
        };
        let body = match read_body(payload, limit, deadline).await {
            Ok(body) => body,
            Err(BodyError::TooLarge | BodyError::Broken) => return Reply::empty(StatusCode::BAD_REQUEST).closing(),
            Err(BodyError::Late) => return Reply::empty(StatusCode::REQUEST_TIMEOUT).closing(),
        };
        match call(request, matched.parameters, &facts, body) {
            Ok(call) => to_its_end((matched.route.handler)(Arc::clone(&self.state), call, admission)).await,
            Err(reply) => reply,
        }
    }

    /// Everything that is decided before the body is looked at: route, transport, token, authorization.
    async fn enter(&self, request: &HttpRequest, facts: &ConnectionFacts) -> Result<(Match<'_, S>, Admission), Reply> {
        let matched = self.find(request.method(), request.uri().path()).map_err(Reply::empty)?;
        if matched.route.transport == Transport::TlsOnly && !facts.secure {
            return Err(Reply::empty(StatusCode::BAD_REQUEST));
        }
        let admission = self.admit(request, facts, &matched).await.map_err(|refusal| match refusal {
            Refusal::Unauthenticated(refusal) => Reply::errors(StatusCode::UNAUTHORIZED, refusal.detail()),
            Refusal::Forbidden(reason) => Reply::errors(StatusCode::FORBIDDEN, reason),
            Refusal::Unavailable { retry_after_seconds } => {
                Reply::empty(StatusCode::SERVICE_UNAVAILABLE).retry_after(retry_after_seconds)
            }
        })?;
        Ok((matched, admission))
    }

    fn find(&self, method: &Method, path: &str) -> Result<Match<'_, S>, StatusCode> {
        if !METHODS.contains(method) {
            return Err(StatusCode::NOT_IMPLEMENTED);
        }
        let path = RawPath::parse(path).map_err(|_| StatusCode::BAD_REQUEST)?;
        let mut known = false;
        for route in &self.routes {
            let Some(parameters) = route.pattern.matches(&path) else { continue };
            if route.method == *method {
                let parameters = parameters.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
                return Ok(Match { route, parameters });
            }
            known = true;
        }
        Err(if known { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND })
    }

    async fn admit(
        &self,
        request: &HttpRequest,
        facts: &ConnectionFacts,
        matched: &Match<'_, S>,
    ) -> Result<Admission, Refusal> {
        let header = request.headers().get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or("?"));
        let credentials = Credentials {
            authorization: header.filter(|value| !value.is_empty()),
            common_name: facts.common_name.as_ref(),
        };
        let identity = self.gate.identify(credentials, matched.route.action).await?;
        self.gate.admit(identity, matched.route.action, resource(&matched.parameters))
    }
}

/// The resource a request is about, from its path only (`authorization.md` §4, §7).
fn resource<'a>(parameters: &'a [(&'static str, String)]) -> Option<&'a str> {
    ["agent_id", "name", "session_id"]
        .into_iter()
        .find_map(|wanted| parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str()))
}

fn announced_length(request: &HttpRequest) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Answers a request whose body is not wanted: a short one is read away, so that the client gets to the answer and can go
/// on; after a long one the connection is closed.
async fn refuse(reply: Reply, request: &HttpRequest, payload: web::Payload) -> Reply {
    let chunked = request.headers().contains_key(header::TRANSFER_ENCODING);
    match announced_length(request) {
        None | Some(0) if !chunked => reply,
        Some(length) if !chunked && length <= SMALL_BODY => {
            discard_body(payload, SMALL_BODY, DISCARD_DEADLINE).await;
            reply
        }
        None | Some(_) => {
            discard_body(payload, SMALL_BODY, DISCARD_DEADLINE).await;
            reply.closing()
        }
    }
}

/// Runs a handler as a task of its own, so that it ends although its client has gone: actix-web drops the future of a
/// request whose connection was reset, and what had been stored by then would never have reached the actors.
async fn to_its_end(answer: impl Future<Output = Reply> + 'static) -> Reply {
    actix_web::rt::spawn(answer).await.unwrap_or_else(|error| {
        tracing::error!(target: "keylime.web", %error, "a request was not answered");
        Reply::empty(StatusCode::INTERNAL_SERVER_ERROR)
    })
}

fn call(
    request: &HttpRequest,
    parameters: Vec<(&'static str, String)>,
    facts: &ConnectionFacts,
    body: Bytes,
) -> Result<Call, Reply> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.map(|value| value.split(';').next().unwrap_or_default().trim().to_owned());
    let json = OnceLock::new();
    if content_type.as_deref().is_some_and(is_json) && !body.is_empty() {
        let malformed = || Reply::empty(StatusCode::BAD_REQUEST).with_reason("Malformed Request Parameter");
        if json_nodes(&body) > MAX_JSON_NODES {
            return Err(malformed());
        }
        let value = serde_json::from_slice(&body).map_err(|_| malformed())?;
        let _ = json.set(value);
    }
    let query = Parameters::decode(request.uri().query().unwrap_or_default().as_bytes());
    Ok(Call { path: request.uri().path().to_owned(), parameters, query, content_type, body, json, peer: facts.peer })
}
