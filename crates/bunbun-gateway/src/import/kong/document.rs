//! The declarative file as typed entities, with every reference resolved.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::{
    super::ImportError,
    consumers::{self, Consumer},
    fields::{Fields, Findings, Outcome, label, shown},
    plugins::{self, Plugin},
    services::{self, Service},
    upstreams::{self, Upstream},
};

/// Most entities of one kind; the work and the result stay bounded by it.
const MAX_ENTITIES: usize = 5_000;

/// Which rules hold for paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// Format 1.1 and 2.1: a path with an unusual character is a regular expression.
    Two,
    /// Format 3.0: only a path that begins with `~` is one.
    Three,
}

/// What a plugin applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Every request.
    Global,
    /// The routes of a service.
    Service(usize),
    /// One route.
    Route(usize),
    /// The requests of one consumer.
    Consumer(usize),
}

/// A route.
#[derive(Debug)]
pub(super) struct Route {
    /// Where it stands.
    pub(super) label: String,
    /// Its name, if it has one.
    pub(super) name: Option<String>,
    /// Its service.
    pub(super) service: Option<usize>,
    /// Paths, as written.
    pub(super) paths: Vec<String>,
    /// Host names.
    pub(super) hosts: Vec<String>,
    /// Methods.
    pub(super) methods: Vec<String>,
    /// Whether the matched path is taken away.
    pub(super) strip_path: bool,
    /// Whether the client's host is sent on.
    pub(super) preserve_host: bool,
    /// The field by which it matches something other than path, host and method.
    pub(super) condition: Option<&'static str>,
    /// Whether something before the proxying may refuse requests in a way that is not known.
    pub(super) guarded: bool,
}

/// The whole file.
#[derive(Debug)]
pub(super) struct Document {
    /// Which rules hold for paths.
    pub(super) generation: Generation,
    /// Services.
    pub(super) services: Vec<Service>,
    /// Routes, in the order of the file.
    pub(super) routes: Vec<Route>,
    /// Upstreams with their targets.
    pub(super) upstreams: Vec<Upstream>,
    /// Consumers with their credentials.
    pub(super) consumers: Vec<Consumer>,
    /// Plugins of every scope.
    pub(super) plugins: Vec<(Scope, Plugin)>,
}

/// Finds entities by name or id.
#[derive(Debug, Default)]
struct Index(HashMap<String, usize>);

impl Index {
    fn add(&mut self, path: &str, names: [Option<&String>; 2], at: usize) -> Outcome<()> {
        for name in names.into_iter().flatten() {
            if self.0.insert(name.clone(), at).is_some_and(|old| old != at) {
                return Err(ImportError::Duplicate {
                    path: path.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The entity that a field refers to.
    fn find(&self, fields: &mut Fields, key: &str) -> Outcome<Option<usize>> {
        let Some(name) = fields.reference(key)? else {
            return Ok(None);
        };
        self.0
            .get(&name)
            .copied()
            .map(Some)
            .ok_or_else(|| ImportError::Reference {
                path: fields.at(key),
            })
    }
}

/// Reads the file. In three steps, since anything may refer to what stands below it: entities,
/// then plugins and credentials.
pub(super) fn read(tree: Value, findings: &mut Findings) -> Outcome<Document> {
    let mut root = Fields::new(tree, String::new())?;
    let generation = generation(&mut root)?;
    let mut reader = Reader {
        document: Document {
            generation,
            services: Vec::new(),
            routes: Vec::new(),
            upstreams: Vec::new(),
            consumers: Vec::new(),
            plugins: Vec::new(),
        },
        services: Index::default(),
        routes: Index::default(),
        upstreams: Index::default(),
        consumers: Index::default(),
        plugins: Vec::new(),
        findings,
    };
    for (at, value) in root.list("upstreams")?.into_iter().enumerate() {
        reader.upstream(value, at)?;
    }
    for (at, value) in root.list("consumers")?.into_iter().enumerate() {
        reader.consumer(value, at)?;
    }
    for (at, value) in root.list("services")?.into_iter().enumerate() {
        reader.service(value, at)?;
    }
    for (at, value) in root.list("routes")?.into_iter().enumerate() {
        reader.route(value, "", at, None)?;
    }
    for (at, value) in root.list("plugins")?.into_iter().enumerate() {
        reader
            .plugins
            .push(Pending::new(value, "", at, Scope::Global));
    }
    reader.flat_entities(&mut root)?;
    reader.read_plugins()?;
    let Reader {
        document, findings, ..
    } = reader;
    for key in ["certificates", "snis"] {
        let hint = "set TLS_CERT_FILE and TLS_KEY_FILE";
        root.expect(key, &json!([]), findings, hint);
    }
    root.finish(
        findings,
        "see docs/gateway.md for what BunBun offers instead",
    );
    Ok(document)
}

fn generation(root: &mut Fields) -> Outcome<Generation> {
    match root.text("_format_version")?.as_deref() {
        Some("1.1" | "2.1") => Ok(Generation::Two),
        // `3.0` without quotes is a number.
        Some("3.0" | "3") => Ok(Generation::Three),
        _ => Err(ImportError::FormatVersion),
    }
}

/// A plugin that waits until everything it may refer to is known.
struct Pending {
    value: Value,
    label: String,
    scope: Scope,
}

impl Pending {
    fn new(value: Value, parent: &str, at: usize, scope: Scope) -> Self {
        let name = value.get("name").and_then(Value::as_str);
        let label = label(parent, "plugins", name, at);
        Self {
            value,
            label,
            scope,
        }
    }
}

struct Reader<'f> {
    document: Document,
    services: Index,
    routes: Index,
    upstreams: Index,
    consumers: Index,
    plugins: Vec<Pending>,
    findings: &'f mut Findings,
}

/// A mapping with its name and id.
struct Entity {
    fields: Fields,
    name: Option<String>,
    id: Option<String>,
}

impl Entity {
    fn read(value: Value, parent: &str, list: &str, key: &str, at: usize) -> Outcome<Self> {
        if at >= MAX_ENTITIES {
            return Err(ImportError::TooMany {
                what: "entities of one kind",
                limit: MAX_ENTITIES,
            });
        }
        let mut fields = Fields::new(value, label(parent, list, None, at))?;
        let name = fields.text(key)?;
        fields.path = label(parent, list, name.as_deref(), at);
        let id = fields.text("id")?;
        Ok(Self { fields, name, id })
    }
}

impl Reader<'_> {
    fn upstream(&mut self, value: Value, at: usize) -> Outcome<()> {
        let mut entity = Entity::read(value, "", "upstreams", "name", at)?;
        let names = [entity.name.as_ref(), entity.id.as_ref()];
        self.upstreams.add(&entity.fields.path, names, at)?;
        let name = entity.name.take().unwrap_or_default();
        let upstream = upstreams::read_upstream(entity.fields, name, self.findings)?;
        self.document.upstreams.push(upstream);
        Ok(())
    }

    fn consumer(&mut self, value: Value, at: usize) -> Outcome<()> {
        let mut entity = Entity::read(value, "", "consumers", "username", at)?;
        let names = [entity.name.as_ref(), entity.id.as_ref()];
        self.consumers.add(&entity.fields.path, names, at)?;
        self.pend(&mut entity.fields, Scope::Consumer(at))?;
        let username = entity.name.take().unwrap_or_default();
        let consumer = consumers::read(entity.fields, username, self.findings)?;
        self.document.consumers.push(consumer);
        Ok(())
    }

    fn service(&mut self, value: Value, at: usize) -> Outcome<()> {
        let mut entity = Entity::read(value, "", "services", "name", at)?;
        let names = [entity.name.as_ref(), entity.id.as_ref()];
        self.services.add(&entity.fields.path, names, at)?;
        self.pend(&mut entity.fields, Scope::Service(at))?;
        let path = entity.fields.path.clone();
        for (position, value) in entity.fields.list("routes")?.into_iter().enumerate() {
            self.route(value, &path, position, Some(at))?;
        }
        let service = services::read_service(entity.fields, entity.name, self.findings)?;
        self.document.services.push(service);
        Ok(())
    }

    fn route(
        &mut self,
        value: Value,
        parent: &str,
        position: usize,
        service: Option<usize>,
    ) -> Outcome<()> {
        let at = self.document.routes.len();
        if at >= MAX_ENTITIES {
            return Err(ImportError::TooMany {
                what: "routes",
                limit: MAX_ENTITIES,
            });
        }
        let mut entity = Entity::read(value, parent, "routes", "name", position)?;
        let fields = &mut entity.fields;
        let names = [entity.name.as_ref(), entity.id.as_ref()];
        self.routes.add(&fields.path, names, at)?;
        self.pend(fields, Scope::Route(at))?;
        let service = match self.services.find(fields, "service")? {
            Some(named) => Some(named),
            None => service,
        };
        let route = read_route(entity.fields, entity.name, service, self.findings)?;
        self.document.routes.push(route);
        Ok(())
    }

    fn pend(&mut self, fields: &mut Fields, scope: Scope) -> Outcome<()> {
        for (at, value) in fields.list("plugins")?.into_iter().enumerate() {
            let pending = Pending::new(value, &fields.path, at, scope);
            self.plugins.push(pending);
        }
        Ok(())
    }

    /// Credentials, groups and targets that stand at the top and name their owner.
    fn flat_entities(&mut self, root: &mut Fields) -> Outcome<()> {
        for list in consumers::CREDENTIALS {
            for (at, value) in root.list(list)?.into_iter().enumerate() {
                let mut fields = Fields::new(value, label("", list, None, at))?;
                if let Some(owner) = self.consumers.find(&mut fields, "consumer")? {
                    let consumer = &mut self.document.consumers[owner];
                    consumer.credential(list, fields, self.findings)?;
                } else {
                    fields.finish(self.findings, "it names no consumer");
                }
            }
        }
        for (at, value) in root.list("targets")?.into_iter().enumerate() {
            let mut fields = Fields::new(value, label("", "targets", None, at))?;
            if let Some(owner) = self.upstreams.find(&mut fields, "upstream")? {
                let upstream = &mut self.document.upstreams[owner];
                upstream.target(fields, self.findings)?;
            }
        }
        Ok(())
    }

    fn read_plugins(&mut self) -> Outcome<()> {
        let pending = std::mem::take(&mut self.plugins);
        if pending.len() > MAX_ENTITIES {
            return Err(ImportError::TooMany {
                what: "plugins",
                limit: MAX_ENTITIES,
            });
        }
        for Pending {
            value,
            label,
            scope,
        } in pending
        {
            let mut fields = Fields::new(value, label)?;
            let service = self.services.find(&mut fields, "service")?;
            let route = self.routes.find(&mut fields, "route")?;
            let consumer = self.consumers.find(&mut fields, "consumer")?;
            // Bound to several, it applies where all of them meet: the consumer decides, then
            // the route, which belongs to one service.
            let scope = consumer
                .map(Scope::Consumer)
                .or_else(|| route.map(Scope::Route))
                .or_else(|| service.map(Scope::Service))
                .unwrap_or(scope);
            if let Some(plugin) = plugins::read(fields, self.findings)? {
                if let Scope::Consumer(at) = scope {
                    self.document.consumers[at].plugin(&plugin, self.findings);
                } else {
                    self.document.plugins.push((scope, plugin));
                }
            }
        }
        Ok(())
    }
}

fn read_route(
    mut fields: Fields,
    name: Option<String>,
    service: Option<usize>,
    findings: &mut Findings,
) -> Outcome<Route> {
    let mut route = Route {
        label: fields.path.clone(),
        name,
        service,
        paths: fields.texts("paths")?.unwrap_or_default(),
        hosts: fields.texts("hosts")?.unwrap_or_default(),
        methods: fields.texts("methods")?.unwrap_or_default(),
        strip_path: fields.flag("strip_path")?.unwrap_or(true),
        preserve_host: fields.flag("preserve_host")?.unwrap_or(false),
        condition: None,
        guarded: false,
    };
    for key in ["headers", "snis", "sources", "destinations", "expression"] {
        let given = fields.take(key);
        let is_empty = match &given {
            None => true,
            Some(Value::Array(list)) => list.is_empty(),
            Some(Value::Object(map)) => map.is_empty(),
            Some(_) => false,
        };
        if !is_empty {
            route.condition = Some(key);
        }
    }
    read_protocols(&mut fields, &mut route, findings)?;
    // Filters in WebAssembly may refuse requests.
    route.guarded = fields
        .take("filter_chains")
        .is_some_and(|chains| chains != json!([]));
    if route.guarded {
        findings.note(
            fields.at("filter_chains"),
            "filters may refuse requests, so the route is refused to everyone",
            "do the filter's work in the service, then set the route's `access`",
        );
    }
    let hint = "longer paths win in BunBun, whatever the order or priority";
    fields.expect("regex_priority", &json!(0), findings, hint);
    fields.expect("priority", &json!(0), findings, hint);
    let hint = "BunBun joins service path and request path with one slash (`v0`)";
    fields.expect("path_handling", &json!("v0"), findings, hint);
    let hint = "redirect in front of BunBun";
    fields.expect("https_redirect_status_code", &json!(426), findings, hint);
    // Bodies stream, buffered or not.
    fields.ignore(&["request_buffering", "response_buffering"]);
    fields.finish(findings, "see docs/gateway.md for the options of a route");
    Ok(route)
}

fn read_protocols(fields: &mut Fields, route: &mut Route, findings: &mut Findings) -> Outcome<()> {
    let given = fields.texts("protocols")?.unwrap_or_default();
    let protocols: BTreeSet<&str> = given.iter().map(String::as_str).collect();
    let http = ["http", "https", "ws", "wss", "grpc", "grpcs"];
    if protocols.is_empty() {
        return Ok(());
    }
    if let Some(other) = protocols.iter().find(|protocol| !http.contains(protocol)) {
        let reason = format!("'{}' is no protocol that BunBun routes", shown(other));
        findings.note(fields.at("protocols"), reason, "route it elsewhere");
        route.condition = Some("protocols");
    } else if protocols
        .iter()
        .all(|protocol| protocol.ends_with('s') && *protocol != "ws")
    {
        findings.note(
            fields.at("protocols"),
            "requests without TLS are not refused by route",
            "set TLS_CERT_FILE, then BunBun's port speaks TLS only",
        );
    }
    Ok(())
}
