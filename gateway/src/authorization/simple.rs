//! The `simple` provider: administrators by certificate, agents only on what is theirs (`authorization.md` §5).

use super::{ActionClass, Decision, Identity, Provider, Question};

/// Keylime's default provider.
#[derive(Debug, Clone, Copy)]
pub struct SimpleProvider;

impl Provider for SimpleProvider {
    fn name(&self) -> &'static str {
        "simple"
    }

    fn authorize(&self, question: Question<'_>) -> Decision {
        let action = question.action.name();
        match (question.action.class(), question.identity) {
            (ActionClass::Public, _) => Decision::Allow(format!("Public action: {action}")),
            (ActionClass::AgentOnly | ActionClass::AgentOrAdmin, Identity::Agent(agent)) => {
                owner(agent.as_str(), question.resource)
            }
            (ActionClass::AgentOnly, Identity::Admin(_) | Identity::Anonymous) => {
                Decision::Deny(format!("Action {action} requires agent authentication (PoP token)"))
            }
            (ActionClass::AgentOrAdmin | ActionClass::Admin, Identity::Admin(name)) => {
                Decision::Allow(format!("Admin {name} authorized for {action}"))
            }
            (ActionClass::AgentOrAdmin, Identity::Anonymous) => {
                Decision::Deny(format!("Action {action} requires authentication"))
            }
            (ActionClass::Admin, Identity::Agent(_) | Identity::Anonymous) => {
                Decision::Deny(format!("Action {action} requires admin authentication (mTLS certificate)"))
            }
        }
    }
}

fn owner(agent: &str, resource: Option<&str>) -> Decision {
    if resource == Some(agent) {
        Decision::Allow(format!("Agent {agent} accessing own resource"))
    } else {
        let resource = resource.unwrap_or("None");
        Decision::Deny(format!("Agent {agent} cannot access resource {resource} (ownership required)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorization::Action;
    use keylime_engine::ids::AgentId;

    fn allowed(identity: &Identity, action: Action, resource: Option<&str>) -> bool {
        matches!(SimpleProvider.authorize(Question { identity, action, resource }), Decision::Allow(_))
    }

    #[test]
    fn every_action_is_decided_by_its_class() {
        let admin = Identity::Admin("client".into());
        let agent = Identity::Agent(AgentId::parse("a1").unwrap());
        for &action in Action::ALL {
            let decided = [
                allowed(&Identity::Anonymous, action, Some("a1")),
                allowed(&admin, action, Some("a1")),
                allowed(&agent, action, Some("a1")),
                allowed(&agent, action, Some("a2")),
                allowed(&agent, action, None),
            ];
            let expected = match action.class() {
                ActionClass::Public => [true; 5],
                ActionClass::AgentOnly => [false, false, true, false, false],
                ActionClass::AgentOrAdmin => [false, true, true, false, false],
                ActionClass::Admin => [false, true, false, false, false],
            };
            assert_eq!(decided, expected, "{action:?}");
        }
    }

    #[test]
    fn reasons_are_the_ones_peers_know() {
        let ask = |identity: &Identity, action| match SimpleProvider.authorize(Question {
            identity,
            action,
            resource: Some("a2"),
        }) {
            Decision::Allow(reason) | Decision::Deny(reason) => reason,
        };
        let agent = Identity::Agent(AgentId::parse("a1").unwrap());
        assert_eq!(
            ask(&Identity::Anonymous, Action::ListAgents),
            "Action list_agents requires admin authentication (mTLS certificate)"
        );
        assert_eq!(ask(&Identity::Anonymous, Action::ReadAgent), "Action read_agent requires authentication");
        assert_eq!(ask(&agent, Action::ReadAgent), "Agent a1 cannot access resource a2 (ownership required)");
        assert_eq!(
            ask(&Identity::Admin("client".into()), Action::SubmitAttestation),
            "Action submit_attestation requires agent authentication (PoP token)"
        );
    }
}
