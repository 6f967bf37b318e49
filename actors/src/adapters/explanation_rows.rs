//! Explanations of failures that outlive the verifier's process.

use super::insert_rows::{groups_by_bytes, insert_rows};
use super::key_lists::{key_lists, one_of};
use crate::ports::ExplanationChange;
use keylime_engine::verdict::Explanation;
use keylime_schema::database::entity::explanation::{Column, Entity};
use keylime_schema::wire::v2::explanation::ExplainedFailure;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr};
use std::collections::BTreeMap;

/// Longest stored list, in bytes; failures at its end are left out rather than exceed it.
const MAX_BODY: usize = 256 << 10;

/// Carries out the last change of each agent.
pub(super) async fn change<C: ConnectionTrait>(db: &C, changes: &[(&str, &ExplanationChange)]) -> Result<(), DbErr> {
    let mut latest: BTreeMap<&str, Option<&[Explanation]>> = BTreeMap::new();
    for (agent_id, change) in changes {
        match change {
            ExplanationChange::Keep => {}
            ExplanationChange::Clear => {
                latest.insert(agent_id, None);
            }
            ExplanationChange::Replace(explanations) => {
                latest.insert(agent_id, Some(explanations));
            }
        }
    }
    let cleared: Vec<&str> = latest.iter().filter(|(_, list)| list.is_none()).map(|(agent_id, _)| *agent_id).collect();
    delete(db, &cleared).await?;
    let rows: Vec<(&str, String)> =
        latest.into_iter().filter_map(|(agent_id, list)| Some((agent_id, body(list?)))).collect();
    let replace = OnConflict::column(Column::AgentId).update_column(Column::Body).to_owned();
    for group in groups_by_bytes(rows, |(_, body)| body.len()) {
        let rows = group.into_iter().map(|(agent_id, body)| vec![agent_id.into(), body.into()]).collect();
        insert_rows(db, Entity, &[Column::AgentId, Column::Body], rows, Some(&replace)).await?;
    }
    Ok(())
}

/// Removes what is stored of these agents.
pub(super) async fn delete<C: ConnectionTrait>(db: &C, agents: &[&str]) -> Result<(), DbErr> {
    for list in key_lists(agents) {
        let delete = Query::delete().from_table(Entity).and_where(one_of(db, Column::AgentId, &list)).to_owned();
        db.execute(&delete).await?;
    }
    Ok(())
}

/// What is stored of an agent. A list that cannot be read is reported and counts as none: it explains, and decides nothing.
pub(super) async fn read<C: ConnectionTrait>(db: &C, agent_id: &str) -> Result<Vec<Explanation>, DbErr> {
    let select = Query::select().column(Column::Body).from(Entity).and_where(Column::AgentId.eq(agent_id)).to_owned();
    let Some(row) = db.query_one(&select).await? else { return Ok(Vec::new()) };
    let body: String = row.try_get("", "body")?;
    match serde_json::from_str::<Vec<ExplainedFailure>>(&body) {
        Ok(failures) => Ok(failures.into_iter().map(Into::into).collect()),
        Err(error) => {
            tracing::error!(target: "keylime.verifier", agent_id, %error, "stored explanations cannot be read");
            Ok(Vec::new())
        }
    }
}

/// The list as JSON, with as many failures as there is room for.
fn body(explanations: &[Explanation]) -> String {
    let mut body = String::from("[");
    for explanation in explanations {
        let failure = ExplainedFailure::from(explanation.clone());
        // Texts and numbers can always be written.
        let text = serde_json::to_string(&failure).unwrap_or_default();
        if body.len() + text.len() + 2 > MAX_BODY {
            break;
        }
        if body.len() > 1 {
            body.push(',');
        }
        body.push_str(&text);
    }
    body.push(']');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_at_a_failure() {
        let explanation = Explanation { text: "x".repeat(100_000), ..Explanation::default() };
        let body = body(&vec![explanation.clone(); 64]);
        assert!(body.len() <= MAX_BODY);
        let read: Vec<ExplainedFailure> = serde_json::from_str(&body).unwrap();
        assert_eq!(read, vec![ExplainedFailure::from(explanation); 2]);
        assert_eq!(super::body(&[]), "[]");
    }
}
