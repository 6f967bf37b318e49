//! What a handler answers.

use super::Passage;
use actix_web::http::StatusCode;
use bytes::Bytes;
use futures_util::stream::{LocalBoxStream, StreamExt as _};
use keylime_schema::wire::envelope::Envelope;
use keylime_schema::wire::errors::ErrorDocument;
use keylime_schema::wire::python_json::{self, Layout};
use keylime_schema::wire::v3::ANSWER_MEDIA_TYPE;
use serde::Serialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::fmt;
use std::io;

/// An answer before it becomes HTTP.
pub struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) reason: Option<&'static str>,
    pub(crate) body: ReplyBody,
    pub(crate) location: Option<Cow<'static, str>>,
    pub(crate) retry_after_seconds: Option<u32>,
    pub(crate) close: bool,
    pub(crate) entity_tag: Option<String>,
}

/// The body of an answer.
pub enum ReplyBody {
    /// None; sent as an empty text, as the reference's framework does.
    Empty,
    /// Neither a body nor headers about it.
    NoContent,
    /// A whole text.
    Text(TextBody),
    /// JSON in pieces. An error cuts the connection, so that the client sees that the rest is missing.
    Stream(LocalBoxStream<'static, io::Result<Bytes>>),
}

/// A text and the way its type is announced.
pub struct TextBody {
    pub(crate) bytes: Bytes,
    pub(crate) content_type: &'static str,
}

impl Reply {
    /// An answer without a body, the way Keylime's web framework refuses.
    #[must_use]
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            reason: None,
            body: ReplyBody::Empty,
            location: None,
            retry_after_seconds: None,
            close: false,
            entity_tag: None,
        }
    }

    /// 204.
    #[must_use]
    pub fn no_content() -> Self {
        Self { body: ReplyBody::NoContent, ..Self::empty(StatusCode::NO_CONTENT) }
    }

    /// An envelope (`verifier-v2.md` §1) in the layout of the server at hand.
    pub fn envelope<T: Serialize>(layout: Layout, envelope: &Envelope<T>) -> Self {
        let status = StatusCode::from_u16(envelope.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::json(status, layout, "application/json", envelope)
    }

    /// A refusal of authentication or authorization (`authorization.md` §3, §5).
    pub fn errors(status: StatusCode, detail: impl Into<String>) -> Self {
        let document = ErrorDocument::one(status.as_u16(), status.canonical_reason().unwrap_or_default(), detail);
        Self::json(status, Layout::Compact, "application/json; charset=UTF-8", &document)
    }

    /// JSON laid out as the reference's answers about sessions are.
    pub fn plain_json<T: Serialize>(status: StatusCode, value: &T) -> Self {
        Self::json(status, Layout::Indented, "application/json", value)
    }

    /// 200 with JSON that is produced while it is sent.
    #[must_use]
    pub fn stream(stream: LocalBoxStream<'static, io::Result<Bytes>>) -> Self {
        Self { body: ReplyBody::Stream(stream), ..Self::empty(StatusCode::OK) }
    }

    /// Another text than JSON.
    #[must_use]
    pub fn text(status: StatusCode, content_type: &'static str, text: String) -> Self {
        Self { body: ReplyBody::Text(TextBody { bytes: text.into(), content_type }), ..Self::empty(status) }
    }

    /// 307.
    #[must_use]
    pub fn redirect(location: &'static str) -> Self {
        Self { location: Some(location.into()), ..Self::empty(StatusCode::TEMPORARY_REDIRECT) }
    }

    /// Replaces the reason phrase.
    #[must_use]
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// Tells the client when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// Tells the client where the resource is.
    #[must_use]
    pub fn at(self, location: String) -> Self {
        Self { location: Some(location.into()), ..self }
    }

    /// Whole JSON text of this version's documents (`verifier-v3-push.md` §2).
    #[must_use]
    pub fn document(status: StatusCode, text: Vec<u8>) -> Self {
        let body = TextBody { bytes: text.into(), content_type: ANSWER_MEDIA_TYPE };
        Self { body: ReplyBody::Text(body), ..Self::empty(status) }
    }

    /// Closes the connection after this answer.
    #[must_use]
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// Keeps a request counted until its last piece is produced.
    pub(crate) fn holding(mut self, passage: Passage) -> Self {
        self.body = match self.body {
            ReplyBody::Stream(stream) => ReplyBody::Stream(
                stream
                    .map(move |piece| {
                        let _held = &passage;
                        piece
                    })
                    .boxed_local(),
            ),
            whole @ (ReplyBody::Empty | ReplyBody::NoContent | ReplyBody::Text(_)) => whole,
        };
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The status text of an envelope, if this is one.
    #[must_use]
    pub fn envelope_status(&self) -> Option<String> {
        match &self.body {
            ReplyBody::Text(text) => {
                let envelope: Envelope<IgnoredAny> = serde_json::from_slice(&text.bytes).ok()?;
                Some(envelope.status)
            }
            ReplyBody::Empty | ReplyBody::NoContent | ReplyBody::Stream(_) => None,
        }
    }

    fn json<T: Serialize>(status: StatusCode, layout: Layout, content_type: &'static str, value: &T) -> Self {
        match python_json::to_vec(value, layout) {
            Ok(bytes) => {
                Self { body: ReplyBody::Text(TextBody { bytes: bytes.into(), content_type }), ..Self::empty(status) }
            }
            Err(error) => {
                tracing::error!(target: "keylime.web", %error, "cannot write an answer as json");
                Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("status", &self.status).finish_non_exhaustive()
    }
}
