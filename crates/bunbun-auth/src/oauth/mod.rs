//! OAuth providers.

use std::sync::Arc;

use bunbun_core::{clock::Clock, config::auth::ProviderConfig};

/// The configured providers.
pub(crate) struct Providers {
    #[expect(dead_code, reason = "under construction")]
    list: Vec<ProviderConfig>,
}

impl Providers {
    pub(crate) fn new(
        list: &[ProviderConfig],
        _http: reqwest::Client,
        _clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            list: list.to_vec(),
        }
    }
}
