//! The database: pool, schema, and a few forms of query.

use super::config::Config;
use super::error::ApiResult;
use deadpool_postgres::{
    GenericClient, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts,
};
use std::time::Duration;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config as PgConfig, NoTls, Row};

/// Longest time one statement may take; the server ends it, also if this program is gone.
const STATEMENT_TIMEOUT_MS: u32 = 8_000;
/// Longest time to wait for a free or a new connection.
const CONNECTION_WAIT_SECS: u64 = 5;
/// How long a database that is still starting is waited for.
const START_WAIT_SECS: u64 = 20;
/// Key of the advisory lock under which the schema is made, so that two starts do not race.
const SCHEMA_LOCK: i64 = 0x6361_7262_6f6e_6175;

/// Opens the pool (lazily; see [`prepare_schema`]).
pub fn pool(config: &Config) -> Result<Pool, String> {
    let mut pg: PgConfig = config
        .database_url
        .parse()
        .map_err(|why| format!("GOTRUE_DB_DATABASE_URL cannot be read: {why}"))?;
    let wait = Some(Duration::from_secs(CONNECTION_WAIT_SECS));
    pg.connect_timeout(Duration::from_secs(CONNECTION_WAIT_SECS)).application_name("carbon-local auth").options(
        format!("-c statement_timeout={STATEMENT_TIMEOUT_MS} -c idle_in_transaction_session_timeout=30000 -c search_path=auth"),
    );
    let manager = Manager::from_config(
        pg,
        NoTls,
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let pool = Pool::builder(manager)
        .max_size(config.pool_size)
        .runtime(Runtime::Tokio1)
        .timeouts(Timeouts {
            wait,
            create: wait,
            recycle: wait,
        })
        .build();
    pool.map_err(|why| why.to_string())
}

/// Makes what is missing of the schema. Waits for a database that is still starting.
pub async fn prepare_schema(pool: &Pool) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(START_WAIT_SECS);
    let mut client = loop {
        match pool.get().await {
            Ok(client) => break client,
            Err(why) if tokio::time::Instant::now() > deadline => {
                return Err(format!(
                    "cannot reach the database of GOTRUE_DB_DATABASE_URL: {why}"
                ));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250)).await,
        }
    };
    let failed = |why: tokio_postgres::Error| {
        let reason = why
            .as_db_error()
            .map_or_else(|| why.to_string(), |db| db.message().to_owned());
        format!("cannot prepare the schema auth: {reason}")
    };
    let transaction = client.transaction().await.map_err(failed)?;
    transaction
        .execute("select pg_advisory_xact_lock($1)", &[&SCHEMA_LOCK])
        .await
        .map_err(failed)?;
    if transaction
        .query_opt("select 1 from pg_namespace where nspname = 'auth'", &[])
        .await
        .map_err(failed)?
        .is_none()
    {
        transaction
            .batch_execute("create schema auth")
            .await
            .map_err(failed)?;
    }
    transaction
        .batch_execute(include_str!("schema.sql"))
        .await
        .map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

/// All rows. Statements are prepared once per connection.
pub async fn rows(
    db: &impl GenericClient,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> ApiResult<Vec<Row>> {
    let statement = db.prepare_cached(sql).await?;
    Ok(db.query(&statement, params).await?)
}

/// The first row, if there is one.
pub async fn optional(
    db: &impl GenericClient,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> ApiResult<Option<Row>> {
    Ok(rows(db, sql, params).await?.into_iter().next())
}

/// Runs a statement that answers nothing.
pub async fn execute(
    db: &impl GenericClient,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> ApiResult<()> {
    let statement = db.prepare_cached(sql).await?;
    db.execute(&statement, params).await?;
    Ok(())
}
