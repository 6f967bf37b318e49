//! From an answer to HTTP: the headers that Keylime's web framework sends with each kind of body (`verifier-v2.md` §1).

use crate::routing::{Reply, ReplyBody};
use actix_web::HttpResponse;
use actix_web::body::{BodyStream, None as NoBody};
use actix_web::http::header::{self, HeaderName, HeaderValue};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const HTML: &str = "text/html; charset=UTF-8";

/// Renders an answer; `request_id` is echoed.
pub(crate) fn render(reply: Reply, request_id: &str) -> HttpResponse {
    let mut response = HttpResponse::build(reply.status);
    if let Some(reason) = reply.reason {
        response.reason(reason);
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.insert_header((REQUEST_ID, value));
    }
    if let Some(location) = reply.location {
        response.insert_header((header::LOCATION, &*location));
    }
    if let Some(seconds) = reply.retry_after_seconds {
        response.insert_header((header::RETRY_AFTER, seconds));
    }
    if let Some(tag) = reply.entity_tag {
        response.insert_header((header::ETAG, tag));
    }
    if reply.close {
        response.force_close();
    }
    match reply.body {
        ReplyBody::Empty => response.content_type(HTML).body(""),
        ReplyBody::NoContent => response.finish().set_body(NoBody::new()).map_into_boxed_body(),
        ReplyBody::Text(text) => response.content_type(text.content_type).body(text.bytes),
        ReplyBody::Stream(stream) => response.content_type("application/json").body(BodyStream::new(stream)),
    }
}
