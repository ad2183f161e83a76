//! Limits per address: token buckets in memory (GCRA), bounded, on the service's clock.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::Arc,
};

use bunbun_core::{clock::Clock, config::auth::AuthRateLimits};
use parking_lot::Mutex;

use crate::error::{AuthError, Code, Result};

const SHARDS: usize = 16;
/// Buckets per shard; beyond that, full ones are forgotten first.
const MAX_BUCKETS: usize = 20_000;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Token,
    Verify,
    Otp,
    Anonymous,
    Mfa,
    /// Mails of the whole project.
    Mails,
    /// Mails to one address that confirm it.
    ConfirmationMail,
    /// Mails to one address that sign in.
    RecoveryMail,
    /// Mails to one address with a code for a user who is there.
    ReauthenticationMail,
    /// Wrong codes for one address or factor.
    Guesses,
}

/// Requests per period.
#[derive(Debug, Clone, Copy)]
struct Rate {
    limit: u32,
    period_ms: i64,
    burst: u32,
}

/// All limits of a project.
pub(crate) struct RateLimits {
    clock: Arc<dyn Clock>,
    rates: AuthRateLimits,
    mail_interval_ms: i64,
    hasher: RandomState,
    /// When each bucket is full again, in milliseconds.
    shards: [Mutex<HashMap<u64, i64>>; SHARDS],
}

impl RateLimits {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        rates: AuthRateLimits,
        mail_interval: std::time::Duration,
    ) -> Self {
        Self {
            clock,
            rates,
            mail_interval_ms: i64::try_from(mail_interval.as_millis()).unwrap_or(i64::MAX),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// Counts a request from an address.
    ///
    /// # Errors
    /// 429 `over_request_rate_limit`.
    pub(crate) fn request(&self, what: What, client: IpAddr) -> Result<()> {
        // A customer has a whole /64 of IPv6.
        let key = match client {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => {
                let mut octets = ip.octets();
                octets[8..].fill(0);
                IpAddr::from(octets)
            }
        };
        self.take(what, &key).map_err(|wait_s| {
            AuthError::too_many(
                Code::OverRequestRateLimit,
                "Request rate limit reached",
                wait_s,
            )
        })
    }

    /// Counts a mail that someone asked for, whether or not the address is known: what differs
    /// would tell.
    ///
    /// # Errors
    /// 429 `over_email_send_rate_limit`.
    pub(crate) fn mail(&self, what: What, address: &str) -> Result<()> {
        self.any_mail()?;
        self.take(what, &address).map_err(|wait_s| {
            AuthError::too_many(
                Code::OverEmailSendRateLimit,
                format!("For security purposes, you can only request this after {wait_s} seconds."),
                wait_s,
            )
        })
    }

    /// Refuses a mail that an operator or a user who is known asks for, when there were too many.
    ///
    /// # Errors
    /// 429 `over_email_send_rate_limit`.
    pub(crate) fn any_mail(&self) -> Result<()> {
        if self.mails_exhausted() {
            return Err(AuthError::too_many(
                Code::OverEmailSendRateLimit,
                "email rate limit exceeded",
                60,
            ));
        }
        Ok(())
    }

    /// Counts a mail that is sent.
    pub(crate) fn mail_sent(&self) {
        let _ = self.take(What::Mails, &());
    }

    /// Refuses further guesses at a code.
    ///
    /// # Errors
    /// 429 `over_request_rate_limit`.
    pub(crate) fn guess(&self, subject: &str) -> Result<()> {
        self.take(What::Guesses, &subject).map_err(|wait_s| {
            AuthError::too_many(
                Code::OverRequestRateLimit,
                "Request rate limit reached",
                wait_s,
            )
        })
    }

    fn mails_exhausted(&self) -> bool {
        let Some(rate) = self.rate(What::Mails) else {
            return false;
        };
        let key = self.hasher.hash_one((What::Mails, ()));
        let full_at = self.shard(key).lock().get(&key).copied().unwrap_or(0);
        wait_ms(full_at, self.now_ms(), rate).is_some()
    }

    fn take(&self, what: What, key: &impl std::hash::Hash) -> Result<(), u64> {
        let Some(rate) = self.rate(what) else {
            return Ok(());
        };
        let key = self.hasher.hash_one((what, key));
        let now = self.now_ms();
        let mut buckets = self.shard(key).lock();
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, full_at| *full_at > now);
            if buckets.len() >= MAX_BUCKETS {
                // More live addresses than fit: the limit yields, the memory does not. Those who
                // have asked least are forgotten first, so that a flood does not wash away those
                // who are held back.
                let mut all: Vec<i64> = buckets.values().copied().collect();
                let middle = all.len() / 2;
                let median = *all.select_nth_unstable(middle).1;
                buckets.retain(|_, full_at| *full_at > median);
            }
        }
        let full_at = buckets.entry(key).or_insert(now);
        if let Some(wait) = wait_ms(*full_at, now, rate) {
            return Err(u64::try_from((wait + 999) / 1000).unwrap_or(1));
        }
        *full_at = (*full_at).max(now) + rate.period_ms / i64::from(rate.limit);
        Ok(())
    }

    fn rate(&self, what: What) -> Option<Rate> {
        const MINUTE: i64 = 60_000;
        let (limit, period_ms, burst) = match what {
            What::Token => (self.rates.token, 5 * MINUTE, 30),
            What::Verify => (self.rates.verify, 5 * MINUTE, 30),
            What::Otp => (self.rates.otp, 5 * MINUTE, 30),
            What::Anonymous => (self.rates.anonymous, 60 * MINUTE, self.rates.anonymous),
            What::Mfa => (self.rates.mfa, MINUTE, 30),
            What::Mails => (self.rates.email_sent, 60 * MINUTE, self.rates.email_sent),
            What::ConfirmationMail | What::RecoveryMail | What::ReauthenticationMail => {
                return (self.mail_interval_ms > 0).then_some(Rate {
                    limit: 1,
                    period_ms: self.mail_interval_ms,
                    burst: 1,
                });
            }
            What::Guesses => (30, 10 * MINUTE, 20),
        };
        (limit > 0).then_some(Rate {
            limit,
            period_ms,
            burst: burst.max(1),
        })
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, i64>> {
        &self.shards[usize::try_from(key % SHARDS as u64).unwrap_or(0)]
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.clock.now().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
    }
}

/// How long until the bucket has room for one more.
fn wait_ms(full_at: i64, now: i64, rate: Rate) -> Option<i64> {
    let each = rate.period_ms / i64::from(rate.limit);
    let earliest = full_at - each * (i64::from(rate.burst) - 1);
    (now < earliest).then_some(earliest - now)
}

#[cfg(test)]
mod tests {
    use std::{net::IpAddr, sync::Arc, time::Duration};

    use bunbun_core::{clock::ManualClock, config::auth::AuthRateLimits};

    use super::{RateLimits, What};

    fn limits(rates: AuthRateLimits) -> (Arc<ManualClock>, RateLimits) {
        let clock = Arc::new(ManualClock::at(1_700_000_000));
        let shared: Arc<ManualClock> = Arc::clone(&clock);
        (
            clock,
            RateLimits::new(shared, rates, Duration::from_secs(60)),
        )
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (clock, limits) = limits(AuthRateLimits {
            otp: 30,
            ..AuthRateLimits::default()
        });
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..30 {
            limits.request(What::Otp, ip).unwrap();
        }
        let error = limits.request(What::Otp, ip).unwrap_err();
        assert_eq!(error.status(), 429);
        limits
            .request(What::Otp, "192.0.2.2".parse().unwrap())
            .unwrap();
        clock.advance(10);
        limits.request(What::Otp, ip).unwrap();
        assert!(limits.request(What::Otp, ip).is_err());
    }

    #[test]
    fn neighbours_in_one_network_of_ipv6_share_a_bucket() {
        let (_, limits) = limits(AuthRateLimits {
            anonymous: 1,
            ..AuthRateLimits::default()
        });
        limits
            .request(What::Anonymous, "2001:db8::1".parse().unwrap())
            .unwrap();
        assert!(
            limits
                .request(What::Anonymous, "2001:db8::ffff".parse().unwrap())
                .is_err()
        );
        limits
            .request(What::Anonymous, "2001:db8:0:1::1".parse().unwrap())
            .unwrap();
    }

    #[test]
    fn a_flood_does_not_wash_away_who_is_held_back() {
        let (_, limits) = limits(AuthRateLimits::default());
        while limits.guess("code a@b.c").is_ok() {}
        for n in 0..(super::SHARDS * super::MAX_BUCKETS * 2) {
            limits
                .mail(What::RecoveryMail, &format!("{n}@b.c"))
                .unwrap();
        }
        assert!(limits.guess("code a@b.c").is_err());
        let kept: usize = limits.shards.iter().map(|shard| shard.lock().len()).sum();
        assert!(kept <= super::SHARDS * super::MAX_BUCKETS, "{kept}");
    }

    #[test]
    fn mails_to_one_address_keep_their_distance() {
        let (clock, limits) = limits(AuthRateLimits::default());
        limits.mail(What::RecoveryMail, "a@b.c").unwrap();
        let error = limits.mail(What::RecoveryMail, "a@b.c").unwrap_err();
        assert!(error.message().contains("after 6"), "{}", error.message());
        limits.mail(What::ConfirmationMail, "a@b.c").unwrap();
        clock.advance(61);
        limits.mail(What::RecoveryMail, "a@b.c").unwrap();
    }

    #[test]
    fn the_projects_budget_of_mails_ends_for_everyone() {
        let (_, limits) = limits(AuthRateLimits {
            email_sent: 2,
            ..AuthRateLimits::default()
        });
        for address in ["a@b.c", "b@b.c"] {
            limits.mail(What::RecoveryMail, address).unwrap();
            limits.mail_sent();
        }
        assert!(limits.mail(What::RecoveryMail, "c@b.c").is_err());
    }
}
