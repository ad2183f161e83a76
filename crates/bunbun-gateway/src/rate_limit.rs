//! Rate limits by GCRA (the leaky bucket that spreads a window's requests evenly): in memory, or
//! in Redis where nodes share it. When Redis is away the node's own memory decides, and a metric
//! counts it.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use bunbun_core::{
    config::gateway::{QuotaConfig, RateLimitBy, RateLimitConfig},
    jwt::Claims,
};
use bytes::Bytes;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use parking_lot::Mutex;
use redis::aio::ConnectionManager;
use tokio::sync::OnceCell;

type Memory = RateLimiter<u64, DashMapStateStore<u64>, DefaultClock, StateInformationMiddleware>;

/// How long Redis may take before memory decides.
const REDIS_TIMEOUT: Duration = Duration::from_millis(50);
/// How long it is left alone when it took longer, so that not every request waits in vain.
const REDIS_PAUSE: Duration = Duration::from_millis(500);

/// GCRA in one atomic step: the theoretical arrival time lies in the key, in microseconds of
/// Redis's own clock. Returns whether it is allowed, what remains, and the microseconds until one
/// more is allowed and until all are.
const SCRIPT: &str = r"
local emission, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local tat = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local burst = emission * limit
local after = tat + emission
if after - now > burst then
  return {0, 0, after - now - burst, tat - now}
end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1000)
return {1, math.floor((burst - (after - now)) / emission), 0, after - now}
";

/// What a caller is counted by.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'r> {
    /// The client's address.
    pub ip: std::net::IpAddr,
    /// The role or name of a valid key.
    pub key: Option<&'r str>,
    /// The user of a verified token.
    pub user: Option<&'r str>,
}

/// What the policy decided, and what the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may pass.
    pub allowed: bool,
    /// The quota.
    pub limit: u32,
    /// Requests left in it.
    pub remaining: u32,
    /// When all of the quota is there again.
    pub reset: Duration,
    /// When one more request will be allowed; zero where one is.
    pub retry_after: Duration,
    name: Arc<str>,
    /// `RateLimit-Policy`, made once.
    described: HeaderValue,
}

/// A named policy.
pub struct Policy {
    name: Arc<str>,
    by: RateLimitBy,
    standard: Counter,
    anonymous: Option<Counter>,
    users: Option<Counter>,
    hasher: RandomState,
    redis: Option<Arc<Shared>>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Policy({})", self.name)
    }
}

struct Counter {
    limit: u32,
    window: Duration,
    described: HeaderValue,
    memory: Memory,
}

impl Counter {
    fn new(name: &str, limit: u32, window: Duration) -> Result<Self, String> {
        let burst = NonZeroU32::new(limit).ok_or("limit must be at least 1")?;
        let quota = Quota::with_period(window / limit)
            .filter(|_| window >= Duration::from_millis(1))
            .ok_or("window must be at least 1ms")?
            .allow_burst(burst);
        let memory = RateLimiter::dashmap(quota).with_middleware::<StateInformationMiddleware>();
        let described = format!("\"{name}\";q={limit};w={}", seconds(window));
        let described = HeaderValue::try_from(described).map_err(|error| error.to_string())?;
        Ok(Self {
            limit,
            window,
            described,
            memory,
        })
    }

    fn emission(&self) -> Duration {
        self.window / self.limit
    }

    fn decide_in_memory(&self, key: u64) -> (bool, u32, Duration, Duration) {
        match self.memory.check_key(&key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity();
                let reset = self.emission() * self.limit.saturating_sub(remaining);
                (true, remaining, Duration::ZERO, reset)
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                (false, 0, wait, self.window)
            }
        }
    }
}

impl Policy {
    fn new(
        name: &str,
        config: &RateLimitConfig,
        redis: Option<Arc<Shared>>,
    ) -> Result<Self, String> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if name.is_empty() || !name.bytes().all(is_plain) {
            return Err("a policy's name is of letters, digits, '-' and '_'".to_owned());
        }
        let counter = |quota: &Option<QuotaConfig>| match quota {
            Some(QuotaConfig { limit, window }) => Counter::new(name, *limit, window.0).map(Some),
            None => Ok(None),
        };
        let (anonymous, users) = (counter(&config.anonymous)?, counter(&config.users)?);
        Ok(Self {
            name: name.into(),
            by: config.by,
            standard: Counter::new(name, config.limit, config.window.0)?,
            anonymous,
            users,
            hasher: RandomState::new(),
            redis,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it counts by.
    #[must_use]
    pub const fn by(&self) -> RateLimitBy {
        self.by
    }

    /// Counts a request and decides.
    pub async fn decide(&self, counted: Counted<'_>) -> Decision {
        let has_credential = counted.key.is_some() || counted.user.is_some();
        let is_user = counted.user.is_some() && counted.key != Some(Claims::SERVICE_ROLE);
        let (counter, kind) = match (&self.anonymous, &self.users) {
            (Some(anonymous), _) if !has_credential => (anonymous, "ip"),
            (_, Some(users)) if is_user => (users, "user"),
            _ => (&self.standard, "std"),
        };
        let ip;
        let (what, value) = match (self.by, counted.user, counted.key) {
            (RateLimitBy::User | RateLimitBy::Key, Some(user), _) if has_credential => {
                ("user", user)
            }
            (RateLimitBy::Key, None, Some(key)) => ("key", key),
            _ => {
                ip = counted.ip.to_string();
                ("ip", ip.as_str())
            }
        };
        let shared = match &self.redis {
            Some(redis) => Box::pin(redis.decide(&self.name, kind, what, value, counter)).await,
            None => None,
        };
        let (allowed, remaining, retry_after, reset) = shared
            .unwrap_or_else(|| counter.decide_in_memory(self.hasher.hash_one((kind, what, value))));
        Decision {
            allowed,
            limit: counter.limit,
            remaining,
            reset,
            retry_after,
            name: Arc::clone(&self.name),
            described: counter.described.clone(),
        }
    }
}

impl Decision {
    /// Writes `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11), the
    /// `X-RateLimit-*` headers that older clients read, and `Retry-After` where it is due.
    pub fn write(&self, headers: &mut HeaderMap) {
        let reset = seconds(self.reset);
        headers.insert(RATELIMIT_POLICY, self.described.clone());
        let mut text = Vec::with_capacity(self.name.len() + 32);
        let mut digits = itoa::Buffer::new();
        text.push(b'"');
        text.extend_from_slice(self.name.as_bytes());
        text.extend_from_slice(b"\";r=");
        text.extend_from_slice(digits.format(self.remaining).as_bytes());
        text.extend_from_slice(b";t=");
        text.extend_from_slice(digits.format(reset).as_bytes());
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            headers.insert(RATELIMIT, value);
        }
        headers.insert(X_RATELIMIT_LIMIT, HeaderValue::from(self.limit));
        headers.insert(X_RATELIMIT_REMAINING, HeaderValue::from(self.remaining));
        headers.insert(X_RATELIMIT_RESET, HeaderValue::from(reset));
        if !self.allowed {
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from(seconds(self.retry_after).max(1)),
            );
        }
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const X_RATELIMIT_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RATELIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Redis, connected at the first use.
struct Shared {
    client: redis::Client,
    script: redis::Script,
    connection: OnceCell<ConnectionManager>,
    /// After it did not answer, nobody waits for it until then.
    away_until: Mutex<Option<Instant>>,
}

impl Shared {
    async fn decide(
        &self,
        policy: &str,
        kind: &str,
        what: &str,
        value: &str,
        counter: &Counter,
    ) -> Option<(bool, u32, Duration, Duration)> {
        if self
            .away_until
            .lock()
            .is_some_and(|until| Instant::now() < until)
        {
            metrics::counter!("bunbun_rate_limit_fallback_total").increment(1);
            return None;
        }
        let deciding = async {
            let connection = self
                .connection
                .get_or_try_init(|| ConnectionManager::new(self.client.clone()))
                .await?;
            let value =
                bunbun_core::secret::hex(&bunbun_core::secret::digest(value.as_bytes())[..16]);
            let micros = u64::try_from(counter.emission().as_micros())
                .unwrap_or(u64::MAX)
                .max(1);
            self.script
                .key(format!("bunbun:ratelimit:{policy}:{kind}:{what}:{value}"))
                .arg(micros)
                .arg(counter.limit)
                .invoke_async::<(u8, u32, u64, u64)>(&mut connection.clone())
                .await
        };
        match tokio::time::timeout(REDIS_TIMEOUT, Box::pin(deciding)).await {
            Ok(Ok((allowed, remaining, wait, reset))) => {
                if self.away_until.lock().take().is_some() {
                    tracing::info!("redis answers again; rate limits are shared");
                }
                let micros = Duration::from_micros;
                Some((allowed == 1, remaining, micros(wait), micros(reset)))
            }
            failed => {
                metrics::counter!("bunbun_rate_limit_fallback_total").increment(1);
                let until = Instant::now() + REDIS_PAUSE;
                if self.away_until.lock().replace(until).is_none() {
                    let error = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".to_owned(),
                    };
                    tracing::warn!(error, "redis is away; this node counts rate limits alone");
                }
                None
            }
        }
    }
}

/// All policies; equal ones keep their counters over reloads.
#[derive(Default)]
pub struct Limits {
    redis: Option<Arc<Shared>>,
    known: Mutex<HashMap<String, (RateLimitConfig, Arc<Policy>)>>,
}

impl Limits {
    /// Counts in memory, or in Redis where a URL is given.
    ///
    /// # Errors
    /// When the URL is no Redis URL; it is not repeated in the error.
    pub fn new(redis_url: Option<&str>) -> Result<Self, &'static str> {
        let redis = match redis_url {
            Some(url) => {
                let client = redis::Client::open(url).map_err(|_| "REDIS_URL is no Redis URL")?;
                let script = redis::Script::new(SCRIPT);
                let connection = OnceCell::new();
                Some(Arc::new(Shared {
                    client,
                    script,
                    connection,
                    away_until: Mutex::default(),
                }))
            }
            None => None,
        };
        Ok(Self {
            redis,
            known: Mutex::default(),
        })
    }

    /// The policy of this name and configuration.
    ///
    /// # Errors
    /// When limit or window is impossible.
    pub fn policy(&self, name: &str, config: &RateLimitConfig) -> Result<Arc<Policy>, String> {
        let mut known = self.known.lock();
        if let Some((same, policy)) = known.get(name)
            && same == config
        {
            return Ok(Arc::clone(policy));
        }
        let policy = Arc::new(Policy::new(name, config, self.redis.clone())?);
        known.insert(name.to_owned(), (config.clone(), Arc::clone(&policy)));
        Ok(policy)
    }

    /// Forgets callers whose quota is whole again, so that memory follows the active ones.
    pub fn sweep(&self) {
        let policies: Vec<_> = self
            .known
            .lock()
            .values()
            .map(|(_, p)| Arc::clone(p))
            .collect();
        for policy in policies {
            let counters = [
                Some(&policy.standard),
                policy.anonymous.as_ref(),
                policy.users.as_ref(),
            ];
            for counter in counters.into_iter().flatten() {
                counter.memory.retain_recent();
                counter.memory.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bunbun_core::config::{
        HumanDuration,
        gateway::{QuotaConfig, RateLimitBy, RateLimitConfig},
    };
    use http::HeaderMap;

    use super::{Counted, Limits};

    fn config(by: RateLimitBy) -> RateLimitConfig {
        let hour = HumanDuration::seconds(3600);
        RateLimitConfig {
            limit: 3,
            window: hour,
            by,
            anonymous: Some(QuotaConfig {
                limit: 2,
                window: hour,
            }),
            users: None,
        }
    }

    fn counted<'r>(ip: &str, key: Option<&'r str>, user: Option<&'r str>) -> Counted<'r> {
        Counted {
            ip: ip.parse().unwrap(),
            key,
            user,
        }
    }

    #[tokio::test]
    async fn callers_are_counted_apart_and_strangers_by_address() {
        let policy = Limits::new(None)
            .unwrap()
            .policy("p", &config(RateLimitBy::Key))
            .unwrap();
        let allowed = async |c: Counted<'_>| policy.decide(c).await.allowed;
        for _ in 0..2 {
            assert!(allowed(counted("10.0.0.1", None, None)).await);
        }
        assert!(!allowed(counted("10.0.0.1", None, None)).await);
        assert!(allowed(counted("10.0.0.2", None, None)).await);
        for _ in 0..3 {
            assert!(allowed(counted("10.0.0.1", Some("anon"), None)).await);
        }
        assert!(
            !allowed(counted("10.9.9.9", Some("anon"), None)).await,
            "the key, wherever it is used"
        );
        assert!(allowed(counted("10.0.0.1", Some("anon"), Some("user-1"))).await);
    }

    #[tokio::test]
    async fn users_have_a_quota_of_their_own_and_owners_the_policys() {
        let users = Some(QuotaConfig {
            limit: 1,
            window: HumanDuration::seconds(3600),
        });
        let config = RateLimitConfig {
            users,
            ..config(RateLimitBy::Key)
        };
        let policy = Limits::new(None).unwrap().policy("p", &config).unwrap();
        let allowed = async |key, user| policy.decide(counted("10.0.0.1", key, user)).await.allowed;
        let signed_in = Some("authenticated");
        assert!(allowed(signed_in, Some("a")).await && !allowed(signed_in, Some("a")).await);
        assert!(allowed(signed_in, Some("b")).await, "each user");
        for _ in 0..3 {
            assert!(allowed(Some("service_role"), Some("owner")).await);
        }
        assert!(!allowed(Some("service_role"), Some("owner")).await);
    }

    #[tokio::test]
    async fn headers_tell_quota_rest_and_wait() {
        let policy = Limits::new(None)
            .unwrap()
            .policy("p", &config(RateLimitBy::Ip))
            .unwrap();
        let caller = counted("10.0.0.1", None, None);
        let mut headers = HeaderMap::new();
        policy.decide(caller).await.write(&mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"p\";q=2;w=3600");
        assert_eq!(headers["ratelimit"], "\"p\";r=1;t=1800");
        assert_eq!(headers["x-ratelimit-remaining"], "1");
        assert!(!headers.contains_key("retry-after"));
        policy.decide(caller).await;
        let refused = policy.decide(caller).await;
        assert!(!refused.allowed && refused.retry_after > Duration::from_secs(1700));
        refused.write(&mut headers);
        assert!(
            headers["retry-after"]
                .to_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
                > 1700
        );
    }

    #[test]
    fn impossible_policies_are_refused_and_equal_ones_shared() {
        let limits = Limits::new(None).unwrap();
        let zero = RateLimitConfig {
            limit: 0,
            ..config(RateLimitBy::Ip)
        };
        assert!(limits.policy("p", &zero).is_err());
        let first = limits.policy("p", &config(RateLimitBy::Ip)).unwrap();
        let second = limits.policy("p", &config(RateLimitBy::Ip)).unwrap();
        assert!(std::sync::Arc::ptr_eq(&first, &second));
        limits.sweep();
    }
}
