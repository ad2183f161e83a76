//! A gate: handlers wait at it until the test opens it.

use std::sync::{Arc, Condvar, Mutex};

use super::PATIENCE;

#[derive(Default)]
struct State {
    open: bool,
    inside: usize,
    most: usize,
}

/// Holds threads back and counts them. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    /// Waits until the gate is open.
    pub(crate) fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().expect("no panic");
        state.inside += 1;
        state.most = state.most.max(state.inside);
        let (mut state, _) = changed
            .wait_timeout_while(state, PATIENCE, |state| !state.open)
            .expect("no panic");
        state.inside -= 1;
    }

    /// Lets everyone pass.
    pub(crate) fn open(&self) {
        self.0.0.lock().expect("no panic").open = true;
        self.0.1.notify_all();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.0.lock().expect("no panic").inside
    }

    /// The most that ever waited at once.
    pub(crate) fn most(&self) -> usize {
        self.0.0.lock().expect("no panic").most
    }
}
