//! The fourth phase: may this caller use this route now?

use std::net::IpAddr;

use bunbun_core::{
    config::gateway::{Access, RateLimitBy},
    project::{KeyRole, Project},
};
use bunbun_http::{Caller, identity};
use http::HeaderMap;

use crate::{
    basic::BasicCredentials,
    identify::Key,
    rate_limit::{Counted, Decision},
    refusal::Refusal,
    route::Route,
};

/// The caller of a request as far as its route needs to know.
pub(crate) struct Admission<'r> {
    pub(crate) route: &'r Route,
    pub(crate) project: &'r Project,
    pub(crate) key: &'r Key<'r>,
    pub(crate) headers: &'r HeaderMap,
    pub(crate) client_ip: IpAddr,
    /// Verified where the route is our own or asks for users, roles or scopes.
    pub(crate) caller: Option<Caller>,
}

impl<'r> Admission<'r> {
    pub(crate) fn new(
        route: &'r Route,
        project: &'r Project,
        key: &'r Key<'r>,
        headers: &'r HeaderMap,
        client_ip: IpAddr,
    ) -> Self {
        let counts_users = route
            .policy
            .as_ref()
            .is_some_and(|policy| policy.by() == RateLimitBy::User);
        let needs_caller = route.own
            || route.access == Access::User
            || !route.roles.is_empty()
            || !route.scopes.is_empty()
            || counts_users
            || route.sticky == Some(RateLimitBy::User);
        let caller = needs_caller
            .then(|| identity::caller(project, headers))
            .flatten();
        Self {
            route,
            project,
            key,
            headers,
            client_ip,
            caller,
        }
    }

    /// Closed routes and addresses; before anything else is looked at.
    pub(crate) fn check_address(&self) -> Result<(), Refusal> {
        if self.route.access == Access::Deny {
            return Err(Refusal::Closed);
        }
        let within = |list: &[ipnet::IpNet]| list.iter().any(|net| net.contains(&self.client_ip));
        if within(&self.route.deny_ips)
            || (!self.route.allow_ips.is_empty() && !within(&self.route.allow_ips))
        {
            return Err(Refusal::AddressDenied);
        }
        Ok(())
    }

    /// The credential that the route asks for.
    pub(crate) fn check_credential(&self, basic: &BasicCredentials) -> Result<(), Refusal> {
        match self.route.access {
            Access::Open | Access::Deny => {}
            Access::OpenKnownKey => self.check_opaque()?,
            Access::Key => {
                self.role()?;
            }
            Access::ServiceRole => {
                if self.role()? != KeyRole::ServiceRole {
                    return Err(Refusal::WrongRole);
                }
            }
            Access::User => {
                let caller = self.caller.as_ref().ok_or(Refusal::NoUser)?;
                if caller.user().is_none() && !caller.is_service_role() {
                    return Err(Refusal::NoUser);
                }
            }
            Access::Basic => basic.check(self.headers, self.client_ip)?,
        }
        self.check_roles_and_scopes()
    }

    fn role(&self) -> Result<KeyRole, Refusal> {
        match self.key {
            Key::Missing => Err(Refusal::NoKey),
            Key::Duplicate => Err(Refusal::DuplicateKey),
            Key::Unknown { .. } => Err(Refusal::WrongKey),
            Key::Known { found, .. } => Ok(found.role),
        }
    }

    /// Opaque keys must be the project's wherever they stand, and the same one where there are
    /// two; other keys are the service's matter.
    fn check_opaque(&self) -> Result<(), Refusal> {
        let in_bearer =
            identity::bearer(self.headers).filter(|t| t.starts_with(Project::OPAQUE_PREFIX));
        let wrong = in_bearer.is_some_and(|bearer| match self.key {
            Key::Known { value, .. } if value.starts_with(Project::OPAQUE_PREFIX) => {
                value != bearer
            }
            _ => self.project.identify_key(bearer).is_none(),
        });
        if wrong || matches!(self.key, Key::Unknown { opaque: true } | Key::Duplicate) {
            return Err(Refusal::WrongKey);
        }
        Ok(())
    }

    fn check_roles_and_scopes(&self) -> Result<(), Refusal> {
        let (roles, scopes) = (&self.route.roles, &self.route.scopes);
        if roles.is_empty() && scopes.is_empty() {
            return Ok(());
        }
        let caller = self.caller.as_ref().ok_or(Refusal::NoUser)?;
        if !roles.is_empty() && !roles.iter().any(|role| role == caller.role()) {
            return Err(Refusal::WrongRole);
        }
        let granted = match caller {
            Caller::Token(claims) => claims.scopes(),
            Caller::Key(_) => Vec::new(),
        };
        if scopes.iter().all(|scope| granted.contains(&scope.as_str())) {
            Ok(())
        } else {
            Err(Refusal::WrongRole)
        }
    }

    /// Counts the request against the route's policy.
    pub(crate) async fn count(&self) -> Option<Decision> {
        let policy = self.route.policy.as_ref()?;
        let caller = self.caller.as_ref();
        let key = match caller {
            Some(caller) => Some(caller.role()),
            None => self.key.role().map(KeyRole::as_str),
        };
        let user = caller.and_then(Caller::user);
        Some(
            policy
                .decide(Counted {
                    ip: self.client_ip,
                    key,
                    user,
                })
                .await,
        )
    }
}
