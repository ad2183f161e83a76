//! The dashboard's user name and password, and an end to guessing them.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use bunbun_core::secret::{self, ExposeSecret, SecretString};
use bunbun_http::identity;
use http::HeaderMap;
use moka::sync::Cache;

use crate::refusal::Refusal;

/// Wrong passwords of one address, after which it has to pause.
const MAX_WRONG: u32 = 10;
/// The pause, and how long a wrong password counts.
pub(crate) const PAUSE: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const MAX_ADDRESSES: u64 = 10_000;

/// User name and password of the dashboard.
#[derive(Debug)]
pub struct BasicCredentials {
    username: String,
    password: Option<SecretString>,
    /// How often an address was wrong lately.
    wrong: Cache<IpAddr, u32>,
}

impl BasicCredentials {
    /// Without a password, routes with basic auth are closed.
    #[must_use]
    pub fn new(username: String, password: Option<SecretString>) -> Self {
        let wrong = Cache::builder()
            .max_capacity(MAX_ADDRESSES)
            .time_to_live(PAUSE)
            .build();
        Self {
            username,
            password,
            wrong,
        }
    }

    /// Whether the request has both.
    ///
    /// # Errors
    /// The refusal; also for right ones from an address that guessed too often.
    pub(crate) fn check(&self, headers: &HeaderMap, client: IpAddr) -> Result<(), Refusal> {
        let (username, password) = identity::basic(headers).ok_or(Refusal::NoBasic)?;
        let own = self.password.as_ref().ok_or(Refusal::WrongBasic)?;
        let client = network(client);
        if self.wrong.get(&client).is_some_and(|n| n >= MAX_WRONG) {
            return Err(Refusal::TooManyGuesses);
        }
        // Both are compared in full, so that the time does not tell which one was wrong.
        let right = secret::equal(
            &secret::digest(username.as_bytes()),
            &secret::digest(self.username.as_bytes()),
        ) & secret::equal(
            &secret::digest(password.as_bytes()),
            &secret::digest(own.expose_secret().as_bytes()),
        );
        if right {
            return Ok(());
        }
        self.wrong
            .entry(client)
            .and_upsert_with(|before| before.map_or(1, |n| n.into_value().saturating_add(1)));
        Err(Refusal::WrongBasic)
    }
}

/// A customer has a whole /64 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use http::{HeaderMap, header::AUTHORIZATION};

    use super::{BasicCredentials, MAX_WRONG};
    use crate::refusal::Refusal;

    fn given(password: &str) -> HeaderMap {
        let text = format!("Basic {}", BASE64_STANDARD.encode(format!("me:{password}")));
        [(AUTHORIZATION, text.parse().unwrap())]
            .into_iter()
            .collect()
    }

    #[test]
    fn whoever_guesses_has_to_pause_and_nobody_else() {
        let basic = BasicCredentials::new("me".to_owned(), Some("right".into()));
        let check = |password: &str, ip: &str| basic.check(&given(password), ip.parse().unwrap());
        for _ in 0..MAX_WRONG {
            assert!(check("right", "192.0.2.1").is_ok());
            assert!(matches!(
                check("wrong", "192.0.2.1"),
                Err(Refusal::WrongBasic)
            ));
        }
        assert!(matches!(
            check("right", "192.0.2.1"),
            Err(Refusal::TooManyGuesses)
        ));
        assert!(check("right", "192.0.2.2").is_ok());
        for n in 0..MAX_WRONG {
            assert!(check("wrong", &format!("2001:db8::{n:x}")).is_err());
        }
        assert!(matches!(
            check("right", "2001:db8::ffff"),
            Err(Refusal::TooManyGuesses)
        ));
        assert!(check("right", "2001:db8:0:1::1").is_ok());
    }
}
