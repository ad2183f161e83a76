//! `bunbun import kong`: whatever the file, its translation survives being written and read, and
//! names nothing that is not there.

#![no_main]

use std::collections::HashSet;

use bunbun_core::config::GatewayConfig;
use bunbun_gateway::{import::kong, path::normalise};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|yaml: &str| {
    let Ok(imported) = kong::import(yaml) else {
        return;
    };
    let file: toml::Table = imported.to_toml().parse().expect("valid TOML");
    assert_eq!(file.len(), 1, "a comment became content");
    let back: GatewayConfig = file["gateway"].clone().try_into().expect("a valid section");
    assert_eq!(format!("{back:?}"), format!("{:?}", imported.config));

    let config = &imported.config;
    let mut names = HashSet::new();
    for route in &config.routes {
        assert!(!route.name.is_empty() && route.name.len() <= 100);
        assert!(
            names.insert(&route.name),
            "two routes are called {}",
            route.name
        );
        assert_eq!(normalise(&route.path).as_deref(), Ok(route.path.as_str()));
        assert!(route.rewrite.starts_with('/'));
        assert!(!(route.preserve_host && route.host.is_some()));
        let destinations = [
            route.slot.is_some(),
            route.upstream.is_some(),
            !route.split.is_empty(),
            route.respond.is_some(),
        ];
        assert_eq!(
            destinations.iter().filter(|given| **given).count(),
            1,
            "{route:?}"
        );
        let sides = route.split.iter().map(|side| &side.upstream);
        for upstream in route.upstream.iter().chain(sides) {
            assert!(!config.upstreams[upstream].urls.is_empty());
        }
        let shares: u32 = route.split.iter().map(|side| u32::from(side.percent)).sum();
        assert!(route.split.is_empty() || shares == 100);
        if let Some(policy) = &route.rate_limit {
            assert!(config.rate_limits[policy].limit > 0);
        }
    }
    for (name, value) in &imported.environment {
        assert!(!name.contains('=') && !value.contains('\n'));
    }
    for entry in &imported.untranslated {
        assert!(!entry.path.is_empty() && !entry.reason.is_empty() && !entry.hint.is_empty());
    }
});
