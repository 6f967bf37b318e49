//! The one way from a request to a permit.

use super::token::MAX_TOKEN_BYTES;
use super::{Action, ActionClass, Decision, Declared, Identity, Provider, Question, TokenCheck, TokenRefusal, Tokens};
use std::marker::PhantomData;
use std::sync::Arc;

/// Asks the sessions who sent a request and the provider whether they may.
#[derive(Clone)]
pub struct Gate {
    provider: Arc<dyn Provider>,
    tokens: Arc<dyn Tokens>,
}

/// What a request brings to prove who sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Credentials<'a> {
    /// Value of the header `Authorization`, if it is there and not empty.
    pub authorization: Option<&'a str>,
    /// Common name of the client certificate that the TLS layer verified.
    pub common_name: Option<&'a Arc<str>>,
}

/// Proof that a request was admitted; becomes the permit of the route's handler.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    identity: Identity,
    action: Action,
}

/// Why a request was not admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 401.
    Unauthenticated(TokenRefusal),
    /// 403, with the reason.
    Forbidden(String),
    /// 503: who sent the request cannot be found out now.
    Unavailable {
        /// Seconds after which the client may try again.
        retry_after_seconds: u32,
    },
}

impl Gate {
    /// A gate that asks these two.
    pub fn new(provider: Arc<dyn Provider>, tokens: Arc<dyn Tokens>) -> Self {
        Self { provider, tokens }
    }

    /// Establishes the identity. A token is judged on every routed request, also on public ones, and a request with a
    /// token never falls back to its client certificate. The one exception are requests for a new session: an agent whose
    /// token is over must get one whatever it sends along.
    pub(crate) async fn identify(&self, credentials: Credentials<'_>, action: Action) -> Result<Identity, Refusal> {
        let Some(header) = credentials.authorization else {
            return Ok(credentials.common_name.map_or(Identity::Anonymous, |name| Identity::Admin(Arc::clone(name))));
        };
        if matches!(action, Action::CreateSession | Action::ExtendSession) {
            return Ok(Identity::Anonymous);
        }
        let refused = |refusal| Err(Refusal::Unauthenticated(refusal));
        let Some(token) = header.strip_prefix("Bearer ") else { return refused(TokenRefusal::HeaderFormat) };
        if token.len() > MAX_TOKEN_BYTES {
            return refused(TokenRefusal::Unknown);
        }
        match self.tokens.check(token).await {
            TokenCheck::Agent(agent) => Ok(Identity::Agent(agent)),
            TokenCheck::Refused(refusal) => refused(refusal),
            TokenCheck::Unavailable { retry_after_seconds } => Err(Refusal::Unavailable { retry_after_seconds }),
        }
    }

    /// Decides whether this identity may take this action on this resource.
    pub(crate) fn admit(
        &self,
        identity: Identity,
        action: Action,
        resource: Option<&str>,
    ) -> Result<Admission, Refusal> {
        if action.class() == ActionClass::Public {
            return Ok(Admission { identity, action });
        }
        match self.provider.authorize(Question { identity: &identity, action, resource }) {
            Decision::Allow(_) => Ok(Admission { identity, action }),
            Decision::Deny(reason) => Err(Refusal::Forbidden(reason)),
        }
    }
}

/// The right to run a handler: the gate admitted this request for the action `A`.
#[derive(Debug)]
pub struct Permit<A: Declared> {
    identity: Identity,
    action: PhantomData<fn() -> A>,
}

impl<A: Declared> Permit<A> {
    /// Turns an admission into the permit of the action it is for.
    pub(crate) fn from_admission(admission: Admission) -> Option<Self> {
        (admission.action == A::ACTION).then_some(Self { identity: admission.identity, action: PhantomData })
    }

    /// Who was admitted.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::{NoSessions, SimpleProvider, permitted};

    fn gate() -> Gate {
        Gate::new(Arc::new(SimpleProvider), Arc::new(NoSessions))
    }

    #[actix_rt::test]
    async fn a_token_never_falls_back_to_the_certificate() {
        let name: Arc<str> = "client".into();
        let certified = Credentials { authorization: None, common_name: Some(&name) };
        let action = Action::ListAgents;
        assert_eq!(gate().identify(certified, action).await, Ok(Identity::Admin("client".into())));
        for (header, refusal) in [
            ("Basic x", TokenRefusal::HeaderFormat),
            ("bearer nope", TokenRefusal::HeaderFormat),
            ("Bearer nope", TokenRefusal::Unknown),
            ("Bearer ", TokenRefusal::Unknown),
        ] {
            let both = Credentials { authorization: Some(header), common_name: Some(&name) };
            assert_eq!(gate().identify(both, action).await, Err(Refusal::Unauthenticated(refusal)), "{header}");
            assert_eq!(gate().identify(both, Action::CreateSession).await, Ok(Identity::Anonymous), "{header}");
        }
    }

    #[test]
    fn an_admission_opens_only_its_own_action() {
        let admission = gate().admit(Identity::Admin("client".into()), Action::ListAgents, None).unwrap();
        assert!(Permit::<permitted::DeleteAgent>::from_admission(admission.clone()).is_none());
        assert!(Permit::<permitted::ListAgents>::from_admission(admission).is_some());
        assert!(gate().admit(Identity::Anonymous, Action::ListAgents, None).is_err());
    }
}
