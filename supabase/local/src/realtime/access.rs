//! Whether a user may listen to a topic, or send to it: row-level security of `realtime.messages` decides,
//! in a transaction that is rolled back, as the real server asks.

use super::token::Claims;
use deadpool_postgres::{Pool, PoolError, Transaction};
use tokio_postgres::error::SqlState;
use uuid::Uuid;

/// The role, its claims and the topic, for this transaction.
const BECOME: &str = "select set_config('role', $1, true), set_config('realtime.topic', $2, true), \
    set_config('request.jwt.claims', $3, true), set_config('request.jwt.claim.sub', $4, true), \
    set_config('request.jwt.claim.role', $1, true), set_config('request.headers', '{}', true)";
const PROBE: &str =
    "insert into realtime.messages (id, topic, extension) values ($1, $2, 'broadcast')";
const SEEN: &str = "select exists (select from realtime.messages where id = $1)";

/// The database could not be asked.
#[derive(Debug)]
pub struct Unavailable;

impl From<PoolError> for Unavailable {
    fn from(_: PoolError) -> Self {
        Self
    }
}

/// A refusal of the database is an answer; a broken connection is not.
fn refused(why: &tokio_postgres::Error) -> Result<bool, Unavailable> {
    why.as_db_error().map(|_| false).ok_or(Unavailable)
}

async fn become_caller(
    transaction: &Transaction<'_>,
    topic: &str,
    claims: &Claims,
) -> Result<(), tokio_postgres::Error> {
    let statement = transaction.prepare_cached(BECOME).await?;
    let all = claims.all.to_string();
    transaction
        .execute(&statement, &[&claims.role, &topic, &all, &claims.subject])
        .await
        .map(drop)
}

/// Whether messages of the topic are for this user: a row is made, and read with their rights.
pub async fn may_listen(pool: &Pool, topic: &str, claims: &Claims) -> Result<bool, Unavailable> {
    let mut client = pool.get().await?;
    let transaction = client.transaction().await.map_err(|_| Unavailable)?;
    let seen = async {
        let id = Uuid::new_v4();
        let probe = transaction.prepare_cached(PROBE).await?;
        transaction.execute(&probe, &[&id, &topic]).await?;
        become_caller(&transaction, topic, claims).await?;
        let seen = transaction.prepare_cached(SEEN).await?;
        let row = transaction.query_one(&seen, &[&id]).await?;
        Ok(row.get(0))
    };
    let seen = seen.await.or_else(|why| refused(&why));
    transaction.rollback().await.map_err(|_| Unavailable)?;
    seen
}

/// Whether this user may send to the topic: they try to make the row themselves.
pub async fn may_send(pool: &Pool, topic: &str, claims: &Claims) -> Result<bool, Unavailable> {
    let mut client = pool.get().await?;
    let transaction = client.transaction().await.map_err(|_| Unavailable)?;
    let made = async {
        become_caller(&transaction, topic, claims).await?;
        let probe = transaction.prepare_cached(PROBE).await?;
        transaction
            .execute(&probe, &[&Uuid::new_v4(), &topic])
            .await
    };
    let made = match made.await {
        Ok(_) => Ok(true),
        Err(why) if why.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Ok(false),
        Err(why) => refused(&why),
    };
    transaction.rollback().await.map_err(|_| Unavailable)?;
    made
}
