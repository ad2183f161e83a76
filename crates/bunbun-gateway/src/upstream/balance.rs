//! Chooses an address: of two random ones that take requests, the one with fewer in flight.

use std::sync::{Arc, atomic::Ordering};

use rand::Rng;

use super::endpoint::Endpoint;

impl Endpoint {
    /// Whether it is in rotation, without taking a half-open breaker's probe.
    pub(super) fn is_available(&self) -> bool {
        self.healthy.load(Ordering::Relaxed) && self.breaker.is_closed()
    }

    /// Whether only its breaker keeps it out of rotation, as far as the active check knows.
    fn is_half_open(&self) -> bool {
        !self.breaker.is_closed() && self.healthy.load(Ordering::Relaxed)
    }
}

/// Chooses among the addresses; those in `tried` only where there is no other. `None` where all
/// of them are out of rotation.
pub(super) fn choose(
    endpoints: &[Arc<Endpoint>],
    tried: &[Arc<Endpoint>],
) -> Option<Arc<Endpoint>> {
    if let [only] = endpoints {
        return only.breaker.admit().then(|| Arc::clone(only));
    }
    let fresh = |e: &&Arc<Endpoint>| !tried.iter().any(|t| Arc::ptr_eq(t, e));
    // Without a request of its own an address whose breaker is half-open would never come back
    // while others serve.
    let due = |e: &&Arc<Endpoint>| e.is_half_open() && e.breaker.admit();
    if let Some(probe) = endpoints.iter().filter(fresh).find(due) {
        return Some(Arc::clone(probe));
    }
    let available: Vec<&Arc<Endpoint>> = endpoints
        .iter()
        .filter(|e| e.is_available())
        .filter(fresh)
        .collect();
    let chosen = match available.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => {
            let mut rng = rand::rng();
            let first = rng.random_range(0..several.len());
            let second = (first + rng.random_range(1..several.len())) % several.len();
            let load = |i: usize| several[i].in_flight.load(Ordering::Relaxed);
            Some(
                several[if load(second) < load(first) {
                    second
                } else {
                    first
                }],
            )
        }
    };
    chosen
        .map(Arc::clone)
        // An unhealthy address, then one that failed this very request.
        .or_else(|| {
            endpoints
                .iter()
                .filter(fresh)
                .find(|e| e.breaker.admit())
                .map(Arc::clone)
        })
        .or_else(|| endpoints.iter().find(|e| e.breaker.admit()).map(Arc::clone))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use bunbun_core::config::{HumanDuration, gateway::BreakerConfig};

    use super::{super::endpoint::Endpoint, choose};

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        (0..count)
            .map(|i| Arc::new(Endpoint::new(([127, 0, 0, 1], 1000 + i).into(), 0, 1)))
            .collect()
    }

    #[test]
    fn the_less_loaded_of_two_is_chosen() {
        let all = endpoints(2);
        all[0].in_flight.store(5, Ordering::Relaxed);
        for _ in 0..50 {
            assert_eq!(choose(&all, &[]).unwrap().address, all[1].address);
        }
    }

    #[test]
    fn broken_and_unhealthy_addresses_are_left_out_until_nothing_else_is_there() {
        let all = endpoints(3);
        let open = BreakerConfig {
            failures: 1,
            open_for: HumanDuration::seconds(3600),
        };
        all[0].breaker.failed(&open);
        all[1].healthy.store(false, Ordering::Relaxed);
        for _ in 0..50 {
            assert_eq!(choose(&all, &[]).unwrap().address, all[2].address);
        }
        all[2].breaker.failed(&open);
        assert_eq!(
            choose(&all, &[]).unwrap().address,
            all[1].address,
            "unhealthy beats open"
        );
        all[1].breaker.failed(&open);
        assert!(choose(&all, &[]).is_none());
    }

    #[test]
    fn a_half_open_address_gets_its_probe_while_others_serve() {
        let all = endpoints(2);
        let instant = BreakerConfig {
            failures: 1,
            open_for: HumanDuration::seconds(0),
        };
        all[0].breaker.failed(&instant);
        let chosen = std::iter::repeat_with(|| choose(&all, &[]).unwrap());
        let probe = chosen
            .take(1_000_000)
            .find(|chosen| chosen.address == all[0].address);
        assert!(probe.is_some());
        for _ in 0..50 {
            assert_eq!(
                choose(&all, &[]).unwrap().address,
                all[1].address,
                "one probe at a time"
            );
        }
    }

    #[test]
    fn a_retry_goes_elsewhere() {
        let all = endpoints(2);
        let tried = [Arc::clone(&all[0])];
        for _ in 0..50 {
            assert_eq!(choose(&all, &tried).unwrap().address, all[1].address);
        }
    }
}
