//! `pg_dump`: a database as a stream of bytes.

use bytes::{Bytes, BytesMut};
use secrecy::SecretString;
use tokio::{io::AsyncReadExt, process::ChildStdout};

use super::{child::Child, error::Error, login::Login, tools::Tools};

/// Size of one read: what a pipe holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// A dump in PostgreSQL's custom format that is being made. Dropping it ends `pg_dump`.
pub struct Dump {
    child: Child,
    stdout: ChildStdout,
    buffer: BytesMut,
}

impl Dump {
    /// Starts to dump the database of the URL.
    ///
    /// # Errors
    /// [`Error::Run`], or [`Error::Database`] for a URL that cannot be understood.
    pub fn start(tools: &Tools, url: &SecretString) -> Result<Self, Error> {
        let login = Login::parse(url)?;
        let arguments = [
            "--format=custom",
            "--no-password",
            "--verbose",
            // Whoever holds a table exclusively for so long would hold up the backup for ever.
            "--lock-wait-timeout=300000",
            &login.argument(None),
        ];
        let mut child = Child::spawn(tools, "pg_dump", &login, &arguments)?;
        drop(child.take_stdin());
        let stdout = child.take_stdout().expect("stdout is piped and taken once");
        Ok(Self {
            child,
            stdout,
            buffer: BytesMut::new(),
        })
    }

    /// The next bytes; `None` at the end, after which [`Self::finish`] says whether all is well.
    ///
    /// # Errors
    /// [`Error::Run`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.buffer.reserve(CHUNK_BYTES);
        let read = self.stdout.read_buf(&mut self.buffer).await;
        match read {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(self.buffer.split().freeze())),
            Err(error) => Err(self.child.broken(error)),
        }
    }

    /// Tables whose rows are being or have been written.
    #[must_use]
    pub fn tables_begun(&self) -> u32 {
        self.child.tables_begun()
    }

    /// Waits for `pg_dump` to end. Only a dump that finishes so is complete.
    ///
    /// # Errors
    /// [`Error::Tool`] with what `pg_dump` said.
    pub async fn finish(self) -> Result<(), Error> {
        drop(self.stdout);
        self.child.finish().await
    }
}
