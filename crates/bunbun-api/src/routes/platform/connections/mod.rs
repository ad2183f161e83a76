//! `/api/platform/{database_type}/{ref}/connections`: stored connections to databases of the three
//! kinds.

#![expect(
    unused_qualifications,
    reason = "utoipa writes the parameters' types again, with the span of ours"
)]

mod body;
mod test;

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use bunbun_core::{
    Code,
    id::{ConnectionId, ProjectRef},
};
use bunbun_databases::{DatabaseType, PoolStatus};
use bunbun_http::{
    ApiError,
    extract::{Json as Body, Path, Query as Parameters},
};
use bunbun_store::database_connections::{DatabaseConnection, Status};
use garde::Validate;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, ETAG, IF_MATCH, LOCATION},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use self::body::{ChangeConnection, ConnectionHost, NewConnection};
use crate::{
    access::{ProjectAccess, Read, Write},
    connections::stored::Expected,
    openapi::{
        BodyRefusals, ConditionRefusals, ConflictRefusals, DatabaseRefusals, OwnerRefusals,
        ParameterRefusals, ThingRefusals,
    },
    pagination::{self, DEFAULT_LIMIT, MAX_LIMIT},
    state::ApiState,
};

pub(crate) fn router() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list_connections, create_connection))
        .routes(routes!(
            get_connection,
            replace_connection,
            update_connection,
            delete_connection
        ))
        .routes(routes!(test::test_new_connection))
        .routes(routes!(test::test_connection))
}

/// The kinds of database, as they stand in paths.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ConnectionKind {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// MongoDB.
    Mongodb,
}

impl From<DatabaseType> for ConnectionKind {
    fn from(kind: DatabaseType) -> Self {
        match kind {
            DatabaseType::Postgres => Self::Postgres,
            DatabaseType::Redis => Self::Redis,
            DatabaseType::Mongodb => Self::Mongodb,
        }
    }
}

/// How a connection is, as far as somebody tried it.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum ConnectionStatus {
    /// The last try went well.
    Active,
    /// Nobody tried it since it was changed.
    Inactive,
    /// The last try failed; `last_error` says why.
    Error,
    /// It is being tried.
    Connecting,
}

impl From<Status> for ConnectionStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Active => Self::Active,
            Status::Inactive => Self::Inactive,
            Status::Error => Self::Error,
            Status::Connecting => Self::Connecting,
        }
    }
}

/// The pool of a connection on this node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ConnectionPool {
    /// Most connections in use at once.
    size: usize,
    /// Connections in use.
    in_use: usize,
    /// Open connections that wait for work.
    idle: usize,
    /// Requests that wait for a connection.
    waiting: usize,
}

impl From<PoolStatus> for ConnectionPool {
    fn from(status: PoolStatus) -> Self {
        Self {
            size: status.size,
            in_use: status.in_use,
            idle: status.idle,
            waiting: status.waiting,
        }
    }
}

/// A stored connection. Its password is in no answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connection {
    /// Its id.
    id: Uuid,
    /// What it leads to.
    database_type: ConnectionKind,
    /// Its name in the project, for `?connection=`.
    #[schema(example = "cache")]
    identifier: String,
    /// The first host.
    #[schema(example = "redis.example.com")]
    host: String,
    /// Its port; null for `mongodb+srv`.
    #[schema(example = 6379)]
    port: Option<u16>,
    /// All hosts.
    hosts: Vec<ConnectionHost>,
    /// The database.
    #[schema(example = "0")]
    database: Option<String>,
    /// The user.
    username: Option<String>,
    /// Whether a password is stored.
    has_password: bool,
    /// How TLS is done.
    tls: body::ConnectionTls,
    /// What else the database's driver is told.
    #[schema(value_type = Object)]
    options: Value,
    /// Whether it is meant where no connection is named.
    is_primary: bool,
    /// How it is.
    status: ConnectionStatus,
    /// Why it does not work.
    last_error: Option<String>,
    /// When it was last tried, as far as that was news.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_checked_at: Option<OffsetDateTime>,
    /// Counts changes of the settings; also in `ETag`, for `If-Match`.
    version: i64,
    /// Its pool on this node; null while nobody uses it.
    pool: Option<ConnectionPool>,
    /// When it was stored.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// When its settings were changed.
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl Connection {
    fn new(kind: DatabaseType, row: DatabaseConnection, pool: Option<PoolStatus>) -> Self {
        let settings = row.settings;
        let hosts: Vec<_> = settings
            .hosts
            .into_iter()
            .map(ConnectionHost::from)
            .collect();
        let first = hosts.first();
        Self {
            id: row.id.0,
            database_type: kind.into(),
            identifier: settings.identifier,
            host: first.map(|host| host.host.clone()).unwrap_or_default(),
            port: first.and_then(|host| host.port),
            hosts,
            database: settings.database_name,
            username: settings.username,
            has_password: settings.password.is_some(),
            tls: body::ConnectionTls::stored(&settings.tls),
            options: settings.options,
            is_primary: settings.is_primary,
            status: row.status.into(),
            last_error: row.last_error,
            last_checked_at: row.last_checked_at,
            version: row.version,
            pool: pool.map(Into::into),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// Some connections.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Connections {
    /// Oldest first.
    connections: Vec<Connection>,
    /// What to send as `cursor` for the next page; null on the last.
    next_cursor: Option<String>,
}

/// Which connections.
#[derive(Debug, Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListConnectionsQuery {
    /// Most connections of the answer; 100 when absent.
    #[garde(range(min = 1, max = MAX_LIMIT))]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// `next_cursor` of the answer before.
    #[garde(skip)]
    cursor: Option<String>,
}

/// The kind in the path.
#[derive(Debug, Deserialize)]
pub(crate) struct KindPath {
    database_type: String,
}

impl KindPath {
    fn kind(&self) -> Result<DatabaseType, ApiError> {
        self.database_type.parse().map_err(|()| {
            ApiError::new(
                Code::RouteNotFound,
                "The kinds of database are postgres, redis and mongodb.",
            )
        })
    }
}

/// The kind and the connection in the path.
#[derive(Debug, Deserialize)]
pub(crate) struct ConnectionPath {
    #[serde(flatten)]
    kind: KindPath,
    id: String,
}

impl ConnectionPath {
    /// What is no id names no connection.
    fn read(&self) -> Result<(DatabaseType, ConnectionId), ApiError> {
        let id = self
            .id
            .parse()
            .map_err(|_| bunbun_store::Error::ConnectionNotFound)?;
        Ok((self.kind.kind()?, id))
    }
}

/// Stored connections
///
/// Oldest first.
#[utoipa::path(
    get, path = "/api/platform/{database_type}/{ref}/connections", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
        ListConnectionsQuery,
    ),
    responses(
        (status = 200, description = "Some of them", body = Connections),
        ParameterRefusals, OwnerRefusals, ThingRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn list_connections(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<KindPath>,
    Parameters(query): Parameters<ListConnectionsQuery>,
) -> Result<Json<Connections>, ApiError> {
    let (kind, connections) = (path.kind()?, state.connections()?);
    let after = pagination::decode(query.cursor.as_deref())?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let (rows, next) = connections.list(&access, kind, after, limit).await?;
    let with_pool = |row: DatabaseConnection| {
        let pool = connections.registry().status(row.id);
        Connection::new(kind, row, pool)
    };
    Ok(Json(Connections {
        connections: rows.into_iter().map(with_pool).collect(),
        next_cursor: next.map(|id| pagination::encode(&id)),
    }))
}

/// Store a connection
///
/// From a URL (`postgres://`, `redis://`, `rediss://`, `mongodb://`, `mongodb+srv://`) or from
/// fields. Nothing connects yet. The first connection of a kind becomes the primary one.
#[utoipa::path(
    post, path = "/api/platform/{database_type}/{ref}/connections", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
    ),
    request_body = NewConnection,
    responses(
        (status = 201, description = "It is stored", body = Connection, headers(
            ("Location" = String, description = "Where it is"),
            ("ETag" = String, description = "Its version"),
        )),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn create_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<KindPath>,
    Body(body): Body<NewConnection>,
) -> Result<Response, ApiError> {
    let (kind, connections) = (path.kind()?, state.connections()?);
    let draft = body.draft(kind)?;
    let row = Box::pin(connections.create(&access, &draft)).await?;
    let location = location(kind, access.project(), row.id);
    let headers = [(LOCATION, location), (ETAG, etag(row.version))];
    let connection = Connection::new(kind, row, None);
    Ok((StatusCode::CREATED, headers, Json(connection)).into_response())
}

/// A stored connection
#[utoipa::path(
    get, path = "/api/platform/{database_type}/{ref}/connections/{id}", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
        ("id" = Uuid, Path, description = "The connection"),
    ),
    responses(
        (status = 200, description = "It is there", body = Connection, headers(
            ("ETag" = String, description = "Its version"),
        )),
        OwnerRefusals, ThingRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn get_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Read>,
    Path(path): Path<ConnectionPath>,
) -> Result<Response, ApiError> {
    let ((kind, id), connections) = (path.read()?, state.connections()?);
    let row = connections.stored(access.project(), kind, id).await?;
    Ok(shown(kind, row, connections.registry().status(id)))
}

/// Replace a stored connection
///
/// What is not sent has its default, except the password beside fields: it stays unless it is sent,
/// or removed by null. A URL says everything: without a password in it there is none. A change of
/// hosts, of the certificate, or to weaker TLS needs the password again.
#[utoipa::path(
    put, path = "/api/platform/{database_type}/{ref}/connections/{id}", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
        ("id" = Uuid, Path, description = "The connection"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of what is changed"),
    ),
    request_body = NewConnection,
    responses(
        (status = 200, description = "It is replaced; its pool is retired", body = Connection, headers(
            ("ETag" = String, description = "Its version"),
        )),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn replace_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<ConnectionPath>,
    headers: HeaderMap,
    Body(body): Body<NewConnection>,
) -> Result<Response, ApiError> {
    let ((kind, id), connections) = (path.read()?, state.connections()?);
    let expected = expected(&headers)?;
    let change = connections.change(&access, kind, id, &expected, |_| body.draft(kind));
    let row = Box::pin(change).await?;
    Ok(shown(kind, row, None))
}

/// Change a stored connection
///
/// What is not sent stays. A change of hosts, of the certificate, or to weaker TLS needs the
/// password again.
#[utoipa::path(
    patch, path = "/api/platform/{database_type}/{ref}/connections/{id}", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
        ("id" = Uuid, Path, description = "The connection"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of what is changed"),
    ),
    request_body = ChangeConnection,
    responses(
        (status = 200, description = "It is changed; its pool is retired", body = Connection, headers(
            ("ETag" = String, description = "Its version"),
        )),
        BodyRefusals, OwnerRefusals, ThingRefusals, ConflictRefusals, ConditionRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn update_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<ConnectionPath>,
    headers: HeaderMap,
    Body(body): Body<ChangeConnection>,
) -> Result<Response, ApiError> {
    let ((kind, id), connections) = (path.read()?, state.connections()?);
    let expected = expected(&headers)?;
    let change = connections.change(&access, kind, id, &expected, |row| body.draft(kind, row));
    let row = Box::pin(change).await?;
    Ok(shown(kind, row, None))
}

/// Remove a stored connection
///
/// The database behind it is not touched.
#[utoipa::path(
    delete, path = "/api/platform/{database_type}/{ref}/connections/{id}", tag = "connections",
    security(("bearer" = []), ("apikey" = [])),
    params(
        ("database_type" = ConnectionKind, Path, description = "The kind of database"),
        ("ref" = String, Path, description = "The project", example = "default"),
        ("id" = Uuid, Path, description = "The connection"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of what is removed"),
    ),
    responses(
        (status = 204, description = "It is gone; its pool is retired"),
        ParameterRefusals, OwnerRefusals, ThingRefusals, ConditionRefusals, DatabaseRefusals,
    ),
)]
pub(crate) async fn delete_connection(
    State(state): State<Arc<ApiState>>,
    access: ProjectAccess<Write>,
    Path(path): Path<ConnectionPath>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let ((kind, id), connections) = (path.read()?, state.connections()?);
    let expected = expected(&headers)?;
    connections.remove(&access, kind, id, &expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(kind: DatabaseType, row: DatabaseConnection, pool: Option<PoolStatus>) -> Response {
    let headers = [
        (ETAG, etag(row.version)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Json(Connection::new(kind, row, pool))).into_response()
}

fn location(kind: DatabaseType, project: &ProjectRef, id: ConnectionId) -> HeaderValue {
    let path = format!("/api/platform/{kind}/{project}/connections/{id}");
    HeaderValue::try_from(path).expect("kinds, references and ids are ASCII")
}

fn etag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).expect("a number is ASCII")
}

/// `If-Match`: `*` or a list of strong tags (RFC 9110 §13.1.1).
fn expected(headers: &HeaderMap) -> Result<Expected, ApiError> {
    let mut versions = Vec::new();
    let mut given = false;
    for value in headers.get_all(IF_MATCH) {
        given = true;
        let text = value.to_str().map_err(|_| no_tags())?;
        for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
            if tag == "*" {
                return Ok(Expected::Any);
            }
            // A tag that is not ours, or a weak one, matches nothing.
            let inner = tag
                .strip_prefix("W/")
                .unwrap_or(tag)
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'))
                .ok_or_else(no_tags)?;
            if !tag.starts_with("W/")
                && let Ok(version) = inner.parse()
            {
                versions.push(version);
            }
        }
    }
    Ok(if given {
        Expected::Versions(versions)
    } else {
        Expected::Any
    })
}

fn no_tags() -> ApiError {
    ApiError::new(
        Code::InvalidRequest,
        "If-Match is * or the ETag of a connection, in quotes.",
    )
}
