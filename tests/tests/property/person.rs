//! A signed-in user with all three interfaces: the Worker, the gateway, and SQL as role authenticated.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carbon_tests::system::{IDLE, System};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

/// The reply to a call: an HTTP status (for SQL 200, or the one that PostgREST would answer) and a body.
#[derive(Debug)]
pub struct ClientReply {
    pub status: u16,
    pub body: Value,
}

impl ClientReply {
    /// Whether the call was refused because another one writes for the same user. Long calls do not wait for each other; the
    /// client repeats them, after the pause that this makes.
    pub async fn must_be_repeated(&self) -> bool {
        let token = match &self.body["details"]["reason"] {
            Value::Null => &self.body["details"],
            reason => reason,
        };
        let busy = self.status == 429
            && matches!(
                token.as_str(),
                Some("already_running" | "carbon.already_running")
            );
        if busy {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        busy
    }
}

fn http() -> reqwest::Client {
    let client = reqwest::Client::builder().pool_idle_timeout(IDLE);
    client.build().expect("an HTTP client")
}

/// One signed-in person.
pub struct Person {
    pub id: String,
    system: System,
    http: reqwest::Client,
    token: String,
    claims: String,
    idle: Mutex<Vec<Client>>,
}

impl Person {
    /// A fresh anonymous user of the Worker.
    pub async fn anonymous(system: &System) -> Self {
        let http = http();
        let body = json!({ "device_info": { "device_id": "property", "platform": "web", "app_version": "1.0.0" } });
        let session = post(
            &http,
            &format!("{}/api/v1/auth/anonymous", system.api_url),
            &body,
        )
        .await;
        Self::signed_in(system, http, &session)
    }

    /// A fresh user who proved a phone number by the code in the inbox.
    pub async fn by_phone(system: &System, digits: u32) -> Self {
        let http = http();
        let api = format!("{}/api/v1", system.api_url);
        let requested = post(
            &http,
            &format!("{api}/auth/phone-otp"),
            &json!({ "phone_number": format!("08{digits:08}") }),
        )
        .await;
        let mut code = None;
        for _ in 0..50 {
            let url = format!("{}/sms?phone=668{digits:08}", system.inbox_url);
            let messages: Value = http
                .get(url)
                .send()
                .await
                .expect("the inbox")
                .json()
                .await
                .expect("messages");
            code = messages[0]["code"].as_str().map(str::to_owned);
            if code.is_some() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let body = json!({
            "otp_id": requested["otp_id"], "otp_code": code.expect("an SMS with a code"),
            "device_info": { "device_id": "property", "platform": "ios", "app_version": "1.0.0" },
        });
        let session = post(&http, &format!("{api}/auth/verify-otp"), &body).await;
        Self::signed_in(system, http, &session)
    }

    fn signed_in(system: &System, http: reqwest::Client, session: &Value) -> Self {
        let token = session["access_token"]
            .as_str()
            .expect("an access token")
            .to_owned();
        let claims = decode_claims(&token);
        let id = claims["sub"].as_str().expect("a subject").to_owned();
        Self {
            id,
            system: system.clone(),
            http,
            token,
            claims: claims.to_string(),
            idle: Mutex::new(Vec::new()),
        }
    }

    /// The system that the person uses.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Moves the beginning of the profile back: challenges exist for the days since.
    pub async fn began_days_ago(&self, days: i32) {
        let statement = "with moved as (update public.profiles set created_at = now() - make_interval(days => $2)
            where id = $1::text::uuid returning id) select to_jsonb(count(*))::text from moved";
        self.superuser(statement, &[&self.id, &days]).await;
    }

    /// Deletes the person, so that the system is as it was before.
    pub async fn leave(&self) {
        let statement =
            "with gone as (delete from auth.users where id = $1::text::uuid returning id)
            select to_jsonb(count(*))::text from gone";
        self.superuser(statement, &[&self.id]).await;
    }

    /// Calls the Worker's API as the person; the body of an answer is its `data` or `error`.
    pub async fn edge(&self, method: &str, route: &str, body: Option<&Value>) -> ClientReply {
        let method = method.parse().expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}/api/v1{route}", self.system.api_url))
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = read(request).await;
        let part = if answer.status < 300 { "data" } else { "error" };
        ClientReply {
            status: answer.status,
            body: answer.body[part].clone(),
        }
    }

    /// Calls PostgREST through the gateway as the person; rows come back as represented.
    pub async fn rest(&self, method: &str, route: &str, body: Option<&Value>) -> ClientReply {
        let method = method.parse().expect("a method");
        let url = format!("{}/rest/v1/{route}", self.system.supabase_url);
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(&self.token)
            .header("apikey", &self.system.anon_key);
        request = request.header("prefer", "return=representation");
        if let Some(body) = body {
            request = request.json(body);
        }
        read(request).await
    }

    /// Runs one statement that answers a single JSON value, in a transaction as role authenticated with the person's claims.
    pub async fn sql(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> ClientReply {
        let client = self.connection().await;
        let claims = self.claims.replace('\'', "''");
        let begin = format!(
            "begin; select set_config('request.jwt.claims', '{claims}', true); set local role authenticated"
        );
        client
            .batch_execute(&begin)
            .await
            .expect("a transaction as authenticated");
        let answer = match client.query_one(statement, values).await {
            Ok(row) => {
                client.batch_execute("commit").await.expect("commit");
                let text: Option<String> = row.get(0);
                ClientReply {
                    status: 200,
                    body: text.map_or(Value::Null, |text| {
                        serde_json::from_str(&text).expect("JSON")
                    }),
                }
            }
            Err(error) => {
                client.batch_execute("rollback").await.expect("rollback");
                let database = error
                    .as_db_error()
                    .unwrap_or_else(|| panic!("{statement}: {error}"));
                let status = match database.code().code() {
                    "23505" => 409,
                    "PT404" => 404,
                    "PT429" => 429,
                    _ => 500,
                };
                ClientReply {
                    status,
                    body: json!({ "message": database.to_string(), "details": database.detail() }),
                }
            }
        };
        self.idle.lock().await.push(client);
        answer
    }

    /// Runs one statement that answers a single JSON value as the superuser.
    pub async fn superuser(&self, statement: &str, values: &[&(dyn ToSql + Sync)]) -> Value {
        let client = self.connection().await;
        let row = client
            .query_one(statement, values)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let text: Option<String> = row.get(0);
        self.idle.lock().await.push(client);
        text.map_or(Value::Null, |text| {
            serde_json::from_str(&text).expect("JSON")
        })
    }

    async fn connection(&self) -> Client {
        if let Some(client) = self.idle.lock().await.pop() {
            return client;
        }
        let (client, connection) = tokio_postgres::connect(&self.system.db_url, NoTls)
            .await
            .expect("the database");
        tokio::spawn(connection);
        client
    }
}

async fn read(request: reqwest::RequestBuilder) -> ClientReply {
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    ClientReply { status, body }
}

async fn post(http: &reqwest::Client, url: &str, body: &Value) -> Value {
    let answer = read(http.post(url).json(body)).await;
    assert!(answer.status < 300, "{url}: {answer:?}");
    answer.body["data"].clone()
}

fn decode_claims(token: &str) -> Value {
    let part = token.split('.').nth(1).expect("a JWT has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("claims")
}
