//! Cancelling a running statement: a connection of its own that names process and key.

use std::{sync::Arc, time::Duration};

use bunbun_postgres::Target;
use bytes::BytesMut;

use super::{super::error::Error, connect};

/// What it takes to cancel the statement that a connection runs.
#[derive(Clone)]
pub(crate) struct CancelKey {
    pub(super) target: Arc<Target>,
    /// Which of the target's hosts.
    pub(super) host: usize,
    pub(super) process_id: i32,
    pub(super) secret: i32,
}

impl CancelKey {
    /// Asks the server to cancel what the connection runs, and waits until the server has passed
    /// it on: it closes the connection then.
    pub(crate) async fn cancel(&self, limit: Duration) -> Result<(), Error> {
        let work = async {
            let mut stream = connect::open(&self.target, self.host).await?;
            let mut buffer = BytesMut::new();
            postgres_protocol::message::frontend::cancel_request(
                self.process_id,
                self.secret,
                &mut buffer,
            );
            stream
                .write_all(&buffer)
                .await
                .map_err(Error::unavailable)?;
            buffer.clear();
            // Nothing is ever sent back; an abrupt end is as good as an orderly one.
            let _ = stream.read(&mut buffer).await;
            Ok(())
        };
        tokio::time::timeout(limit, work)
            .await
            .map_err(|_| Error::unavailable("the cancel request took too long"))?
    }
}
