//! One route: its shape, the action it is, and the handler that has the permit for it.

use super::{Call, Pattern, Reply};
use crate::authorization::{Action, Admission, Declared, Permit};
use actix_web::http::{Method, StatusCode};
use futures_util::future::LocalBoxFuture;
use std::future::Future;
use std::sync::Arc;

/// On which listeners a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS only; 400 without a body on plain HTTP.
    TlsOnly,
    /// HTTP and HTTPS.
    Any,
}

/// How large the body of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLimit {
    /// `max_upload_size`.
    Upload,
    /// The smaller of `max_upload_size` and what the largest genuine request of an unauthenticated client needs.
    Small,
}

type Handler<S> = Arc<dyn Fn(Arc<S>, Call, Admission) -> LocalBoxFuture<'static, Reply> + Send + Sync>;

/// A route of a server with the state `S`.
pub struct Route<S> {
    pub(crate) method: Method,
    pub(crate) pattern: Pattern,
    pub(crate) action: Action,
    pub(crate) transport: Transport,
    pub(crate) body: BodyLimit,
    pub(crate) handler: Handler<S>,
}

impl<S: Send + Sync + 'static> Route<S> {
    /// A route on HTTPS. The action is the one of the handler's permit; there is no other way to give one.
    pub fn new<A, H, F>(method: Method, pattern: &'static str, handler: H) -> Self
    where
        A: Declared,
        H: Fn(Arc<S>, Call, Permit<A>) -> F + Send + Sync + 'static,
        F: Future<Output = Reply> + 'static,
    {
        let handler: Handler<S> = Arc::new(move |state, call, admission| match Permit::from_admission(admission) {
            Some(permit) => Box::pin(handler(state, call, permit)),
            None => Box::pin(async { Reply::empty(StatusCode::INTERNAL_SERVER_ERROR) }),
        });
        Self {
            method,
            pattern: Pattern::new(pattern),
            action: A::ACTION,
            transport: Transport::TlsOnly,
            body: BodyLimit::Upload,
            handler,
        }
    }

    /// Answers on plain HTTP, too.
    #[must_use]
    pub fn on_any_transport(self) -> Self {
        Self { transport: Transport::Any, ..self }
    }

    /// Takes small bodies only.
    #[must_use]
    pub fn with_small_body(self) -> Self {
        Self { body: BodyLimit::Small, ..self }
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn pattern(&self) -> &'static str {
        self.pattern.text()
    }

    /// The action.
    #[must_use]
    pub fn action(&self) -> Action {
        self.action
    }

    /// On which listeners it answers.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }
}
