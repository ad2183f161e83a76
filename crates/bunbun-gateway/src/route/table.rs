//! The route table: an immutable snapshot that is swapped as a whole.

use std::{collections::HashMap, sync::Arc};

use http::Method;

use super::Route;

/// A host, or `*.domain` for one or more labels below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Every host that ends in this, which begins with a dot.
    Suffix(String),
}

impl HostPattern {
    /// Parses a pattern; letters in any case.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(suffix) if suffix.starts_with('.') => Self::Suffix(suffix.to_owned()),
            _ => Self::Exact(text),
        }
    }

    fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(own) => own.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => {
                host.len() > suffix.len()
                    && host
                        .get(host.len() - suffix.len()..)
                        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
            }
        }
    }
}

/// All routes, indexed by the first segment of their path. Among the routes that match, those
/// limited to hosts come first, then the longest path, then exact, then those limited to methods.
#[derive(Debug, Default)]
pub struct RouteTable {
    all: Vec<Arc<Route>>,
    hosted: Vec<Arc<Route>>,
    by_segment: HashMap<Box<str>, Vec<Arc<Route>>>,
    /// Routes whose path is `/`.
    rest: Vec<Arc<Route>>,
}

impl RouteTable {
    /// Sorts and indexes routes.
    #[must_use]
    pub fn new(mut routes: Vec<Arc<Route>>) -> Self {
        let mut table = Self {
            all: routes.clone(),
            ..Self::default()
        };
        routes.sort_by_key(|route| {
            let length = std::cmp::Reverse(route.path.len());
            (length, !route.exact, route.methods.is_empty())
        });
        for route in routes {
            if !route.hosts.is_empty() {
                table.hosted.push(route);
            } else if &*route.path == "/" && !route.exact {
                table.rest.push(route);
            } else {
                let segment = first_segment(&route.path).into();
                table.by_segment.entry(segment).or_default().push(route);
            }
        }
        table
    }

    /// The route for a host without port, a normalised path and a method.
    #[must_use]
    pub fn find(&self, host: &str, path: &str, method: &Method) -> Option<&Arc<Route>> {
        let fits = |route: &&Arc<Route>| {
            matches_path(route, path)
                && (route.methods.is_empty() || route.methods.contains(method))
        };
        let for_host =
            |route: &&Arc<Route>| route.hosts.iter().any(|pattern| pattern.matches(host));
        self.hosted
            .iter()
            .filter(for_host)
            .find(fits)
            .or_else(|| self.by_segment.get(first_segment(path))?.iter().find(fits))
            .or_else(|| self.rest.iter().find(fits))
    }

    /// All routes in the order of the configuration.
    #[must_use]
    pub fn routes(&self) -> &[Arc<Route>] {
        &self.all
    }
}

fn first_segment(path: &str) -> &str {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.split('/').next().unwrap_or_default()
}

/// A prefix matches by whole segments; one that ends in a slash matches what is below it.
fn matches_path(route: &Route, path: &str) -> bool {
    let own = &*route.path;
    if route.exact {
        return path == own;
    }
    match path.strip_prefix(own) {
        Some(rest) => rest.is_empty() || own.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}
