//! The retry budget: retries are a share of the requests, so that they cannot multiply the load
//! on an upstream that is failing.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Instant,
};

/// A request earns a fifth of a retry.
const EARN: i64 = 20;
/// What a retry costs.
const COST: i64 = 100;
/// Retries per second that need not be earned.
const FLOOR_PER_SECOND: i64 = 10;
/// Savings last about ten seconds' worth of the floor.
const MOST: i64 = 10 * FLOOR_PER_SECOND * COST;

/// A token bucket that requests fill.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    balance: AtomicI64,
    start: Instant,
    last_second: AtomicU64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        let balance = AtomicI64::new(FLOOR_PER_SECOND * COST);
        Self {
            balance,
            start: Instant::now(),
            last_second: AtomicU64::new(0),
        }
    }
}

impl RetryBudget {
    /// A request was sent.
    pub(crate) fn earn(&self) {
        if self.balance.load(Ordering::Relaxed) < MOST {
            self.balance.fetch_add(EARN, Ordering::Relaxed);
        }
    }

    /// Whether a retry may be sent now; takes its cost.
    pub(crate) fn spend(&self) -> bool {
        let second = self.start.elapsed().as_secs();
        let passed = second.saturating_sub(self.last_second.swap(second, Ordering::Relaxed));
        if passed > 0 {
            let seconds = i64::try_from(passed.min(10)).unwrap_or(10);
            let floor = seconds * FLOOR_PER_SECOND * COST;
            let _ = self
                .balance
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |balance| {
                    Some((balance + floor).min(MOST))
                });
        }
        self.balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |balance| {
                (balance >= COST).then(|| balance - COST)
            })
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::RetryBudget;

    #[test]
    fn retries_are_bounded_by_the_floor_and_a_fifth_of_the_requests() {
        let budget = RetryBudget::default();
        let floor = std::iter::repeat_with(|| budget.spend())
            .take_while(|granted| *granted)
            .count();
        assert!((10..=20).contains(&floor), "{floor}");
        for _ in 0..50 {
            budget.earn();
        }
        let earned = std::iter::repeat_with(|| budget.spend())
            .take_while(|granted| *granted)
            .count();
        assert!((10..=20).contains(&earned), "{earned}");
    }
}
