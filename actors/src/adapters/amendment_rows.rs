//! Changes of an enrolled agent: its row and its policies, all or nothing.

use super::json_column;
use super::policy_rows::{self, BootPolicies, NewPolicy as _, PolicyTable, RuntimePolicies, choice_name};
use crate::ports::{AgentAmendment, PolicyChoice, WriteOutcome};
use keylime_schema::database::Engine;
use keylime_schema::database::entity::verifier_agent::{Column, Entity};
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, Value};

/// How a choice of a policy is carried out.
enum Plan<'a, N> {
    Use(i32),
    Replace(i32, &'a N),
    Insert(&'a N),
}

/// Why a choice of a policy cannot be carried out.
enum Obstacle {
    Exists,
    Missing,
}

/// Changes the row of an agent that is there and locked. Every policy is looked at before anything is written, so that a
/// refusal leaves no trace.
pub(super) async fn amend<C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    agent_id: &str,
    changes: &AgentAmendment,
) -> Result<WriteOutcome, DbErr> {
    let runtime = match plan::<RuntimePolicies, C>(db, engine, agent_id, changes.runtime_policy.as_ref()).await? {
        Ok(plan) => plan,
        Err((Obstacle::Exists, name)) => return Ok(WriteOutcome::RuntimePolicyExists(name)),
        Err((Obstacle::Missing, name)) => return Ok(WriteOutcome::RuntimePolicyMissing(name)),
    };
    let boot = match plan::<BootPolicies, C>(db, engine, agent_id, changes.boot_policy.as_ref()).await? {
        Ok(plan) => plan,
        Err((Obstacle::Exists, name)) => return Ok(WriteOutcome::BootPolicyExists(name)),
        Err((Obstacle::Missing, name)) => return Ok(WriteOutcome::BootPolicyMissing(name)),
    };
    let mut columns = changed_columns(changes);
    columns.extend(carry_out::<RuntimePolicies, C>(db, engine, runtime).await?);
    columns.extend(carry_out::<BootPolicies, C>(db, engine, boot).await?);
    if columns.is_empty() {
        return Ok(WriteOutcome::Written);
    }
    let mut update = Query::update();
    update.table(Entity).and_where(Column::AgentId.eq(agent_id));
    for (column, value) in columns {
        update.value(column, value);
    }
    db.execute(&update).await?;
    Ok(WriteOutcome::Written)
}

fn changed_columns(changes: &AgentAmendment) -> Vec<(Column, Value)> {
    let text = |column: Column, change: &Option<String>| change.as_deref().map(|text| (column, text.into()));
    let names = |column: Column, change: &Option<Vec<String>>| {
        change.as_deref().map(|names| (column, json_column::encode_texts(names).into()))
    };
    let changed = [
        text(Column::Ip, &changes.ip),
        changes.port.map(|port| (Column::Port, i32::from(port).into())),
        text(Column::MtlsCert, &changes.mtls_cert),
        changes.tpm_policy.as_deref().map(|policy| (Column::TpmPolicy, json_column::encode_text(policy).into())),
        text(Column::MetaData, &changes.meta_data),
        text(Column::ImaSignVerificationKeys, &changes.ima_sign_verification_keys),
        text(Column::RevocationKey, &changes.revocation_key),
        names(Column::AcceptTpmHashAlgs, &changes.accept_tpm_hash_algs),
        names(Column::AcceptTpmEncryptionAlgs, &changes.accept_tpm_encryption_algs),
        names(Column::AcceptTpmSigningAlgs, &changes.accept_tpm_signing_algs),
    ];
    changed.into_iter().flatten().collect()
}

async fn plan<'a, P: PolicyTable, C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    agent_id: &str,
    choice: Option<&'a PolicyChoice<P::New>>,
) -> Result<Result<Option<Plan<'a, P::New>>, (Obstacle, String)>, DbErr> {
    let Some(choice) = choice else { return Ok(Ok(None)) };
    let name = choice_name(choice);
    let stored = policy_rows::locked_id::<P, C>(db, engine, name).await?;
    Ok(match (choice, stored) {
        (PolicyChoice::Stored(_) | PolicyChoice::StoredOrNew(_), Some(id)) => Ok(Some(Plan::Use(id))),
        (PolicyChoice::Stored(_), None) => Err((Obstacle::Missing, name.to_owned())),
        (PolicyChoice::New(_), Some(_)) => Err((Obstacle::Exists, name.to_owned())),
        (PolicyChoice::Own(policy), Some(id)) => {
            let users = policy_rows::users::<P, C>(db, engine, id, Some(2)).await?;
            if users.iter().all(|user| user == agent_id) {
                Ok(Some(Plan::Replace(id, policy)))
            } else {
                Err((Obstacle::Exists, name.to_owned()))
            }
        }
        (PolicyChoice::New(policy) | PolicyChoice::StoredOrNew(policy) | PolicyChoice::Own(policy), None) => {
            Ok(Some(Plan::Insert(policy)))
        }
    })
}

/// Carries a plan out; answers the column that refers to the policy.
async fn carry_out<P: PolicyTable, C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    plan: Option<Plan<'_, P::New>>,
) -> Result<Option<(Column, Value)>, DbErr> {
    let id = match plan {
        None => return Ok(None),
        Some(Plan::Use(id)) => Some(id),
        Some(Plan::Replace(id, policy)) => {
            policy_rows::replace::<P, C>(db, id, policy).await?;
            Some(id)
        }
        Some(Plan::Insert(policy)) => {
            policy_rows::insert::<P, C>(db, vec![policy]).await?;
            policy_rows::ids::<P, C>(db, engine, &[policy.name()]).await?.remove(policy.name())
        }
    };
    Ok(Some((P::REFERENCE, id.into())))
}
