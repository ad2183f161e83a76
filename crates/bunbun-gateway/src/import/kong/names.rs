//! Names for routes, upstreams and policies: readable, safe in logs and metrics, unique.

use std::collections::{HashMap, HashSet};

/// Hands out names.
#[derive(Debug, Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// The number to try next, by name: without it, many equal names would take long.
    next: HashMap<String, usize>,
}

impl Names {
    /// Keeps a name from being handed out.
    pub(super) fn reserve(&mut self, name: &str) {
        self.taken.insert(name.to_owned());
    }

    /// A name like the wanted one that is not taken.
    pub(super) fn unique(&mut self, wanted: &str) -> String {
        let name = readable(wanted);
        if self.taken.insert(name.clone()) {
            return name;
        }
        let number = self.next.entry(name.clone()).or_insert(2);
        loop {
            let candidate = format!("{name}-{number}");
            *number += 1;
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

fn readable(wanted: &str) -> String {
    const LONGEST: usize = 64;
    let mut name = String::new();
    for c in wanted.chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() >= LONGEST {
            break;
        }
    }
    match name.trim_matches(['-', '.']) {
        "" => "kong".to_owned(),
        name => name.to_owned(),
    }
}
