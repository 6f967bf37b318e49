//! Answers in Keylime's frame, and the errors actix finds before a handler runs, in the same frame.

use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use keylime_schema::wire::envelope::Envelope;
use serde::Serialize;

/// Largest JSON body, in bytes.
pub const MAX_BODY_BYTES: usize = 2 << 20;

/// 200 with data.
pub fn success<T: Serialize>(results: T) -> HttpResponse {
    HttpResponse::Ok().json(Envelope::success(results))
}

/// 200 without data: `results` is null.
pub fn done() -> HttpResponse {
    success(None::<()>)
}

/// An error with its text.
pub fn error(status: StatusCode, text: impl Into<String>) -> HttpResponse {
    HttpResponseBuilder::new(status).json(Envelope::empty(status.as_u16(), text))
}

/// 400.
pub fn bad_request(text: impl Into<String>) -> HttpResponse {
    error(StatusCode::BAD_REQUEST, text)
}

/// 500.
pub fn internal(text: impl Into<String>) -> HttpResponse {
    error(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// 405 that names the methods allowed.
pub fn method_not_allowed(text: &str, allow: &'static str) -> HttpResponse {
    let mut response = error(StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Body rules: JSON of at most [`MAX_BODY_BYTES`], every fault a 400 with the parser's text.
pub fn json_config() -> web::JsonConfig {
    web::JsonConfig::default().limit(MAX_BODY_BYTES).error_handler(|fault, _| {
        let response = bad_request(fault.to_string());
        InternalError::from_response(fault, response).into()
    })
}

/// Query rules: every fault a 400 with the parser's text.
pub fn query_config() -> web::QueryConfig {
    web::QueryConfig::default().error_handler(|fault, _| {
        let response = bad_request(fault.to_string());
        InternalError::from_response(fault, response).into()
    })
}
