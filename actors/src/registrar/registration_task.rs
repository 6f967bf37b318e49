//! Carries out one command: load, let the engine decide, write, answer.

use super::api::{ActivateError, DeleteError, RegisterAgent, RegisterError};
use super::recent_registrations::Memory;
use super::registration_shard::{Command, ShardContext};

/// Runs a command; `seen` is what the shard remembers of the row. Answers what is known of the row afterwards.
pub(super) async fn run(context: &ShardContext, command: Command, seen: Memory) -> Memory {
    match command {
        Command::Register { request, reply, permit } => {
            let (outcome, memory) = register(context, request, seen).await;
            let _ = reply.send(outcome);
            drop(permit);
            memory
        }
        Command::Activate { agent_id, auth_tag, reply, permit } => {
            let (outcome, memory) = activate(context, &agent_id, auth_tag, seen).await;
            let _ = reply.send(outcome);
            drop(permit);
            memory
        }
        Command::Delete { agent_id, reply, permit } => {
            let outcome = match context.writer.delete(agent_id.to_string()).await {
                Ok(true) => Ok(()),
                Ok(false) => Err(DeleteError::NotFound),
                Err(error) => Err(error.into()),
            };
            let _ = reply.send(outcome);
            drop(permit);
            Memory::Unknown
        }
    }
}

async fn register(
    _context: &ShardContext,
    _request: RegisterAgent,
    _seen: Memory,
) -> (Result<String, RegisterError>, Memory) {
    (Err(RegisterError::Busy { retry_after_seconds: 2 }), Memory::Unknown)
}

async fn activate(
    _context: &ShardContext,
    _agent_id: &str,
    _auth_tag: String,
    _seen: Memory,
) -> (Result<(), ActivateError>, Memory) {
    (Err(ActivateError::NotFound), Memory::Unknown)
}
