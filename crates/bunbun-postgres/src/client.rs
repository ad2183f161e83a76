//! A connection in the hands of one caller, and what happens to it afterwards.
//!
//! A caller may vanish at any await. A transaction that is dropped is rolled back by a message that
//! nobody waits for; a statement that still runs is cancelled, and its connection comes back only
//! when PostgreSQL has confirmed that it is idle, so that the cancel cannot hit anyone else.

use std::{
    fmt,
    future::Future,
    ops::Deref,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use bunbun_core::task;
use deadpool_postgres::ClientWrapper;
use futures_util::FutureExt;
use tokio::runtime::{Handle, Id};
use tokio_postgres::{
    Row, SimpleQueryMessage, Statement, ToStatement,
    error::SqlState,
    types::{ToSql, Type},
};

use crate::{
    Error, Pool,
    pool::{Permit, Place},
    scope::{self, Scope},
};

type Outcome<T> = Result<T, tokio_postgres::Error>;

/// Ends whatever transaction there is. A trigger may have set the role beyond the transaction.
const ROLL_BACK: &str = "rollback; reset role";

/// Longest wait for one step of cleaning up; a connection that takes longer is closed.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// An open connection, as statements see it. [`Client`] and [`Transaction`] deref to it.
///
/// Its own methods know when their caller vanished in the middle of a statement. What is reached by
/// deref, such as `copy_in`, does not.
pub struct Session {
    connection: ClientWrapper,
    /// Statements that were begun and whose end nobody has seen.
    in_flight: AtomicUsize,
    /// A statement failed since the transaction or savepoint began.
    has_failed: AtomicBool,
    // Declared last: the place is free when the connection is closed.
    place: Place,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.connection
    }
}

impl Session {
    pub(crate) const fn new(connection: ClientWrapper, place: Place) -> Self {
        Self {
            connection,
            in_flight: AtomicUsize::new(0),
            has_failed: AtomicBool::new(false),
            place,
        }
    }

    /// The runtime that serves it.
    pub(crate) const fn home(&self) -> Id {
        self.place.home()
    }

    /// A statement that this connection has prepared, or prepares now.
    ///
    /// # Errors
    /// PostgreSQL's, as with all statements here.
    pub async fn prepare_cached(&self, sql: &str) -> Outcome<Statement> {
        self.track(self.connection.prepare_cached(sql)).await
    }

    /// Runs a statement and collects its rows.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn query<S: ?Sized + ToStatement>(
        &self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Outcome<Vec<Row>> {
        self.track(self.connection.query(statement, parameters))
            .await
    }

    /// Runs a statement that has exactly one row.
    ///
    /// # Errors
    /// PostgreSQL's, and one for any other number of rows.
    pub async fn query_one<S: ?Sized + ToStatement>(
        &self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Outcome<Row> {
        self.track(self.connection.query_one(statement, parameters))
            .await
    }

    /// Runs a statement that has one row or none.
    ///
    /// # Errors
    /// PostgreSQL's, and one for several rows.
    pub async fn query_opt<S: ?Sized + ToStatement>(
        &self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Outcome<Option<Row>> {
        self.track(self.connection.query_opt(statement, parameters))
            .await
    }

    /// Runs a statement and counts the rows it touched.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn execute<S: ?Sized + ToStatement>(
        &self,
        statement: &S,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Outcome<u64> {
        self.track(self.connection.execute(statement, parameters))
            .await
    }

    /// Runs a statement in one round trip without preparing it: for what is rare.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn query_typed(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Outcome<Vec<Row>> {
        self.track(self.connection.query_typed(sql, parameters))
            .await
    }

    /// Runs statements without parameters and passes over their results.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn batch_execute(&self, sql: &str) -> Outcome<()> {
        self.track(self.connection.batch_execute(sql)).await
    }

    /// Runs statements without parameters; values come as text.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn simple_query(&self, sql: &str) -> Outcome<Vec<SimpleQueryMessage>> {
        self.track(self.connection.simple_query(sql)).await
    }

    /// As [`Session::query`], with the connection's prepared statement.
    ///
    /// # Errors
    /// What [`Error::from`] makes of PostgreSQL's.
    pub async fn query_cached(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let statement = self.prepare_cached(sql).await?;
        self.checked(sql, self.query(&statement, parameters).await)
    }

    /// As [`Session::query_one`], with the connection's prepared statement.
    ///
    /// # Errors
    /// What [`Error::from`] makes of PostgreSQL's.
    pub async fn query_one_cached(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        let statement = self.prepare_cached(sql).await?;
        self.checked(sql, self.query_one(&statement, parameters).await)
    }

    /// As [`Session::query_opt`], with the connection's prepared statement.
    ///
    /// # Errors
    /// What [`Error::from`] makes of PostgreSQL's.
    pub async fn query_opt_cached(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        let statement = self.prepare_cached(sql).await?;
        self.checked(sql, self.query_opt(&statement, parameters).await)
    }

    /// As [`Session::execute`], with the connection's prepared statement.
    ///
    /// # Errors
    /// What [`Error::from`] makes of PostgreSQL's.
    pub async fn execute_cached(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let statement = self.prepare_cached(sql).await?;
        self.checked(sql, self.execute(&statement, parameters).await)
    }

    /// Forgets a prepared statement whose plan no longer fits the tables (0A000) or that a pooler
    /// between us and PostgreSQL lost (26000), so that the next use prepares it anew.
    fn checked<T>(&self, sql: &str, outcome: Outcome<T>) -> Result<T, Error> {
        outcome.map_err(|error| {
            let stale = [
                SqlState::FEATURE_NOT_SUPPORTED,
                SqlState::INVALID_SQL_STATEMENT_NAME,
            ];
            if error.code().is_some_and(|code| stale.contains(code)) {
                self.connection.statement_cache.remove(sql, &[]);
            }
            error.into()
        })
    }

    async fn track<T>(&self, statement: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let outcome = statement.await;
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.has_failed.store(true, Ordering::Relaxed);
        }
        outcome
    }

    /// Sends the end of the transaction without waiting for the answer: a statement is on its way
    /// after the first poll, and everything later on this connection comes after it.
    fn send(&self, sql: &str) {
        let _ = self.connection.batch_execute(sql).now_or_never();
    }

    /// Makes a connection that was left in the middle of a statement usable again.
    async fn settle(&self, pool: &Pool) -> bool {
        let cancel = self.connection.cancel_token();
        let cancelled = cancel.cancel_query(pool.target().connector());
        if !matches!(
            tokio::time::timeout(STEP_LIMIT, cancelled).await,
            Ok(Ok(()))
        ) {
            return false;
        }
        // The cancel may hit the first rollback instead.
        for _ in 0..2 {
            let ended = self.connection.batch_execute(ROLL_BACK);
            match tokio::time::timeout(STEP_LIMIT, ended).await {
                Ok(Ok(())) => {
                    self.in_flight.store(0, Ordering::Relaxed);
                    return true;
                }
                Ok(Err(error)) if error.code() == Some(&SqlState::QUERY_CANCELED) => {}
                _ => return false,
            }
        }
        false
    }
}

/// A connection from the pool, which takes it back on drop.
pub struct Client {
    session: Option<Session>,
    pool: Pool,
    // Declared last: the permit is given back after the connection.
    permit: Option<Permit>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Deref for Client {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
            .as_ref()
            .expect("the connection is there until drop")
    }
}

impl Client {
    pub(crate) const fn new(session: Session, pool: Pool, permit: Permit) -> Self {
        Self {
            session: Some(session),
            pool,
            permit: Some(permit),
        }
    }

    /// Begins a transaction as our own role. A connection that died at rest is replaced unseen.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.begin(Entry::Plain).await
    }

    /// Closes the connection instead of giving it back, with everything its session holds.
    pub fn close(mut self) {
        drop(self.session.take());
    }

    /// Begins a transaction with `enter`, on a new connection when this one has died.
    pub(crate) async fn begin(&mut self, entry: Entry<'_>) -> Result<Transaction<'_>, Error> {
        let begun = enter_guarded(self, entry).await;
        match begun {
            Ok(()) => {}
            // Nothing was done yet, so nothing is done twice.
            Err(error) if error.is_unavailable() => {
                self.session = Some(self.pool.open(self.pool.place()).await?);
                enter_guarded(self, entry).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(Transaction {
            client: self,
            is_done: false,
        })
    }
}

/// How a transaction begins. Not a closure: the compiler cannot tell that the future of one with
/// borrowed arguments is `Send`, which every handler's has to be.
#[derive(Clone, Copy)]
pub(crate) enum Entry<'e> {
    /// As our own role.
    Plain,
    /// As a caller.
    Scope(&'e Scope<'e>),
}

async fn enter_guarded(session: &Session, entry: Entry<'_>) -> Result<(), Error> {
    struct Guard<'s>(Option<&'s Session>);
    impl Drop for Guard<'_> {
        fn drop(&mut self) {
            if let Some(session) = self.0 {
                session.send(ROLL_BACK);
            }
        }
    }
    session.has_failed.store(false, Ordering::Relaxed);
    let mut guard = Guard(Some(session));
    match entry {
        Entry::Plain => session.batch_execute("begin").await?,
        Entry::Scope(scope) => scope::enter(session, scope).await?,
    }
    guard.0 = None;
    Ok(())
}

impl Drop for Client {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if session.in_flight.load(Ordering::Relaxed) == 0 {
            self.pool.put(session);
            return;
        }
        // A statement was left running.
        let permit = self.permit.take();
        let pool = self.pool.clone();
        if !session.is_closed() && Handle::try_current().is_ok() {
            task::spawn_quiet(async move {
                if session.settle(&pool).await {
                    pool.put(session);
                }
                drop(permit);
            });
        }
    }
}

/// A transaction on a pool's connection. Dropped, it is rolled back, without waiting.
#[derive(Debug)]
pub struct Transaction<'c> {
    client: &'c mut Client,
    is_done: bool,
}

impl Deref for Transaction<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.client
    }
}

impl Transaction<'_> {
    /// Commits. `Ok` means committed: PostgreSQL answers the commit of a transaction in which a
    /// statement had failed with a silent rollback, which is an error here.
    ///
    /// # Errors
    /// PostgreSQL's; the transaction is rolled back then, or, if the connection was lost, its fate
    /// is unknown.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.has_failed.load(Ordering::Relaxed) {
            self.batch_execute("select 1").await?;
        }
        self.batch_execute("commit; reset role").await?;
        self.is_done = true;
        Ok(())
    }

    /// Rolls back and waits for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the transaction is rolled back all the same.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.batch_execute(ROLL_BACK).await?;
        self.is_done = true;
        Ok(())
    }

    /// Begins a part of the transaction that can fail alone.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::begin(self).await
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.send(ROLL_BACK);
        }
    }
}

/// A part of a transaction. Dropped, it is rolled back, and the transaction goes on.
#[derive(Debug)]
pub struct Savepoint<'t> {
    session: &'t Session,
    had_failed: bool,
    is_done: bool,
}

impl Deref for Savepoint<'_> {
    type Target = Session;

    fn deref(&self) -> &Session {
        self.session
    }
}

impl<'t> Savepoint<'t> {
    async fn begin(session: &'t Session) -> Result<Self, Error> {
        let had_failed = session.has_failed.load(Ordering::Relaxed);
        // The inner one of two of the same name is the one that is meant.
        session.batch_execute("savepoint bunbun").await?;
        Ok(Self {
            session,
            had_failed,
            is_done: false,
        })
    }

    /// A part of this part.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::begin(self.session).await
    }

    /// Keeps what was done.
    ///
    /// # Errors
    /// PostgreSQL's, also when a statement since the savepoint failed.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.batch_execute("release bunbun").await?;
        self.is_done = true;
        Ok(())
    }

    /// Undoes what was done, and waits for it.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.batch_execute("rollback to bunbun; release bunbun")
            .await?;
        self.is_done = true;
        self.has_failed.store(self.had_failed, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            self.send("rollback to bunbun; release bunbun");
            self.has_failed.store(self.had_failed, Ordering::Relaxed);
        }
    }
}
