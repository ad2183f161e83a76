//! A child process of PostgreSQL's client programs: killed when dropped, its messages read and
//! kept in bounds.

use std::{
    collections::VecDeque,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, BufReader},
    process::{ChildStdin, ChildStdout, Command},
    task::JoinHandle,
};

use super::{error::Error, login::Login, tools::Tools};

/// Longest part of one message that is kept.
const LINE_LIMIT_BYTES: usize = 1_000;

/// Most messages that are kept, the last ones.
const LINES_LIMIT: usize = 8;

/// A running tool.
pub(super) struct Child {
    tool: &'static str,
    process: tokio::process::Child,
    messages: JoinHandle<VecDeque<String>>,
    tables: Arc<AtomicU32>,
    private_words: Vec<String>,
}

impl Child {
    /// Starts a tool with pipes for its input and output.
    pub(super) fn spawn(
        tools: &Tools,
        tool: &'static str,
        login: &Login,
        arguments: &[&str],
    ) -> Result<Self, Error> {
        let mut process = Command::new(tools.path(tool))
            .args(arguments)
            .env_clear()
            .envs(login.environment())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Run { tool, source })?;
        let tables = Arc::new(AtomicU32::new(0));
        let stderr = process.stderr.take().expect("stderr was piped above");
        let messages = bunbun_core::task::spawn(
            "backup messages",
            read_messages(stderr, Arc::clone(&tables)),
        );
        let private_words = login.private_words();
        Ok(Self {
            tool,
            process,
            messages,
            tables,
            private_words,
        })
    }

    pub(super) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    pub(super) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// Tables whose rows `pg_dump` has begun to write.
    pub(super) fn tables_begun(&self) -> u32 {
        self.tables.load(Ordering::Relaxed)
    }

    /// A failure to talk to the tool.
    pub(super) fn broken(&self, source: std::io::Error) -> Error {
        Error::Run {
            tool: self.tool,
            source,
        }
    }

    /// Waits for the tool's end.
    pub(super) async fn finish(mut self) -> Result<(), Error> {
        let tool = self.tool;
        let status = self
            .process
            .wait()
            .await
            .map_err(|source| Error::Run { tool, source })?;
        let messages = self.messages.await.unwrap_or_default();
        if status.success() {
            return Ok(());
        }
        let mut message = Vec::from(messages).join(" ");
        for word in &self.private_words {
            message = message.replace(word.as_str(), "***");
        }
        if message.is_empty() {
            message = format!("it ended with {status}");
        }
        Err(Error::Tool { tool, message })
    }
}

/// Reads to the end, however much is said, and keeps the last errors. With `--verbose` the rest is
/// progress.
async fn read_messages(stderr: impl AsyncRead + Unpin, tables: Arc<AtomicU32>) -> VecDeque<String> {
    let mut reader = BufReader::new(stderr);
    let (mut kept, mut line, mut chunk) = (VecDeque::new(), Vec::new(), [0; 4096]);
    loop {
        let read = reader.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            keep(&line, &tables, &mut kept);
            return kept;
        }
        for byte in &chunk[..read] {
            if *byte == b'\n' {
                keep(&line, &tables, &mut kept);
                line.clear();
            } else if line.len() < LINE_LIMIT_BYTES {
                line.push(*byte);
            }
        }
    }
}

fn keep(line: &[u8], tables: &AtomicU32, kept: &mut VecDeque<String>) {
    let line = String::from_utf8_lossy(line);
    if line.contains(": dumping contents of table ") {
        tables.fetch_add(1, Ordering::Relaxed);
    }
    // Details and hints repeat our tools' own SQL and arguments; the error itself says enough.
    let Some((_, message)) = line.split_once(": error: ") else {
        return;
    };
    if kept.len() == LINES_LIMIT {
        kept.pop_front();
    }
    kept.push_back(message.trim().to_owned());
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicU32};

    use super::{LINE_LIMIT_BYTES, LINES_LIMIT, read_messages};

    #[tokio::test]
    async fn messages_are_kept_in_bounds_and_tables_counted() {
        let mut text = String::from("pg_dump: dumping contents of table \"public.a\"\n");
        for number in 0..100 {
            text += &format!("pg_dump: error: {number} {}\n", "x".repeat(100_000));
        }
        text += "pg_dump: detail: Query was: select 1\npg_dump: dumping contents of table \"b\"";
        let tables = Arc::new(AtomicU32::new(0));
        let kept = read_messages(text.as_bytes(), Arc::clone(&tables)).await;
        assert_eq!(kept.len(), LINES_LIMIT);
        assert!(kept.iter().all(|line| line.len() <= LINE_LIMIT_BYTES));
        assert!(kept[LINES_LIMIT - 1].starts_with("99 "));
        assert_eq!(tables.load(std::sync::atomic::Ordering::Relaxed), 2);
    }
}
