//! Kong prefers a route limited to methods over one with a longer path; BunBun takes the longer
//! path. Where that makes a difference, the limited route is repeated at the longer path.

use std::{cmp::Reverse, collections::HashSet};

use super::{
    super::ImportError,
    fields::Outcome,
    patterns,
    routes::{Draft, MAX_COMPARISONS, MAX_ROUTES},
};

/// Adds the repetitions.
pub(super) fn repeat_limited_routes(drafts: &mut Vec<Draft>) -> Outcome<()> {
    let too_many = |limit| ImportError::TooMany {
        what: "routes limited to methods",
        limit,
    };
    let (mut limited, general): (Vec<&Draft>, Vec<&Draft>) = drafts
        .iter()
        .partition(|draft| !draft.route.methods.is_empty());
    if limited.len() * general.len() > MAX_COMPARISONS {
        return Err(too_many(MAX_COMPARISONS / general.len()));
    }
    // Of several, the one with the longest path holds: it has to come first.
    limited.sort_by_key(|draft| Reverse(draft.route.path.len()));
    let mut known: HashSet<_> = limited.iter().map(|draft| draft.matches()).collect();
    let mut repeated = Vec::new();
    for one in limited {
        for longer in &general {
            let (path, other) = (&one.route.path, &longer.route.path);
            // BunBun, too, looks at routes with hosts first.
            let same_rank = one.route.hosts.is_empty() == longer.route.hosts.is_empty();
            if !same_rank || path == other || !patterns::covers(path, other) {
                continue;
            }
            if drafts.len() + repeated.len() >= MAX_ROUTES {
                return Err(too_many(MAX_ROUTES));
            }
            let repetition = one.at(other);
            if known.insert(repetition.matches()) {
                repeated.push(repetition);
            }
        }
    }
    drafts.append(&mut repeated);
    Ok(())
}
