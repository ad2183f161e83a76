//! What the original has and this service does not yet: each path answers with the code that the
//! original gives where such a feature is turned off.

use axum::{Router, routing::any};

use crate::{
    error::{AuthError, Code},
    service::AuthService,
};

pub(super) fn router() -> Router<AuthService> {
    let mut router = Router::new();
    for path in [
        "/sso",
        "/sso/saml/metadata",
        "/sso/saml/acs",
        "/admin/sso/providers",
        "/admin/sso/providers/{id}",
    ] {
        router = router.route(path, any(saml));
    }
    for path in [
        "/passkeys",
        "/passkeys/{*rest}",
        "/user/passkeys",
        "/user/passkeys/{*rest}",
    ] {
        router = router.route(path, any(passkeys));
    }
    for path in [
        "/.well-known/oauth-authorization-server",
        "/oauth/{*rest}",
        "/user/oauth/{*rest}",
        "/admin/oauth/{*rest}",
        "/admin/custom-providers",
        "/admin/custom-providers/{*rest}",
        "/admin/scim-providers",
        "/admin/scim-providers/{*rest}",
        "/scim/v2/{*rest}",
    ] {
        router = router.route(path, any(other));
    }
    router
}

async fn saml() -> AuthError {
    AuthError::not_found(Code::SamlProviderDisabled, "SAML 2.0 is disabled")
}

async fn passkeys() -> AuthError {
    AuthError::not_found(Code::PasskeyDisabled, "Passkeys are disabled")
}

async fn other() -> AuthError {
    AuthError::not_found(Code::FeatureDisabled, "This feature is disabled")
}
