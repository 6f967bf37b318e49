//! What the handlers of version 3 share: reading a resource of a request, and answers in the shapes of JSON:API.

use crate::routing::{Call, Reply};
use actix_web::http::StatusCode;
use keylime_schema::wire::v3::MEDIA_TYPE;
use keylime_schema::wire::v3::error_object::{ErrorObject, http_status};
use keylime_schema::wire::v3::json_api::{self, Document, RequestResource, Resource};
use serde::Serialize;

/// The resource of a request document, which must be of this type.
pub(super) fn read_resource(call: &Call, kind: &'static str) -> Result<RequestResource, Reply> {
    if !call.content_type().is_some_and(|media_type| media_type.starts_with(MEDIA_TYPE)) {
        return Err(Reply::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let resource = json_api::parse(call.body()).map_err(|error| {
        tracing::info!(target: "keylime.web", %error, "malformed document");
        Reply::empty(StatusCode::BAD_REQUEST).with_reason("Malformed Request Parameter")
    })?;
    let wrong_type = || {
        let detail = format!("The request needs a resource of the type '{kind}'.");
        errors(call, vec![ErrorObject { pointer: Some("/data/type".to_owned()), ..invalid_request(detail) }])
    };
    resource.filter(|resource| resource.kind == kind).ok_or_else(wrong_type)
}

/// 400: the request as a whole makes no sense.
pub(super) fn invalid_request(detail: impl Into<String>) -> ErrorObject {
    ErrorObject::new(400, "invalid_request", detail)
}

/// An answer about one resource.
pub(super) fn one<A: Serialize>(call: &Call, status: StatusCode, resource: Resource<A>) -> Reply {
    rendered(call, status, &Document::one(resource))
}

/// 201 with the resource that was made, and where it is.
pub(super) fn created<A: Serialize>(call: &Call, resource: Resource<A>) -> Reply {
    let location = resource.self_link.clone().unwrap_or_default();
    one(call, StatusCode::CREATED, resource).at(location)
}

/// An answer about a list of resources.
pub(super) fn many<A: Serialize>(call: &Call, resources: Vec<Resource<A>>) -> Reply {
    rendered(call, StatusCode::OK, &Document::many(resources))
}

/// An answer about what was wrong.
pub(super) fn errors(call: &Call, errors: Vec<ErrorObject>) -> Reply {
    let status = StatusCode::from_u16(http_status(&errors)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    rendered(call, status, &Document::errors(errors))
}

fn rendered<A: Serialize>(call: &Call, status: StatusCode, document: &Document<A>) -> Reply {
    match document.render(call.path()) {
        Ok(text) => Reply::document(status, text),
        Err(error) => {
            tracing::error!(target: "keylime.web", %error, "cannot write an answer as json");
            Reply::empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// 404.
pub(super) fn not_found(call: &Call, detail: impl Into<String>) -> Reply {
    errors(call, vec![ErrorObject::not_found(detail)])
}

/// A refusal that was worded for version 2, told in the shapes of this one.
pub(super) fn translated(call: &Call, refusal: Reply) -> Reply {
    let status = refusal.status();
    let code = match status.as_u16() {
        404 => "not_found",
        409 => "conflict",
        503 => "busy",
        400..=499 => "invalid_request",
        _ => "internal_error",
    };
    let detail = refusal.envelope_status().or(status.canonical_reason().map(str::to_owned)).unwrap_or_default();
    let retry_after = refusal.retry_after_seconds;
    let reply = errors(call, vec![ErrorObject::new(status.as_u16(), code, detail)]);
    match retry_after {
        Some(seconds) => reply.retry_after(seconds),
        None => reply,
    }
}

/// The path of a resource below that of its collection.
pub(super) fn path_of(call: &Call, id: &str) -> String {
    format!("{}/{id}", call.path().trim_end_matches('/'))
}
