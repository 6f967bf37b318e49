//! The policy tables `allowlists` and `mbpolicies`, which differ in their columns and share their rules.

use super::insert_rows::{groups_by_bytes, insert_rows};
use super::key_lists::{key_lists, one_of};
use super::row::Row;
use crate::ports::{
    BootPolicyRecord, EMPTY_POLICY, NewBootPolicy, NewRuntimePolicy, PolicyChoice, RuntimePolicyRecord,
};
use keylime_schema::database::Engine;
use keylime_schema::database::entity::{boot_policy, runtime_policy, verifier_agent};
use sea_orm::sea_query::{Expr, ExprTrait as _, LockType, Order, Query, SelectStatement, SimpleExpr};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait, Iden, IdenStatic, Iterable, Value};
use std::collections::{HashMap, HashSet};

/// Row ids in one statement; SQLite takes 32,766 parameters, older ones 999.
const MOST_IDS: usize = 500;

/// A policy table.
pub(super) trait PolicyTable: Send + Sync {
    type Entity: EntityTrait<Column = Self::Column> + Copy;
    type Column: sea_orm::ColumnTrait + IdenStatic + Iden + Iterable + Copy + Send + Sync + 'static;
    type New: NewPolicy + Send + Sync + Clone;
    type Record: Send;

    fn entity() -> Self::Entity;
    const ID: Self::Column;
    const NAME: Self::Column;
    /// The column of `verifiermain` that refers to the table.
    const REFERENCE: verifier_agent::Column;
    /// The columns of [`Self::values`], the name first.
    const WRITTEN: &'static [Self::Column];

    fn values(policy: &Self::New) -> Vec<Value>;
    /// Holds for rows that say anything.
    fn is_stated() -> SimpleExpr;
    fn decode(row: &Row<'_>) -> Result<Self::Record, String>;
}

/// A policy that is to be stored.
pub(super) trait NewPolicy {
    fn name(&self) -> &str;
    fn text_bytes(&self) -> usize;
}

impl NewPolicy for NewRuntimePolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn text_bytes(&self) -> usize {
        self.text.as_deref().map_or(0, str::len)
    }
}

impl NewPolicy for NewBootPolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn text_bytes(&self) -> usize {
        self.text.as_deref().map_or(0, str::len)
    }
}

/// `allowlists`.
pub(super) struct RuntimePolicies;

impl PolicyTable for RuntimePolicies {
    type Entity = runtime_policy::Entity;
    type Column = runtime_policy::Column;
    type New = NewRuntimePolicy;
    type Record = RuntimePolicyRecord;

    fn entity() -> Self::Entity {
        runtime_policy::Entity
    }
    const ID: Self::Column = runtime_policy::Column::Id;
    const NAME: Self::Column = runtime_policy::Column::Name;
    const REFERENCE: verifier_agent::Column = verifier_agent::Column::ImaPolicyId;
    const WRITTEN: &'static [Self::Column] = &[
        runtime_policy::Column::Name,
        runtime_policy::Column::TpmPolicy,
        runtime_policy::Column::ImaPolicy,
        runtime_policy::Column::Checksum,
        runtime_policy::Column::Generator,
    ];

    fn values(policy: &Self::New) -> Vec<Value> {
        vec![
            policy.name.as_str().into(),
            policy.tpm_policy.clone().into(),
            policy.text.as_deref().into(),
            policy.checksum.as_str().into(),
            policy.generator.into(),
        ]
    }

    fn is_stated() -> SimpleExpr {
        runtime_policy::Column::Generator.gt(EMPTY_POLICY)
    }

    fn decode(row: &Row<'_>) -> Result<Self::Record, String> {
        let text = row.text("ima_policy")?;
        let checksum = match row.text("checksum")?.filter(|checksum| !checksum.is_empty()) {
            Some(checksum) => checksum,
            // Policies are cached by it, so two texts must never share an absent one.
            None => checksum_of(text.as_deref().unwrap_or_default()),
        };
        Ok(RuntimePolicyRecord {
            id: row.small_integer("id")?.ok_or("id is missing")?,
            name: row.text_or_empty("name")?,
            text: text.map(Into::into),
            checksum,
            generator: row.small_integer("generator")?.unwrap_or_default(),
            tpm_policy: row.text("tpm_policy")?,
        })
    }
}

/// `mbpolicies`.
pub(super) struct BootPolicies;

impl PolicyTable for BootPolicies {
    type Entity = boot_policy::Entity;
    type Column = boot_policy::Column;
    type New = NewBootPolicy;
    type Record = BootPolicyRecord;

    fn entity() -> Self::Entity {
        boot_policy::Entity
    }
    const ID: Self::Column = boot_policy::Column::Id;
    const NAME: Self::Column = boot_policy::Column::Name;
    const REFERENCE: verifier_agent::Column = verifier_agent::Column::MbPolicyId;
    const WRITTEN: &'static [Self::Column] = &[boot_policy::Column::Name, boot_policy::Column::MbPolicy];

    fn values(policy: &Self::New) -> Vec<Value> {
        vec![policy.name.as_str().into(), policy.text.as_deref().into()]
    }

    fn is_stated() -> SimpleExpr {
        boot_policy::Column::MbPolicy.is_not_null()
    }

    fn decode(row: &Row<'_>) -> Result<Self::Record, String> {
        Ok(BootPolicyRecord {
            id: row.small_integer("id")?.ok_or("id is missing")?,
            name: row.text_or_empty("name")?,
            text: row.text("mb_policy")?.map(Into::into),
        })
    }
}

/// The name of the policy that is chosen.
pub(super) fn choice_name<N: NewPolicy>(choice: &PolicyChoice<N>) -> &str {
    match choice {
        PolicyChoice::Stored(name) => name,
        PolicyChoice::New(policy) | PolicyChoice::StoredOrNew(policy) | PolicyChoice::Own(policy) => policy.name(),
    }
}

/// Row ids of the policies with these names.
pub(super) async fn ids<P: PolicyTable, C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    names: &[&str],
) -> Result<HashMap<String, i32>, DbErr> {
    let mut found = HashMap::new();
    for list in key_lists(names) {
        let select = Query::select()
            .columns([P::ID, P::NAME])
            .from(P::entity())
            .and_where(one_of(db, P::NAME, &list))
            .to_owned();
        for row in db.query_all(&select).await? {
            let row = Row::new(engine, &row);
            if let (Ok(Some(id)), Ok(Some(name))) = (row.small_integer("id"), row.text("name")) {
                found.insert(name, id);
            }
        }
    }
    Ok(found)
}

/// Those of the policies with these row ids that say anything. Texts stay in the database.
pub(super) async fn stated<P: PolicyTable, C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    ids: &[i32],
) -> Result<HashSet<i32>, DbErr> {
    let mut found = HashSet::new();
    for ids in ids.chunks(MOST_IDS) {
        let select = Query::select()
            .column(P::ID)
            .from(P::entity())
            .and_where(P::ID.is_in(ids.iter().copied()))
            .and_where(P::is_stated())
            .to_owned();
        for row in db.query_all(&select).await? {
            found.extend(Row::new(engine, &row).small_integer("id").map_err(DbErr::Type)?);
        }
    }
    Ok(found)
}

/// Stores policies whose names are free.
pub(super) async fn insert<P: PolicyTable, C: ConnectionTrait>(db: &C, policies: Vec<&P::New>) -> Result<(), DbErr> {
    for group in groups_by_bytes(policies, |policy| policy.text_bytes()) {
        let rows = group.into_iter().map(P::values).collect();
        insert_rows(db, P::entity(), P::WRITTEN, rows, None).await?;
    }
    Ok(())
}

/// Replaces everything but the name.
pub(super) async fn replace<P: PolicyTable, C: ConnectionTrait>(db: &C, id: i32, policy: &P::New) -> Result<(), DbErr> {
    let mut update = Query::update();
    update.table(P::entity()).and_where(P::ID.eq(id));
    for (column, value) in P::WRITTEN.iter().zip(P::values(policy)).skip(1) {
        update.value(*column, value);
    }
    db.execute(&update).await.map(|_| ())
}

/// Deletes the policy.
pub(super) async fn delete<P: PolicyTable, C: ConnectionTrait>(db: &C, id: i32) -> Result<(), DbErr> {
    let delete = Query::delete().from_table(P::entity()).and_where(P::ID.eq(id)).to_owned();
    db.execute(&delete).await.map(|_| ())
}

/// Deletes those of the named policies that no agent uses (`verifier-v2.md` §3.4).
pub(super) async fn delete_unused<P: PolicyTable, C: ConnectionTrait>(db: &C, names: &[&str]) -> Result<(), DbErr> {
    for list in key_lists(names) {
        let users = Query::select()
            .expr(Expr::val(1))
            .from(verifier_agent::Entity)
            .and_where(Expr::col((verifier_agent::Entity, P::REFERENCE)).equals((P::entity(), P::ID)))
            .to_owned();
        let delete = Query::delete()
            .from_table(P::entity())
            .and_where(one_of(db, P::NAME, &list))
            .and_where(Expr::exists(users).not())
            .to_owned();
        db.execute(&delete).await?;
    }
    Ok(())
}

/// Row id of the policy with this name, its row locked.
pub(super) async fn locked_id<P: PolicyTable, C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    name: &str,
) -> Result<Option<i32>, DbErr> {
    let mut select = Query::select();
    select.columns([P::ID, P::NAME]).from(P::entity()).and_where(P::NAME.eq(name)).lock(LockType::Update);
    let Some(row) = db.query_one(&select).await? else { return Ok(None) };
    let row = Row::new(engine, &row);
    // MySQL may compare names without case.
    let same = row.text("name").is_ok_and(|found| found.as_deref() == Some(name));
    if same { row.small_integer("id").map_err(DbErr::Type) } else { Ok(None) }
}

/// Ids of the agents that use the policy, in their order.
pub(super) async fn users<P: PolicyTable, C: ConnectionTrait>(
    db: &C,
    engine: Engine,
    id: i32,
    limit: Option<u64>,
) -> Result<Vec<String>, DbErr> {
    let mut select = Query::select();
    select
        .column(verifier_agent::Column::AgentId)
        .from(verifier_agent::Entity)
        .and_where(P::REFERENCE.eq(id))
        .order_by(verifier_agent::Column::AgentId, Order::Asc);
    if let Some(limit) = limit {
        select.limit(limit);
    }
    let rows = db.query_all(&select).await?;
    Ok(rows.iter().filter_map(|row| Row::new(engine, row).text("agent_id").ok().flatten()).collect())
}

/// Selects whole rows.
pub(super) fn select<P: PolicyTable>() -> SelectStatement {
    Query::select().columns(P::Column::iter()).from(P::entity()).to_owned()
}

/// SHA-256 of a policy's text, as Keylime stores it.
fn checksum_of(text: &str) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}
