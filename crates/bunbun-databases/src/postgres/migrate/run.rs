//! Applies a migration: takes the lock, decides whether there is anything to do, runs, records.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{
    DryRun, MAX_REPORTED, MigrationOutcome, MigrationRequest, dry_run,
    error::Error,
    execute,
    history::{self, Finished, LOCK, Recorded, Shape},
    plan::Plan,
    session::Session,
};
use crate::postgres::{self, pool::Pool};

/// Applies a migration, or finds that it is applied.
///
/// Runs to its end even when the returned future is dropped: a client that goes away must not
/// decide whether its migration is applied. Asking again with the same name tells.
///
/// # Errors
/// See [`Error`]. Nothing is changed by a failed transactional migration. When the connection is
/// lost during the final commit ([`postgres::Error::Unavailable`]) the outcome is open; the same
/// request again settles it.
pub async fn apply(pool: &Pool, request: MigrationRequest) -> Result<MigrationOutcome, Error> {
    let pool = pool.clone();
    let task = bunbun_core::task::spawn("migration", async move { run(&pool, &request).await });
    task.await.map_err(postgres::Error::internal)?
}

async fn run(pool: &Pool, request: &MigrationRequest) -> Result<MigrationOutcome, Error> {
    let plan = Plan::new(request)?;
    let _turn = tokio::time::timeout(request.lock_timeout, pool.migrating().lock())
        .await
        .map_err(|_| Error::InProgress)?;
    let session = Session::open(pool).await?;
    let shape = prepare_history(&session, request).await?;
    if request.transactional {
        in_transaction(&session, &shape, &plan).await
    } else {
        one_by_one(&session, &shape, &plan).await
    }
}

/// Makes the history tables in a transaction of their own, so that the migration's transaction
/// keeps nobody from reading them. A dry run makes nothing.
async fn prepare_history(session: &Session, request: &MigrationRequest) -> Result<Shape, Error> {
    let shape = Shape::load(session).await?;
    if request.dry_run || shape.is_complete() {
        return Ok(shape);
    }
    let begin = format!("begin; {}", settings("set local", request));
    own(session, &begin).await?;
    lock(session, "pg_try_advisory_xact_lock", request.lock_timeout).await?;
    Shape::load(session).await?.create(session).await?;
    own(session, "commit").await?;
    Shape::load(session).await
}

/// The rule: statements and history row in one transaction.
async fn in_transaction(
    session: &Session,
    shape: &Shape,
    plan: &Plan<'_>,
) -> Result<MigrationOutcome, Error> {
    let request = plan.request;
    own(session, "begin").await?;
    lock(session, "pg_try_advisory_xact_lock", request.lock_timeout).await?;
    if let Some(outcome) = decide(session, shape, plan).await? {
        own(session, "rollback").await?;
        return Ok(outcome);
    }
    let relations = if request.dry_run {
        dry_run::relations(session).await?
    } else {
        Default::default()
    };
    own(session, &settings("set local", request)).await?;
    let transaction = transaction_id(session).await?;

    let begun = Instant::now();
    let mut reports = Vec::new();
    for index in 0..plan.statements.len() {
        let report = execute::statement(session, plan, index, false).await?;
        if index < MAX_REPORTED {
            reports.push(report);
        }
    }
    // Whatever the migration set for itself does not hold for what follows.
    own(session, &settings("set local", request)).await?;
    // Deferred constraints are checked at commit; a dry run has none, and afterwards the role may
    // be another.
    theirs(session, "set constraints all immediate", plan).await?;
    let duration_ms = execute::milliseconds(begun);
    if transaction_id(session).await? != transaction {
        return Err(Error::TransactionEnded);
    }

    if request.dry_run {
        let report = DryRun {
            checksum: plan.checksum.clone(),
            statement_count: plan.statements.len(),
            statements: reports,
            notices: session.take_notices(),
            locks: dry_run::locks(session, &relations).await?,
            duration_ms,
        };
        own(session, "rollback").await?;
        return Ok(MigrationOutcome {
            migration: None,
            already_applied: false,
            replayed: false,
            dry_run: Some(report),
        });
    }
    let migration = history::record(session, &finished(plan, duration_ms)).await?;
    theirs(session, "commit", plan).await?;
    Ok(applied(migration))
}

/// `transactional: false`: every statement takes effect at once, under a marker.
async fn one_by_one(
    session: &Session,
    shape: &Shape,
    plan: &Plan<'_>,
) -> Result<MigrationOutcome, Error> {
    let request = plan.request;
    lock(session, "pg_try_advisory_lock", request.lock_timeout).await?;
    if let Some(outcome) = decide(session, shape, plan).await? {
        return Ok(outcome);
    }
    let name = request.name.as_str();
    history::mark(
        session,
        name,
        &plan.checksum,
        request.idempotency_key.as_deref(),
    )
    .await?;
    own(session, &settings("set", request)).await?;

    let begun = Instant::now();
    for index in 0..plan.statements.len() {
        if index > 0 {
            history::note(session, name, index + 1, None).await?;
        }
        if let Err(error) = execute::statement(session, plan, index, true).await {
            let reason = match &error {
                Error::Statement { error, .. } => error.message.clone(),
                other => other.to_string(),
            };
            // When the connection is gone the marker still says how far it came.
            if let Err(lost) = history::note(session, name, index + 1, Some(&reason)).await {
                tracing::warn!(error = %bunbun_core::error::chain(&lost), "migration marker kept as it was");
            }
            return Err(error);
        }
    }
    let duration_ms = execute::milliseconds(begun);
    let migration = history::finish_marked(session, &finished(plan, duration_ms)).await?;
    Ok(applied(migration))
}

/// What the history says about the request; `None` when it is to be run.
async fn decide(
    client: &Client,
    shape: &Shape,
    plan: &Plan<'_>,
) -> Result<Option<MigrationOutcome>, Error> {
    let request = plan.request;
    let key = request.idempotency_key.as_deref();
    if let Some(key) = key
        && let Some(first) = shape.by_key(client, key).await?
    {
        if !is_same_request(&first, plan) {
            return Err(Error::KeyConflict);
        }
        return Ok(Some(MigrationOutcome {
            replayed: true,
            ..applied(first.migration)
        }));
    }
    let mut recorded = shape.by_name(client, &request.name).await?;
    if let Some(same) = recorded
        .iter()
        .position(|row| row.migration.checksum == plan.checksum)
    {
        return Ok(Some(MigrationOutcome {
            already_applied: true,
            ..applied(recorded.swap_remove(same).migration)
        }));
    }
    if let Some(other) = recorded.pop() {
        return Err(Error::Conflict {
            name: request.name.clone(),
            version: other.migration.version,
            applied_checksum: other.migration.checksum,
            checksum: plan.checksum.clone(),
        });
    }
    let Some(unfinished) = shape.unfinished(client).await? else {
        return Ok(None);
    };
    let stopped = unfinished.migration;
    let same = stopped.name == request.name && !request.transactional;
    if key.is_some()
        && unfinished.idempotency_key.as_deref() == key
        && !(same && stopped.checksum == plan.checksum)
    {
        return Err(Error::KeyConflict);
    }
    if same {
        return Ok(None);
    }
    Err(Error::Dirty {
        name: stopped.name,
        statement_number: stopped.statement_number,
        reason: stopped.reason,
    })
}

fn is_same_request(first: &Recorded, plan: &Plan<'_>) -> bool {
    let request = plan.request;
    !request.dry_run
        && first.migration.name == request.name
        && first.migration.checksum == plan.checksum
        && first.transactional == Some(request.transactional)
}

/// Takes the advisory lock by asking again and again. A statement that waits for it would hold a
/// snapshot meanwhile, and a `create index concurrently` of the lock's holder would wait for that
/// snapshot: a deadlock. For the same reason this is the simple protocol: with the other one, the
/// result's portal would keep the snapshot until the next statement.
async fn lock(client: &Client, function: &str, longest: Duration) -> Result<(), Error> {
    let deadline = Instant::now() + longest;
    let sql = format!("select pg_catalog.{function}({LOCK})");
    let mut pause = Duration::from_millis(5);
    loop {
        let answer = client
            .simple_query(&sql)
            .await
            .map_err(postgres::Error::from_own_statement)?;
        let taken = answer.iter().any(
            |message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")),
        );
        if taken {
            return Ok(());
        }
        if Instant::now() + pause > deadline {
            return Err(Error::InProgress);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// What holds while the user's statements run. The splitter reads strings as the standard does, so
/// PostgreSQL must too.
fn settings(set: &str, request: &MigrationRequest) -> String {
    format!(
        "{set} lock_timeout = {}; {set} statement_timeout = {}; \
         {set} standard_conforming_strings = on",
        request.lock_timeout.as_millis().max(1),
        request.statement_timeout.as_millis().max(1),
    )
}

async fn transaction_id(client: &Client) -> Result<i64, Error> {
    let row = client
        .query_typed_one("select pg_catalog.txid_current()", &[])
        .await
        .map_err(postgres::Error::from_own_statement)?;
    Ok(row
        .try_get(0)
        .map_err(postgres::Error::from_own_statement)?)
}

/// A statement of ours that does not fail for a reason of the user's.
async fn own(client: &Client, sql: &str) -> Result<(), Error> {
    client
        .batch_execute(sql)
        .await
        .map_err(|error| postgres::Error::from_own_statement(error).into())
}

/// A statement of ours that runs the user's deferred constraints and triggers.
async fn theirs(client: &Client, sql: &str, plan: &Plan<'_>) -> Result<(), Error> {
    client.batch_execute(sql).await.map_err(|error| {
        execute::failure(postgres::Error::from_statement(error), plan, None, false)
    })
}

fn finished<'a>(plan: &'a Plan<'_>, duration_ms: i64) -> Finished<'a> {
    Finished {
        name: &plan.request.name,
        statements: plan
            .statements
            .iter()
            .map(|statement| statement.text)
            .collect(),
        checksum: &plan.checksum,
        idempotency_key: plan.request.idempotency_key.as_deref(),
        duration_ms,
        transactional: plan.request.transactional,
    }
}

const fn applied(migration: super::Migration) -> MigrationOutcome {
    MigrationOutcome {
        migration: Some(migration),
        already_applied: false,
        replayed: false,
        dry_run: None,
    }
}
