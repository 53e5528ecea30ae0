//! The stream of messages out of the database, by logical replication as in the real server.
//!
//! A message is taken when its transaction commits and is on the disk, in the order of commits, without a lock or a
//! wait in the writer's way. The slot lives as long as the connection: what is committed while there is none is never
//! sent, so when it breaks every channel fails, and clients join again and re-read.

use super::hub::Hub;
use super::pgoutput::Decoder;
use super::wire::{Connection, Event, SILENCE};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Config;
use uuid::Uuid;

const PUBLICATION: &str = "supabase_realtime_messages_publication";
/// Between two tries to begin.
const RETRY: Duration = Duration::from_millis(500);

/// Reads for ever.
pub async fn run(config: Config, hub: Arc<Hub>) {
    let mut reported = String::new();
    loop {
        let why = match begin(&config).await {
            Ok(connection) => {
                println!("realtime: messages arrive");
                hub.begin();
                let why = follow(connection, &hub).await;
                hub.fail();
                reported.clear();
                why
            }
            Err(why) => why,
        };
        if why != reported {
            eprintln!("realtime: no messages arrive: {why}");
            reported = why;
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn begin(config: &Config) -> Result<Connection, String> {
    let mut connection = Connection::open(config).await?;
    connection
        .run(&format!(
            "do $$ begin if not exists (select from pg_publication where pubname = '{PUBLICATION}') then \
             create publication {PUBLICATION} for table realtime.messages; end if; end $$"
        ))
        .await?;
    let slot = format!("supabase_realtime_messages_{}", Uuid::new_v4().simple());
    connection
        .run(&format!(
            "CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        ))
        .await?;
    connection
        .stream(&format!(
            "START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names '{PUBLICATION}')"
        ))
        .await?;
    Ok(connection)
}

/// Passes messages on until the stream ends; answers why it did.
async fn follow(mut connection: Connection, hub: &Hub) -> String {
    let mut decoder = Decoder::default();
    loop {
        let event = tokio::time::timeout(SILENCE, connection.next()).await;
        let done = match event {
            Err(_) => Err("the database is silent".to_owned()),
            Ok(Err(why)) => Err(why),
            Ok(Ok(Event::Alive)) => Ok(()),
            // The server asks every few seconds; the answer says what it may drop.
            Ok(Ok(Event::KeepAliveRequested)) => connection.confirm().await,
            Ok(Ok(Event::Data(data))) => decoder.read(data).map(|message| {
                if let Some(message) = message {
                    hub.send(&message, None);
                }
            }),
        };
        if let Err(why) = done {
            return why;
        }
    }
}
