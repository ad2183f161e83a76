//! What has arrived for one subscriber and has not been read.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Messages that wait for one subscriber.
const MAX_MESSAGES: usize = 1024;
/// Bytes that wait for one subscriber, unless a single message is larger.
const MAX_BYTES: usize = 1 << 20;

/// A published message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub channel: Vec<u8>,
    /// The subscribed pattern, if it was not the channel itself.
    pub pattern: Option<Vec<u8>>,
    /// What was published.
    pub data: Vec<u8>,
    /// When it came here, in milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// What a subscriber gets to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message.
    Message(Arc<Message>),
    /// So many messages were dropped, because they were not read in time.
    Lost(u64),
    /// The server cannot be reached. What is published now is lost.
    Interrupted,
    /// Messages come again.
    Resumed,
}

/// Filled by the hub, emptied by one subscriber.
#[derive(Default)]
pub(super) struct Inbox {
    content: Mutex<Content>,
    filled: Notify,
}

#[derive(Default)]
struct Content {
    messages: VecDeque<Arc<Message>>,
    bytes: usize,
    lost: u64,
    /// News of the connection, not yet told.
    news: Option<Event>,
}

impl Message {
    fn size(&self) -> usize {
        self.data.len() + self.channel.len() + self.pattern.as_ref().map_or(0, Vec::len)
    }
}

impl Inbox {
    pub(super) fn put(&self, message: &Arc<Message>) {
        let mut content = self.content.lock();
        content.bytes += message.size();
        content.messages.push_back(Arc::clone(message));
        while content.messages.len() > 1
            && (content.messages.len() > MAX_MESSAGES || content.bytes > MAX_BYTES)
        {
            if let Some(oldest) = content.messages.pop_front() {
                content.bytes -= oldest.size();
                content.lost += 1;
            }
        }
        drop(content);
        self.filled.notify_one();
    }

    pub(super) fn tell(&self, news: Event) {
        self.content.lock().news = Some(news);
        self.filled.notify_one();
    }

    /// What comes next. Nothing is lost if the future is dropped.
    pub(super) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Event> {
        let mut content = self.content.lock();
        if content.lost > 0 {
            return Some(Event::Lost(std::mem::take(&mut content.lost)));
        }
        if let Some(message) = content.messages.pop_front() {
            content.bytes -= message.size();
            return Some(Event::Message(message));
        }
        content.news.take()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Event, Inbox, MAX_BYTES, MAX_MESSAGES, Message};

    fn message(data: Vec<u8>) -> Arc<Message> {
        Arc::new(Message {
            channel: b"c".to_vec(),
            pattern: None,
            data,
            timestamp_ms: 0,
        })
    }

    #[tokio::test]
    async fn who_does_not_read_is_told_how_many_were_lost() {
        let inbox = Inbox::default();
        for index in 0..MAX_MESSAGES + 7 {
            inbox.put(&message(index.to_string().into_bytes()));
        }
        assert_eq!(inbox.next().await, Event::Lost(7));
        assert_eq!(inbox.next().await, Event::Message(message(b"7".to_vec())));
    }

    #[tokio::test]
    async fn large_messages_do_not_pile_up() {
        let inbox = Inbox::default();
        for _ in 0..10 {
            inbox.put(&message(vec![0; MAX_BYTES / 2 + 1]));
        }
        assert_eq!(inbox.next().await, Event::Lost(9));
        assert!(matches!(inbox.next().await, Event::Message(_)));
        assert_eq!(inbox.content.lock().bytes, 0);
    }
}
