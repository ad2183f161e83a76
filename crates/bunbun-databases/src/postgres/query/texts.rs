//! What is known of the SQL texts that a pool ran lately: applications send the same few again and
//! again.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::classify::{Text, classify};

/// Most texts that are remembered. When they are full, all are forgotten: who sends ever new texts
/// gains nothing by a better order, and the others are back at once.
const MOST_TEXTS: usize = 256;

/// Longer texts are not remembered.
const LONGEST_KEPT_BYTES: usize = 2 * 1024;

/// The texts that were run lately.
#[derive(Default)]
pub(crate) struct Texts(Mutex<HashMap<Box<str>, Arc<Text>>>);

impl Texts {
    /// What is known of a text.
    pub(crate) fn of(&self, sql: &str) -> Arc<Text> {
        if sql.len() > LONGEST_KEPT_BYTES {
            return Arc::new(classify(sql));
        }
        if let Some(known) = self.0.lock().get(sql) {
            return Arc::clone(known);
        }
        let text = Arc::new(classify(sql));
        let mut texts = self.0.lock();
        if texts.len() >= MOST_TEXTS {
            texts.clear();
        }
        texts.insert(sql.into(), Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_TEXTS, Texts, classify};

    #[test]
    fn a_remembered_text_is_the_same_and_their_number_is_bounded() {
        let texts = Texts::default();
        for number in 0..3 * MOST_TEXTS {
            let sql = format!("update t set a = {number}");
            assert_eq!(*texts.of(&sql), classify(&sql));
            assert_eq!(*texts.of(&sql), classify(&sql));
            assert_eq!(*texts.of("select 1"), classify("select 1"));
            assert!(texts.0.lock().len() <= MOST_TEXTS);
        }
        let long = format!("select '{}'", "x".repeat(4_000));
        assert_eq!(*texts.of(&long), classify(&long));
        assert!(!texts.0.lock().contains_key(long.as_str()));
    }
}
