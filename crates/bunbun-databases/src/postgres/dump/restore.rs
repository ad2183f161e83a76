//! `pg_restore`: a stream of bytes as a database.

use std::{error::Error as StdError, io, pin::pin};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;

use super::{child::Child, error::Error, login::Login, tools::Tools};

/// Loads a dump in PostgreSQL's custom format into the database `database` of the URL's server,
/// which should be new. The first error ends it and leaves the database as it then is. Dropping
/// the future ends `pg_restore`.
///
/// # Errors
/// [`Error::Input`] when the stream fails, [`Error::Tool`] with what `pg_restore` said,
/// [`Error::Run`].
pub async fn restore<E>(
    tools: &Tools,
    url: &SecretString,
    database: &str,
    dump: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(), Error>
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let login = Login::parse(url)?;
    let arguments = [
        "--format=custom",
        "--no-password",
        // Half a database that looks whole is worse than none.
        "--exit-on-error",
        &login.argument(Some(database)),
    ];
    let mut child = Child::spawn(tools, "pg_restore", &login, &arguments)?;
    drop(child.take_stdout());
    let mut stdin = child.take_stdin().expect("stdin is piped and taken once");
    let mut dump = pin!(dump);
    while let Some(chunk) = dump.next().await {
        let chunk = chunk.map_err(|error| Error::Input(error.into()))?;
        match stdin.write_all(&chunk).await {
            Ok(()) => {}
            // It ended before its input did; its exit status says why.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(child.broken(error)),
        }
    }
    drop(stdin);
    child.finish().await
}
