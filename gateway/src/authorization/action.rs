//! The actions a request can be (`authorization.md` §6), each with the class of identities that may take it.

/// Who may take an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionClass {
    /// Everybody, without authentication.
    Public,
    /// The agent that owns the resource.
    AgentOnly,
    /// The agent that owns the resource, or an administrator.
    AgentOrAdmin,
    /// An administrator: the holder of a client certificate of the trusted authority.
    Admin,
}

/// An action known at compile time: the type parameter of a permit.
pub trait Declared: 'static {
    /// The action.
    const ACTION: Action;
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $class:ident;)*) => {
        /// What a route does, under the names that denials show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Action {
            $($(#[$doc])* $name,)*
        }

        impl Action {
            /// All actions.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Keylime's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Who may take it.
            #[must_use]
            pub const fn class(self) -> ActionClass {
                match self { $(Self::$name => ActionClass::$class,)* }
            }
        }

        /// One type for each action, to name it in a handler's signature.
        pub mod permitted {
            $($(#[$doc])* #[derive(Debug)] pub struct $name;
            impl super::Declared for $name { const ACTION: super::Action = super::Action::$name; })*
        }
    };
}

actions! {
    /// Lists the versions of the interface.
    ReadVersion = "read_version", Public;
    /// Answers at the root of a version.
    ReadServerInfo = "read_server_info", Public;
    /// Checks a quote against an enrolled agent's key.
    VerifyIdentity = "verify_identity", Public;
    /// Judges evidence that a client brings.
    VerifyEvidence = "verify_evidence", Public;
    /// Opens an authentication session of an agent.
    CreateSession = "create_session", Public;
    /// Proves possession for a session.
    ExtendSession = "extend_session", Public;
    /// Registers a machine.
    RegisterAgent = "register_agent", Public;
    /// Proves that a machine's keys share a TPM.
    ActivateAgent = "activate_agent", Public;
    /// Sends evidence.
    SubmitAttestation = "submit_attestation", AgentOnly;
    /// Reads one agent's state.
    ReadAgent = "read_agent", AgentOrAdmin;
    /// Enrols an agent.
    CreateAgent = "create_agent", Admin;
    /// Changes an enrolled agent.
    UpdateAgent = "update_agent", Admin;
    /// Removes an agent.
    DeleteAgent = "delete_agent", Admin;
    /// Lists agents.
    ListAgents = "list_agents", Admin;
    /// Reads why an agent failed.
    ExplainAgent = "explain_agent", Admin;
    /// Starts attestation again.
    ReactivateAgent = "reactivate_agent", Admin;
    /// Stops attestation.
    StopAgent = "stop_agent", Admin;
    /// Lists an agent's attestations; the documentation lets the agent itself do so, the reference's code does not.
    ListAttestations = "list_attestations", AgentOrAdmin;
    /// Reads one attestation.
    ReadAttestation = "read_attestation", AgentOrAdmin;
    /// Stores a runtime policy.
    CreateRuntimePolicy = "create_runtime_policy", Admin;
    /// Reads a runtime policy.
    ReadRuntimePolicy = "read_runtime_policy", Admin;
    /// Replaces a runtime policy.
    UpdateRuntimePolicy = "update_runtime_policy", Admin;
    /// Deletes a runtime policy.
    DeleteRuntimePolicy = "delete_runtime_policy", Admin;
    /// Lists runtime policies.
    ListRuntimePolicies = "list_runtime_policies", Admin;
    /// Stores a measured boot policy.
    CreateMbPolicy = "create_mb_policy", Admin;
    /// Reads a measured boot policy.
    ReadMbPolicy = "read_mb_policy", Admin;
    /// Replaces a measured boot policy.
    UpdateMbPolicy = "update_mb_policy", Admin;
    /// Deletes a measured boot policy.
    DeleteMbPolicy = "delete_mb_policy", Admin;
    /// Lists measured boot policies.
    ListMbPolicies = "list_mb_policies", Admin;
    /// Lists registrations.
    ListRegistrations = "list_registrations", Admin;
    /// Reads a registration.
    ReadRegistration = "read_registration", Admin;
    /// Deletes a registration.
    DeleteRegistration = "delete_registration", Admin;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = Action::ALL.iter().map(|action| action.name()).collect();
        assert_eq!(names.len(), Action::ALL.len());
    }
}
