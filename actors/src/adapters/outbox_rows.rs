//! The revocation outbox: notices and the deliveries they still wait for.

use super::insert_rows::insert_rows;
use super::key_lists::{key_lists, one_of};
use crate::ports::OutboxRow;
use keylime_schema::database::entity::{outbox_delivery, outbox_notice};
use sea_orm::sea_query::{Expr, ExprTrait as _, LockType, OnConflict, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, Value};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

const NOTICE: [outbox_notice::Column; 6] = [
    outbox_notice::Column::Id,
    outbox_notice::Column::AgentId,
    outbox_notice::Column::Kind,
    outbox_notice::Column::SeverityLabel,
    outbox_notice::Column::Body,
    outbox_notice::Column::CreatedUs,
];

const DELIVERY: [outbox_delivery::Column; 2] = [outbox_delivery::Column::OutboxId, outbox_delivery::Column::Notifier];

/// Stores notices in their order. One that is there already stays, so that a transaction whose commit was not confirmed
/// can be run again; one that nobody waits for is not stored.
pub(super) async fn insert<C: ConnectionTrait>(db: &C, rows: &[&OutboxRow]) -> Result<(), DbErr> {
    let awaited = || rows.iter().filter(|row| !row.pending.is_empty());
    let notices = awaited()
        .map(|row| {
            vec![
                row.id.to_string().into(),
                row.agent_id.as_str().into(),
                row.kind.as_str().into(),
                row.severity_label.as_str().into(),
                row.body.as_str().into(),
                row.created_us.into(),
            ]
        })
        .collect();
    let deliveries: Vec<Vec<Value>> = awaited()
        .flat_map(|row| row.pending.iter().map(|notifier| vec![row.id.to_string().into(), notifier.as_str().into()]))
        .collect();
    let keep = OnConflict::column(outbox_notice::Column::Id).do_nothing_on([outbox_notice::Column::Id]).to_owned();
    insert_rows(db, outbox_notice::Entity, &NOTICE, notices, Some(&keep)).await?;
    let keep = OnConflict::columns(DELIVERY).do_nothing_on([outbox_delivery::Column::OutboxId]).to_owned();
    insert_rows(db, outbox_delivery::Entity, &DELIVERY, deliveries, Some(&keep)).await
}

/// Removes confirmed deliveries, and the notices that wait for no other.
pub(super) async fn confirm<C: ConnectionTrait>(db: &C, confirmed: &[(Uuid, &str)]) -> Result<(), DbErr> {
    let mut by_notifier: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (id, notifier) in confirmed {
        by_notifier.entry(notifier).or_default().push(id.to_string());
    }
    let mut ids: Vec<&str> = by_notifier.values().flatten().map(String::as_str).collect();
    ids.sort_unstable();
    ids.dedup();
    for list in key_lists(&ids) {
        // Two processes that confirm the last two deliveries of one notice must see each other's.
        let lock = Query::select()
            .column(outbox_notice::Column::Id)
            .from(outbox_notice::Entity)
            .and_where(one_of(db, outbox_notice::Column::Id, &list))
            .order_by(outbox_notice::Column::Id, Order::Asc)
            .lock(LockType::Update)
            .to_owned();
        db.query_all(&lock).await?;
    }
    for (notifier, ids) in &by_notifier {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        for list in key_lists(&ids) {
            let delete = Query::delete()
                .from_table(outbox_delivery::Entity)
                .and_where(outbox_delivery::Column::Notifier.eq(*notifier))
                .and_where(one_of(db, outbox_delivery::Column::OutboxId, &list))
                .to_owned();
            db.execute(&delete).await?;
        }
    }
    for list in key_lists(&ids) {
        let delete = Query::delete()
            .from_table(outbox_notice::Entity)
            .and_where(one_of(db, outbox_notice::Column::Id, &list))
            .and_where(Expr::exists(deliveries_of_notice(None)).not())
            .to_owned();
        db.execute(&delete).await?;
    }
    Ok(())
}

/// The oldest notices that wait for `notifier`, or for any.
pub(super) async fn pending<C: ConnectionTrait>(
    db: &C,
    notifier: Option<&str>,
    limit: u64,
) -> Result<Vec<OutboxRow>, DbErr> {
    let select = Query::select()
        .columns(NOTICE)
        .from(outbox_notice::Entity)
        .and_where(Expr::exists(deliveries_of_notice(notifier)))
        .order_by(outbox_notice::Column::Seq, Order::Asc)
        .limit(limit)
        .to_owned();
    let mut rows = Vec::new();
    for row in db.query_all(&select).await? {
        match decode(&row) {
            Ok(row) => rows.push(row),
            Err(reason) => tracing::error!(target: "keylime.verifier", reason, "revocation outbox row cannot be read"),
        }
    }
    let ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    let mut notifiers = notifiers(db, &ids).await?;
    for (row, id) in rows.iter_mut().zip(&ids) {
        row.pending = notifiers.remove(id).unwrap_or_default();
    }
    // A delivery may have been confirmed between the two queries.
    rows.retain(|row| !row.pending.is_empty());
    Ok(rows)
}

async fn notifiers<C: ConnectionTrait>(db: &C, ids: &[String]) -> Result<HashMap<String, Vec<String>>, DbErr> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for list in key_lists(&ids) {
        let select = Query::select()
            .columns(DELIVERY)
            .from(outbox_delivery::Entity)
            .and_where(one_of(db, outbox_delivery::Column::OutboxId, &list))
            .order_by(outbox_delivery::Column::Notifier, Order::Asc)
            .to_owned();
        for row in db.query_all(&select).await? {
            let id: String = row.try_get("", "outbox_id")?;
            found.entry(id).or_default().push(row.try_get("", "notifier")?);
        }
    }
    Ok(found)
}

fn decode(row: &sea_orm::QueryResult) -> Result<OutboxRow, String> {
    let text = |column: &str| row.try_get::<String>("", column).map_err(|error| error.to_string());
    Ok(OutboxRow {
        id: Uuid::parse_str(&text("id")?).map_err(|error| error.to_string())?,
        agent_id: keylime_engine::ids::AgentId::parse(&text("agent_id")?).map_err(|error| error.to_string())?,
        kind: text("kind")?,
        severity_label: text("severity_label")?,
        body: text("body")?,
        created_us: row.try_get("", "created_us").map_err(|error| error.to_string())?,
        pending: Vec::new(),
    })
}

fn deliveries_of_notice(notifier: Option<&str>) -> SelectStatement {
    let notice = (outbox_notice::Entity, outbox_notice::Column::Id);
    let mut select = Query::select();
    select
        .expr(Expr::val(1))
        .from(outbox_delivery::Entity)
        .and_where(Expr::col((outbox_delivery::Entity, outbox_delivery::Column::OutboxId)).equals(notice));
    if let Some(notifier) = notifier {
        select.and_where(Expr::col((outbox_delivery::Entity, outbox_delivery::Column::Notifier)).eq(notifier));
    }
    select
}
