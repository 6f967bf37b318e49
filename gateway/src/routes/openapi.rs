//! A description of the interface in the form of OpenAPI 3.1, made of the route table, so that it lists what is served and
//! nothing else.

use crate::authorization::{ActionClass, Permit, permitted};
use crate::routing::{Call, Reply, Route, Transport};
use actix_web::http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Where the description is.
pub const PATH: &str = "/openapi.json";

/// Adds the route of the description to a table, the description included.
#[must_use]
pub fn described<S: Send + Sync + 'static>(title: &'static str, mut routes: Vec<Route<S>>) -> Vec<Route<S>> {
    let text: Arc<std::sync::OnceLock<String>> = Arc::default();
    let answer = Arc::clone(&text);
    routes.push(
        Route::new(Method::GET, PATH, move |_: Arc<S>, _: Call, _: Permit<permitted::ReadServerInfo>| {
            let text = answer.get().cloned().unwrap_or_default();
            async move { Reply::text(StatusCode::OK, "application/json", text) }
        })
        .with_small_body(),
    );
    let _ = text.set(description(title, &routes).to_string());
    routes
}

/// The description of these routes.
#[must_use]
pub fn description<S: Send + Sync + 'static>(title: &str, routes: &[Route<S>]) -> Value {
    let mut paths = Map::new();
    for route in routes {
        let item = paths.entry(path_of(route.pattern())).or_insert_with(|| json!({}));
        item[route.method().as_str().to_ascii_lowercase()] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": title, "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {"securitySchemes": {
            "administrator": {"type": "mutualTLS", "description": "client certificate of the trusted authority"},
            "agent": {"type": "http", "scheme": "bearer", "description": "token of a session, on the agent's own resources"}
        }}
    })
}

/// The path of a pattern: the major version stands for all its minor ones, which are served alike.
#[must_use]
pub fn path_of(pattern: &str) -> String {
    let segment = |segment: &str| match segment.strip_prefix(':') {
        Some(name) => format!("{{{name}}}"),
        None => segment.trim_end_matches('*').to_owned(),
    };
    pattern.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn operation<S: Send + Sync + 'static>(route: &Route<S>) -> Value {
    let action = route.action();
    let parameters: Vec<Value> = route
        .pattern()
        .split('/')
        .filter_map(|segment| segment.strip_prefix(':'))
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    let schemes: &[&str] = match action.class() {
        ActionClass::Public => &[],
        ActionClass::AgentOnly => &["agent"],
        ActionClass::AgentOrAdmin => &["agent", "administrator"],
        ActionClass::Admin => &["administrator"],
    };
    let security: Vec<Value> = schemes
        .iter()
        .map(|scheme| Value::Object(Map::from_iter([((*scheme).to_owned(), Value::Array(Vec::new()))])))
        .collect();
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": action.name().replace('_', " "),
        "security": security,
        "parameters": parameters,
        "responses": responses(route)
    });
    if [Method::POST, Method::PUT, Method::PATCH].contains(route.method()) {
        let media_type =
            if route.pattern().starts_with("/v3") { "application/vnd.api+json" } else { "application/json" };
        operation["requestBody"] = json!({"content": {media_type: {"schema": {"type": "object"}}}});
    }
    operation
}

fn responses<S: Send + Sync + 'static>(route: &Route<S>) -> Value {
    let mut responses = json!({
        "default": {"description": "success, or a refusal that the status and the body explain"},
        "503": {"description": "overloaded, stopping, or without its database; Retry-After says when to try again"}
    });
    if route.action().class() != ActionClass::Public {
        responses["403"] = json!({"description": "the sender may not do this"});
    }
    if route.transport() == Transport::TlsOnly {
        responses["401"] = json!({"description": "the token is not valid"});
    }
    responses
}

/// Unique in a table: the method and the words of the path.
fn operation_id<S: Send + Sync + 'static>(route: &Route<S>) -> String {
    let words = route.pattern().split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut id = route.method().as_str().to_ascii_lowercase();
    for word in words {
        id.push('_');
        id.push_str(word);
    }
    id
}
