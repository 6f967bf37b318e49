//! The table `sessions` behind [`SessionStore`].
//!
//! A row of ours has an empty salt and the SHA-256 of its token; Keylime, which would hash with that salt, takes no such
//! token and lets the agent authenticate anew. Keylime's rows are read.

use super::insert_rows::insert_rows;
use super::key_lists::{key_lists, one_of};
use super::row::Row;
use super::store_fault::{ATTEMPTS, store_error};
use crate::ports::StoreError;
use crate::sessions::{SessionRow, SessionStore, StoredSession, StoredToken};
use async_trait::async_trait;
use keylime_engine::identity::session_token::{SessionId, TokenDigest};
use keylime_engine::ids::AgentId;
use keylime_schema::database::entity::auth_session::{Column, Entity};
use keylime_schema::database::{Database, Fault};
use keylime_schema::wire::v3::timestamp::UtcMicros;
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait as _, ConnectionTrait as _, DbErr, Value};

/// The salt of a row whose hash is a plain SHA-256.
const NO_SALT: &str = "";

const COLUMNS: [Column; 10] = [
    Column::SessionId,
    Column::TokenHash,
    Column::TokenSalt,
    Column::AgentId,
    Column::Active,
    Column::Nonce,
    Column::NonceCreatedAt,
    Column::NonceExpiresAt,
    Column::PopReceivedAt,
    Column::TokenExpiresAt,
];

/// The table in an SQL database.
#[derive(Debug, Clone)]
pub struct SqlSessionStore {
    db: Database,
}

/// What is done to the table in one transaction.
enum Change<'a> {
    Begin(&'a [SessionRow]),
    Extend(&'a [(SessionId, UtcMicros)]),
    Rehash(SessionId, TokenDigest),
    Purge(UtcMicros),
}

impl SqlSessionStore {
    /// Uses an open database with the verifier's tables.
    #[must_use]
    pub const fn new(db: Database) -> Self {
        Self { db }
    }

    /// Carries a change out; runs the transaction again while it loses against others. Answers the number of deleted rows.
    async fn change(&self, change: Change<'_>) -> Result<u64, StoreError> {
        let mut tries = 1;
        loop {
            match self.try_change(&change).await {
                Ok(count) => return Ok(count),
                Err(error) => match Fault::of(&error) {
                    Fault::Contended | Fault::Constraint if tries < ATTEMPTS => tries += 1,
                    Fault::Contended | Fault::Constraint | Fault::Unavailable | Fault::Data => {
                        return Err(store_error(&error));
                    }
                },
            }
        }
    }

    async fn try_change(&self, change: &Change<'_>) -> Result<u64, DbErr> {
        let transaction = self.db.begin().await?;
        let mut deleted = 0;
        match change {
            Change::Begin(rows) => {
                let agents: Vec<&str> = rows.iter().map(|row| row.agent.as_str()).collect();
                for list in key_lists(&agents) {
                    let others = one_of(&transaction, Column::AgentId, &list);
                    transaction.execute(Query::delete().from_table(Entity).and_where(others)).await?;
                }
                insert_rows(&transaction, Entity, &COLUMNS, rows.iter().map(values).collect(), None).await?;
            }
            Change::Extend(sessions) => {
                for (id, until) in *sessions {
                    let mut update = Query::update();
                    update.table(Entity).value(Column::TokenExpiresAt, until.to_string());
                    transaction.execute(update.and_where(Column::SessionId.eq(id.to_string()))).await?;
                }
            }
            Change::Rehash(id, token) => {
                let mut update = Query::update();
                update.table(Entity).value(Column::TokenHash, token.to_hex()).value(Column::TokenSalt, NO_SALT);
                transaction.execute(update.and_where(Column::SessionId.eq(id.to_string()))).await?;
            }
            Change::Purge(before) => {
                let over = Column::TokenExpiresAt.lt(before.to_string());
                deleted =
                    transaction.execute(Query::delete().from_table(Entity).and_where(over)).await?.rows_affected();
            }
        }
        transaction.commit().await?;
        Ok(deleted)
    }
}

fn values(row: &SessionRow) -> Vec<Value> {
    vec![
        row.id.to_string().into(),
        row.token.to_hex().into(),
        NO_SALT.into(),
        row.agent.as_str().into(),
        true.into(),
        row.challenge.as_bytes().to_vec().into(),
        row.created.to_string().into(),
        row.challenge_expires.to_string().into(),
        row.proven.to_string().into(),
        row.expires.to_string().into(),
    ]
}

#[async_trait]
impl SessionStore for SqlSessionStore {
    async fn begin(&self, batch: Vec<SessionRow>) -> Result<(), StoreError> {
        self.change(Change::Begin(&batch)).await.map(drop)
    }

    async fn extend(&self, batch: Vec<(SessionId, UtcMicros)>) -> Result<(), StoreError> {
        self.change(Change::Extend(&batch)).await.map(drop)
    }

    async fn rehash(&self, id: SessionId, token: TokenDigest) -> Result<(), StoreError> {
        self.change(Change::Rehash(id, token)).await.map(drop)
    }

    async fn session(&self, id: SessionId) -> Result<Option<StoredSession>, StoreError> {
        let columns = [Column::AgentId, Column::TokenHash, Column::TokenSalt, Column::Active, Column::TokenExpiresAt];
        let mut select = Query::select();
        select.columns(columns).from(Entity).and_where(Column::SessionId.eq(id.to_string()));
        let Some(row) = self.db.reader().query_one(&select).await.map_err(|error| store_error(&error))? else {
            return Ok(None);
        };
        match decode(&Row::new(self.db.engine(), &row)) {
            Ok(session) => Ok(Some(session)),
            Err(reason) => {
                tracing::warn!(target: "keylime.verifier", session = %id, reason, "a stored session cannot be read");
                Ok(None)
            }
        }
    }

    async fn purge(&self, ended_before: UtcMicros) -> Result<u64, StoreError> {
        self.change(Change::Purge(ended_before)).await
    }
}

fn decode(row: &Row<'_>) -> Result<StoredSession, String> {
    let agent = AgentId::parse(&row.text_or_empty("agent_id")?).map_err(|error| error.to_string())?;
    let (hash, salt) = (row.text_or_empty("token_hash")?, row.text_or_empty("token_salt")?);
    let token = if salt == NO_SALT {
        StoredToken::Digest(TokenDigest::from_hex(&hash).ok_or("token_hash is no SHA-256")?)
    } else {
        let (mut salt_bytes, mut hash_bytes) = ([0; 16], [0; 32]);
        hex::decode_to_slice(&salt, &mut salt_bytes).map_err(|_| "token_salt is not 16 bytes in hexadecimal")?;
        hex::decode_to_slice(&hash, &mut hash_bytes).map_err(|_| "token_hash is not 32 bytes in hexadecimal")?;
        StoredToken::Slow { salt: salt_bytes, hash: hash_bytes }
    };
    let expires = row.text("token_expires_at")?;
    let expires = expires.map(|text| UtcMicros::parse(&text).map_err(|error| error.to_string())).transpose()?;
    Ok(StoredSession { agent, token, active: row.flag("active")?.unwrap_or(false), expires })
}
