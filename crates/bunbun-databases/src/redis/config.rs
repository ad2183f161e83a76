//! A stored connection's settings, as this engine needs them.

use std::sync::Arc;

use bunbun_core::egress::Egress;

use super::{connection::Dialer, error::invalid, stream::Address};
use crate::{
    Error,
    connection::{Limits, Options, Settings},
    tls,
};

/// The port when none is given.
const DEFAULT_PORT: u16 = 6379;

/// What to connect to and how.
pub(super) struct Config {
    pub(super) seeds: Vec<Address>,
    /// The name that the sentinels know the server by.
    pub(super) master: Option<String>,
    pub(super) dialer: Arc<Dialer>,
}

impl Config {
    pub(super) fn new(
        settings: &Settings,
        egress: &Egress,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let database = match settings.database.as_deref() {
            None | Some("") => 0,
            Some(text) => text
                .parse::<u16>()
                .map_err(|_| invalid("The database of a Redis connection is a number."))?
                .into(),
        };
        let seeds: Vec<_> = settings
            .hosts
            .iter()
            .map(|host| Address {
                host: host.name.clone(),
                port: if host.port == 0 {
                    DEFAULT_PORT
                } else {
                    host.port
                },
            })
            .collect();
        if seeds.is_empty() {
            return Err(invalid("A Redis connection needs a host."));
        }
        Ok(Self {
            seeds,
            master: match &settings.options {
                Options::Redis(options) => options.sentinel_master.clone(),
                _ => None,
            },
            dialer: Arc::new(Dialer {
                egress: egress.clone(),
                tls: tls::client_config(settings.tls, settings.options.ca_certificate())?,
                username: settings.username.clone(),
                password: settings.password.clone(),
                database,
                connect_timeout: limits.connect_timeout,
                operation_timeout: limits.operation_timeout,
            }),
        })
    }
}
