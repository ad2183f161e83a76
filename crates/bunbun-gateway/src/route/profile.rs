//! The built-in routes, and how a user's routes join them.

use bunbun_core::config::{
    Dialect,
    gateway::{Access, GatewayConfig, RouteConfig},
};

/// The built-in profile as TOML, comments and all.
pub const TOML: &str = include_str!("../profile.toml");

/// The built-in profile.
///
/// # Panics
/// Never: a test parses it.
#[must_use]
pub fn builtin() -> GatewayConfig {
    toml::from_str(TOML).expect("the built-in profile is valid")
}

/// The built-in profile with the user's routes, upstreams and policies. A user's route or policy
/// replaces the built-in one of the same name.
#[must_use]
pub fn with(user: &GatewayConfig) -> GatewayConfig {
    let mut merged = builtin();
    if user.dialect != Dialect::Envoy {
        loosen_as_kong(&mut merged.routes);
    }
    merged
        .routes
        .retain(|route| user.routes.iter().all(|own| own.name != route.name));
    merged.routes.extend(user.routes.iter().cloned());
    merged.rate_limits.extend(user.rate_limits.clone());
    merged.upstreams = user.upstreams.clone();
    merged.dialect = user.dialect;
    merged
}

/// Kong lets the anon key read the schema's document, and unknown keys reach functions.
fn loosen_as_kong(routes: &mut [RouteConfig]) {
    for route in routes {
        match route.name.as_str() {
            "rest-root" => route.access = Access::Key,
            "functions" => route.access = Access::Open,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bunbun_core::config::gateway::{GatewayConfig, RouteConfig};

    use super::{builtin, with};

    #[test]
    fn the_profile_is_valid_and_its_names_are_unique() {
        let profile = builtin();
        for (i, route) in profile.routes.iter().enumerate() {
            assert!(
                profile.routes[..i].iter().all(|r| r.name != route.name),
                "{}",
                route.name
            );
        }
    }

    #[test]
    fn a_users_route_replaces_the_builtin_one_of_its_name() {
        let own = RouteConfig {
            name: "rest-root".into(),
            path: "/rest/v1/".into(),
            ..RouteConfig::default()
        };
        let merged = with(&GatewayConfig {
            routes: vec![own],
            ..GatewayConfig::default()
        });
        assert_eq!(
            merged
                .routes
                .iter()
                .filter(|r| r.name == "rest-root")
                .count(),
            1
        );
        assert_eq!(merged.routes.len(), builtin().routes.len());
    }
}
