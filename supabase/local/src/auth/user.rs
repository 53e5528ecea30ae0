//! Users and their identities: rows of auth.users and auth.identities, and their JSON.

use super::db;
use super::error::ApiResult;
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

/// A JSON object.
pub type Object = Map<String, Value>;

type Instant = Option<DateTime<Utc>>;

/// A user. The order and the names of the serialised fields are the API's.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct User {
    pub id: Uuid,
    pub aud: String,
    pub role: String,
    pub email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_confirmed_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invited_at: Instant,
    pub phone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_confirmed_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmation_sent_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_sent_at: Instant,
    #[serde(rename = "new_email", skip_serializing_if = "String::is_empty")]
    pub email_change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_change_sent_at: Instant,
    #[serde(rename = "new_phone", skip_serializing_if = "String::is_empty")]
    pub phone_change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_change_sent_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reauthentication_sent_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sign_in_at: Instant,
    pub app_metadata: Object,
    pub user_metadata: Object,
    /// Null in lists, which do not load them.
    pub identities: Option<Vec<Identity>>,
    pub created_at: Instant,
    pub updated_at: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banned_until: Instant,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_at: Instant,
    pub is_anonymous: bool,
    #[serde(skip)]
    pub confirmation_token: String,
    #[serde(skip)]
    pub recovery_token: String,
    #[serde(skip)]
    pub phone_change_token: String,
}

/// An identity of a user: how they sign in.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Identity {
    pub identity_id: Uuid,
    pub id: String,
    pub user_id: Uuid,
    pub identity_data: Object,
    pub provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_sign_in_at: Instant,
    pub created_at: Instant,
    pub updated_at: Instant,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
}

const COLUMNS: &str = "id, coalesce(aud, '')::text as aud, coalesce(role, '')::text as role, \
    coalesce(email, '')::text as email, email_confirmed_at, invited_at, coalesce(phone, '') as phone, \
    phone_confirmed_at, confirmation_sent_at, confirmed_at, recovery_sent_at, \
    coalesce(email_change, '')::text as email_change, email_change_sent_at, \
    coalesce(phone_change, '') as phone_change, phone_change_sent_at, reauthentication_sent_at, last_sign_in_at, \
    coalesce(raw_app_meta_data, '{}') as app_metadata, coalesce(raw_user_meta_data, '{}') as user_metadata, \
    created_at, updated_at, banned_until, deleted_at, is_anonymous, \
    coalesce(confirmation_token, '')::text as confirmation_token, \
    coalesce(recovery_token, '')::text as recovery_token, \
    coalesce(phone_change_token, '')::text as phone_change_token";

fn object(row: &Row, column: &str) -> Object {
    match row.get(column) {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

fn user_of(row: &Row) -> User {
    User {
        id: row.get("id"),
        aud: row.get("aud"),
        role: row.get("role"),
        email: row.get("email"),
        email_confirmed_at: row.get("email_confirmed_at"),
        invited_at: row.get("invited_at"),
        phone: row.get("phone"),
        phone_confirmed_at: row.get("phone_confirmed_at"),
        confirmation_sent_at: row.get("confirmation_sent_at"),
        confirmed_at: row.get("confirmed_at"),
        recovery_sent_at: row.get("recovery_sent_at"),
        email_change: row.get("email_change"),
        email_change_sent_at: row.get("email_change_sent_at"),
        phone_change: row.get("phone_change"),
        phone_change_sent_at: row.get("phone_change_sent_at"),
        reauthentication_sent_at: row.get("reauthentication_sent_at"),
        last_sign_in_at: row.get("last_sign_in_at"),
        app_metadata: object(row, "app_metadata"),
        user_metadata: object(row, "user_metadata"),
        identities: None,
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        banned_until: row.get("banned_until"),
        deleted_at: row.get("deleted_at"),
        is_anonymous: row.get("is_anonymous"),
        confirmation_token: row.get("confirmation_token"),
        recovery_token: row.get("recovery_token"),
        phone_change_token: row.get("phone_change_token"),
    }
}

fn identity_of(row: &Row) -> Identity {
    Identity {
        identity_id: row.get("id"),
        id: row.get("provider_id"),
        user_id: row.get("user_id"),
        identity_data: object(row, "identity_data"),
        provider: row.get("provider"),
        last_sign_in_at: row.get("last_sign_in_at"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
        email: row.get("email"),
    }
}

/// What a user is found by.
pub enum By<'a> {
    Id(Uuid),
    /// A phone without "+", and the audience.
    Phone(&'a str, &'a str),
    /// A phone that the user wants to change to, and the audience.
    NewPhone(&'a str, &'a str),
    /// An e-mail address in lower case, and the audience.
    Email(&'a str, &'a str),
    /// The hash of a one-time token, and the kinds it may be of.
    Token(&'a str, &'a [&'static str]),
}

/// Whether the row is to be held until the transaction ends.
#[derive(Clone, Copy, PartialEq)]
pub enum Lock {
    /// Reads only.
    No,
    /// Other writers wait; rows that refer to the user may still be inserted.
    Update,
}

/// Finds a user with identities.
pub async fn find(db: &impl GenericClient, by: By<'_>, lock: Lock) -> ApiResult<Option<User>> {
    const NOT_SSO: &str = "is_sso_user = false";
    let (condition, params): (String, Vec<&(dyn ToSql + Sync)>) = match &by {
        By::Id(id) => ("id = $1".into(), vec![id]),
        By::Phone(phone, aud) => (format!("phone = $1 and aud = $2 and {NOT_SSO}"), vec![phone, aud]),
        By::NewPhone(phone, aud) => (format!("phone_change = $1 and aud = $2 and {NOT_SSO}"), vec![phone, aud]),
        By::Email(email, aud) => (format!("lower(email) = $1 and aud = $2 and {NOT_SSO}"), vec![email, aud]),
        By::Token(hash, kinds) => (
            "id = (select user_id from auth.one_time_tokens where token_hash = $1 and token_type::text = any($2))".into(),
            vec![hash, kinds],
        ),
    };
    let held = if lock == Lock::Update {
        "for no key update"
    } else {
        ""
    };
    // Several users may want one number. The real server takes the one that the database happens to find first, which is
    // the one who asked first as long as the table is small.
    let sql = format!(
        "select {COLUMNS} from auth.users where {condition} order by phone_change_sent_at limit 1 {held}"
    );
    let Some(row) = db::optional(db, &sql, &params).await? else {
        return Ok(None);
    };
    let mut user = user_of(&row);
    user.identities = Some(identities(db, user.id).await?);
    Ok(Some(user))
}

/// The user as it stands now; it must exist.
pub async fn reload(db: &impl GenericClient, id: Uuid) -> ApiResult<User> {
    let user = find(db, By::Id(id), Lock::No).await?;
    user.ok_or_else(|| super::error::ApiError::internal("The user is gone"))
}

async fn identities(db: &impl GenericClient, user: Uuid) -> ApiResult<Vec<Identity>> {
    let sql = "select id, provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at, \
               coalesce(email, '') as email from auth.identities where user_id = $1 order by created_at";
    Ok(db::rows(db, sql, &[&user])
        .await?
        .iter()
        .map(identity_of)
        .collect())
}

/// A page of users, newest first unless `ascending`, and how many there are in all.
pub async fn page(
    db: &impl GenericClient,
    aud: &str,
    filter: Option<&str>,
    ascending: bool,
    limit_offset: (i64, i64),
) -> ApiResult<(Vec<User>, i64)> {
    let like = filter.map(|text| format!("%{text}%"));
    let condition = "aud = $1 and ($2::text is null or email like $2 or raw_user_meta_data ->> 'full_name' ilike $2)";
    let direction = if ascending { "asc" } else { "desc" };
    let count = format!("select count(*) from auth.users where {condition}");
    let total = db::rows(db, &count, &[&aud, &like])
        .await?
        .first()
        .map_or(0, |row| row.get(0));
    let sql = format!(
        "select {COLUMNS} from auth.users where {condition} order by created_at {direction}, id limit $3 offset $4"
    );
    let rows = db::rows(db, &sql, &[&aud, &like, &limit_offset.0, &limit_offset.1]).await?;
    Ok((rows.iter().map(user_of).collect(), total))
}

/// What a new row of auth.users starts with.
#[derive(Default)]
#[allow(missing_docs)]
pub struct NewUser<'a> {
    pub id: Option<Uuid>,
    pub aud: &'a str,
    pub role: &'a str,
    pub email: Option<&'a str>,
    pub phone: Option<&'a str>,
    pub app_metadata: Value,
    pub user_metadata: Object,
    pub is_anonymous: bool,
}

/// Writes a new user, unconfirmed and without a password. A taken phone or address is a unique violation.
pub async fn insert(db: &impl GenericClient, new: NewUser<'_>) -> ApiResult<Uuid> {
    let id = new.id.unwrap_or_else(Uuid::new_v4);
    let sql = "insert into auth.users (instance_id, id, aud, role, email, phone, encrypted_password, \
               confirmation_token, recovery_token, email_change_token_new, email_change, \
               raw_app_meta_data, raw_user_meta_data, is_anonymous, created_at, updated_at) \
               values ($1, $2, $3, $4, $5, $6, '', '', '', '', '', $7, $8, $9, $10, $10)";
    let user_metadata = Value::Object(new.user_metadata);
    let params: &[&(dyn ToSql + Sync)] = &[
        &Uuid::nil(),
        &id,
        &new.aud,
        &new.role,
        &new.email,
        &new.phone,
        &new.app_metadata,
        &user_metadata,
        &new.is_anonymous,
        &Utc::now(),
    ];
    db::execute(db, sql, params).await?;
    Ok(id)
}

/// Adds an identity of the user's own (`provider` phone or email), or merges `data` into the one there is.
pub async fn upsert_identity(
    db: &impl GenericClient,
    user: Uuid,
    provider: &str,
    data: Object,
) -> ApiResult<()> {
    let mut identity_data = Object::new();
    identity_data.insert("sub".into(), json!(user));
    identity_data.insert("email_verified".into(), json!(false));
    identity_data.insert("phone_verified".into(), json!(false));
    identity_data.extend(data.clone());
    let sql = "insert into auth.identities (provider_id, user_id, identity_data, provider, last_sign_in_at, \
               created_at, updated_at) values ($1, $2, $3, $4, $5, $5, $5) \
               on conflict (provider_id, provider) do update \
               set identity_data = auth.identities.identity_data || $6, updated_at = $5";
    let params: &[&(dyn ToSql + Sync)] = &[
        &user.to_string(),
        &user,
        &Value::Object(identity_data),
        &provider,
        &Utc::now(),
        &Value::Object(data),
    ];
    db::execute(db, sql, params).await
}

/// Merges `changes` into user_metadata; a member that is null is removed.
pub async fn merge_user_metadata(
    db: &impl GenericClient,
    id: Uuid,
    changes: &Object,
) -> ApiResult<()> {
    merge(db, id, "raw_user_meta_data", changes).await
}

/// Merges `changes` into app_metadata; a member that is null is removed.
pub async fn merge_app_metadata(
    db: &impl GenericClient,
    id: Uuid,
    changes: &Object,
) -> ApiResult<()> {
    merge(db, id, "raw_app_meta_data", changes).await
}

async fn merge(db: &impl GenericClient, id: Uuid, column: &str, changes: &Object) -> ApiResult<()> {
    let removed: Vec<&str> = changes
        .iter()
        .filter(|(_, v)| v.is_null())
        .map(|(k, _)| k.as_str())
        .collect();
    let set: Object = changes
        .iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let sql = format!(
        "update auth.users set {column} = (coalesce({column}, '{{}}') || $2) - $3::text[], updated_at = $4 where id = $1"
    );
    db::execute(db, &sql, &[&id, &Value::Object(set), &removed, &Utc::now()]).await
}

/// Writes into app_metadata which providers the user has, the oldest first.
pub async fn note_providers(db: &impl GenericClient, id: Uuid) -> ApiResult<()> {
    let mut providers: Vec<String> = Vec::new();
    for identity in identities(db, id).await? {
        if !providers.contains(&identity.provider) {
            providers.push(identity.provider);
        }
    }
    let mut changes = Object::new();
    if let Some(first) = providers.first() {
        changes.insert("provider".into(), json!(first));
    }
    changes.insert("providers".into(), json!(providers));
    merge_app_metadata(db, id, &changes).await
}

/// Confirms the phone: the code is used up, and all other open tokens with it.
pub async fn confirm_phone(db: &impl GenericClient, id: Uuid) -> ApiResult<()> {
    let sql = "update auth.users set confirmation_token = '', phone_confirmed_at = $2, updated_at = $2 where id = $1";
    db::execute(db, sql, &[&id, &Utc::now()]).await?;
    clear_tokens(db, id).await
}

/// Confirms the address.
pub async fn confirm_email(db: &impl GenericClient, id: Uuid) -> ApiResult<()> {
    let sql = "update auth.users set confirmation_token = '', email_confirmed_at = $2, updated_at = $2 where id = $1";
    db::execute(db, sql, &[&id, &Utc::now()]).await?;
    let verified = Object::from_iter([("email_verified".to_owned(), json!(true))]);
    merge_user_metadata(db, id, &verified).await?;
    clear_tokens(db, id).await
}

/// Ends anonymity, once something is confirmed.
pub async fn end_anonymity(db: &impl GenericClient, id: Uuid) -> ApiResult<()> {
    let sql = "update auth.users set is_anonymous = false, updated_at = $2 where id = $1 and is_anonymous";
    db::execute(db, sql, &[&id, &Utc::now()]).await
}

/// Stores a one-time token, in place of an older one of the same kind.
pub async fn store_token(
    db: &impl GenericClient,
    user: Uuid,
    kind: &str,
    relates_to: &str,
    hash: &str,
) -> ApiResult<()> {
    let gone = "delete from auth.one_time_tokens where user_id = $1 and token_type::text = $2";
    db::execute(db, gone, &[&user, &kind]).await?;
    let sql = "insert into auth.one_time_tokens (id, user_id, token_type, token_hash, relates_to) \
               values ($1, $2, $3::text::auth.one_time_token_type, $4, $5)";
    db::execute(
        db,
        sql,
        &[
            &Uuid::new_v4(),
            &user,
            &kind,
            &hash,
            &relates_to.to_lowercase(),
        ],
    )
    .await
}

/// Drops all open one-time tokens.
pub async fn clear_tokens(db: &impl GenericClient, user: Uuid) -> ApiResult<()> {
    db::execute(
        db,
        "delete from auth.one_time_tokens where user_id = $1",
        &[&user],
    )
    .await
}

impl User {
    /// Whether an operator has shut the user out for now.
    pub fn is_banned(&self) -> bool {
        self.banned_until.is_some_and(|until| Utc::now() < until)
    }
}
