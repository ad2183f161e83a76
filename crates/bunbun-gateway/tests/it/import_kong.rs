//! `bunbun import kong`: translations of whole files, and what becomes of what has no
//! counterpart.

use std::sync::Arc;

use bunbun_core::config::{
    Dialect, GatewayConfig,
    gateway::{Access, CorsConfig, RouteConfig},
};
use bunbun_gateway::{
    import::{ImportError, Imported, kong},
    rate_limit::Limits,
    route::{Environment, RouteTable, compile},
    slot::{Filling, NAMES, Slot, Slots},
    upstream::Registry,
};
use http::Method;

const STACK_2: &str = include_str!("fixtures/kong/stack_kong_2.yml");
const STACK_3: &str = include_str!("fixtures/kong/stack_kong_3.yml");
const SHOP: &str = include_str!("fixtures/kong/shop.yml");
const CLOSED: &str = include_str!("fixtures/kong/closed.yml");
const GAPS: &str = include_str!("fixtures/kong/gaps.yml");

fn import(yaml: &str) -> Imported {
    kong::import(yaml).expect("a file of Kong")
}

/// A file with an entity list of its own after the stack's consumers.
fn small(rest: &str) -> Imported {
    let consumers = "_format_version: '3.0'\nconsumers:\n\
        - {username: anon, keyauth_credentials: [{key: $ANON_KEY}], acls: [{group: anon}]}\n\
        - {username: service_role, keyauth_credentials: [{key: $SERVICE_ROLE_KEY}], acls: [{group: admin}]}\n";
    import(&format!("{consumers}{rest}"))
}

fn one_route(route: &str) -> (RouteConfig, Imported) {
    let imported = small(&format!(
        "services: [{{name: app, url: 'http://app:80', routes: [{{name: r, paths: [/r], {route}}}]}}]"
    ));
    let route = imported
        .config
        .routes
        .iter()
        .find(|route| route.name == "r")
        .cloned();
    (route.unwrap_or_default(), imported)
}

fn route<'i>(imported: &'i Imported, name: &str) -> &'i RouteConfig {
    let found = imported
        .config
        .routes
        .iter()
        .find(|route| route.name == name);
    found.unwrap_or_else(|| panic!("no route {name}"))
}

fn paths(imported: &Imported) -> Vec<&str> {
    imported
        .untranslated
        .iter()
        .map(|entry| entry.path.as_str())
        .collect()
}

fn table(config: &GatewayConfig) -> RouteTable {
    let slots = NAMES.iter().map(|name| {
        Arc::new(Slot {
            name: (*name).into(),
            filling: Filling::Empty,
            public_paths: false,
        })
    });
    let environment = Environment {
        slots: Slots(slots.collect()),
        registry: Arc::new(Registry::default()),
        limits: Arc::new(Limits::default()),
        shards: 1,
        realtime_host: "realtime-dev.supabase-realtime".to_owned(),
        max_api_body_bytes: 1024,
        file_size_limit: 1024,
    };
    compile(config, &environment).expect("every translation compiles")
}

#[test]
fn the_stacks_own_file_comes_down_to_environment_variables() {
    let imported = import(STACK_3);
    insta::assert_snapshot!(imported.to_toml(), @r#"
    # Translated by `bunbun import`. Paths match by whole segments: /a matches /a and
    # /a/b, but not /ab.
    #
    # Environment:
    #   AUTH_URL=http://auth:9999
    #   POSTGREST_URL=http://rest:3000
    #   REALTIME_URL=http://realtime-dev.supabase-realtime:4000
    #   STORAGE_URL=http://storage:5000
    #   FUNCTIONS_URL=http://functions:9000
    #   META_URL=http://meta:8080
    #   STUDIO_URL=http://studio:3000

    [gateway]
    dialect = "kong3"
    routes = []

    [gateway.rate_limits]

    [gateway.upstreams]
    "#);
}

#[test]
fn an_older_stacks_file_does_too_and_its_open_analytics_are_mentioned() {
    let imported = import(STACK_2);
    assert!(
        imported.config.routes.is_empty(),
        "{:#?}",
        imported.config.routes
    );
    assert_eq!(imported.config.dialect, Dialect::Kong2);
    let variables: Vec<_> = imported
        .environment
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        variables,
        [
            "AUTH_URL",
            "POSTGREST_URL",
            "REALTIME_URL",
            "STORAGE_URL",
            "FUNCTIONS_URL",
            "ANALYTICS_URL",
            "META_URL",
            "STUDIO_URL"
        ]
    );
    assert_eq!(
        paths(&imported),
        ["services[analytics-v1].routes[analytics-v1-all]"]
    );
}

#[test]
fn an_export_that_writes_kongs_defaults_out_is_the_same_file() {
    let defaults = "    retries: 5\n    connect_timeout: 60000\n    read_timeout: 60000\n    write_timeout: 60000\n    routes:\n";
    let imported = import(&STACK_2.replace("    routes:\n", defaults));
    assert!(
        imported.config.routes.is_empty(),
        "{:#?}",
        imported.config.routes
    );
}

#[test]
fn a_stacks_route_that_deviates_takes_the_place_of_the_built_in_one() {
    // Only the owner may use REST.
    let rest = "paths: [/rest/v1/]";
    let at = STACK_3.find(rest).unwrap();
    let (before, after) = STACK_3.split_at(at);
    let changed = format!(
        "{before}{}",
        after.replacen("allow: [admin, anon]", "allow: [admin]", 1)
    );
    let imported = import(&changed);
    let names: Vec<_> = imported
        .config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["rest", "rest-root"]);
    let rest = route(&imported, "rest");
    assert_eq!(
        (rest.slot.as_deref(), rest.access),
        (Some("rest"), Access::ServiceRole)
    );
    // The built-in exact root would be open to the anon key in Kong's dialects.
    let root = route(&imported, "rest-root");
    assert_eq!((root.exact, root.path.as_str()), (true, "/rest/v1/"));
    assert_eq!(root.roles, ["service_role"]);

    // Another timeout, another role, another address.
    let changed = STACK_3.replace("read_timeout: 150000", "read_timeout: 400000");
    let imported = import(&changed);
    assert_eq!(imported.config.routes.len(), 1);
    let functions = route(&imported, "functions");
    assert_eq!(functions.idle_timeout.unwrap().to_string(), "400s");
    assert_eq!(
        (functions.slot.as_deref(), functions.access),
        (Some("functions"), Access::Open)
    );

    let imported = import(&STACK_3.replace("allow: [admin]", "allow: [admin, anon]"));
    assert_eq!(route(&imported, "meta").access, Access::Key);

    let imported =
        import(&STACK_3.replace("http://auth:9999/verify", "http://elsewhere:9999/verify"));
    let verify = route(&imported, "auth-verify");
    assert_eq!(verify.slot, None);
    assert_eq!(
        imported.config.upstreams[verify.upstream.as_ref().unwrap()].urls,
        ["http://elsewhere:9999"]
    );
}

#[test]
fn closing_all_of_auth_closes_the_built_in_open_routes_that_the_file_does_not_name() {
    let at = STACK_2.find("  - name: auth-v1-open\n").unwrap();
    let end = STACK_2.find("  - name: auth-v1\n").unwrap();
    let without_open = format!("{}{}", &STACK_2[..at], &STACK_2[end..]);
    // As long as `/auth/v1/` itself is as built in, so are the routes below it.
    assert!(import(&without_open).config.routes.is_empty());
    let closed = without_open.replacen("allow: [admin, anon]", "allow: [admin]", 1);
    let imported = import(&closed);
    for name in [
        "auth",
        "auth-verify",
        "auth-callback",
        "auth-authorize",
        "auth-jwks",
    ] {
        assert_eq!(route(&imported, name).access, Access::ServiceRole, "{name}");
    }
    assert_eq!(route(&imported, "auth-verify").rewrite, "/verify");
    assert!(route(&imported, "auth-jwks").exact);
}

#[test]
fn a_service_added_to_the_stack_leads_to_its_slot_or_to_its_own_upstream() {
    let added = "  - name: extra\n    url: http://rest:3000/rpc\n    routes: [{name: rpc, paths: [/rpc]}]\n\
                 \x20 - name: mailer\n    url: http://mailer:25000\n    routes: [{name: mail, paths: [/mail/]}]\n";
    let imported = import(&format!("{STACK_3}{added}"));
    assert_eq!(imported.config.routes.len(), 2);
    let rpc = route(&imported, "rpc");
    assert_eq!(
        (rpc.slot.as_deref(), rpc.keep_path, rpc.access),
        (Some("rest"), true, Access::Open)
    );
    let mail = route(&imported, "mail");
    assert_eq!(
        (mail.upstream.as_deref(), mail.cors),
        (Some("mailer"), CorsConfig::Off)
    );
}

#[test]
fn a_prefix_that_the_stacks_file_lacks_is_mentioned() {
    let at = STACK_3.find("  - name: storage-v1\n").unwrap();
    let end = STACK_3.find("  - name: functions-v1\n").unwrap();
    let imported = import(&format!("{}{}", &STACK_3[..at], &STACK_3[end..]));
    let [entry] = imported.untranslated.as_slice() else {
        panic!("{:?}", imported.untranslated)
    };
    assert!(
        entry.reason.contains("/storage/v1/") && entry.hint.contains("`storage`"),
        "{entry:?}"
    );
}

#[test]
fn an_applications_file_becomes_routes_upstreams_and_policies() {
    let imported = import(SHOP);
    assert_eq!(imported.to_toml(), include_str!("fixtures/kong/shop.toml"));
}

#[test]
fn what_cannot_be_expressed_is_refused_and_listed() {
    let imported = import(CLOSED);
    let with = |access| {
        let routes = imported
            .config
            .routes
            .iter()
            .filter(move |route| route.access == access);
        routes.map(|route| route.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(
        with(Access::Deny),
        [
            "partners",
            "both",
            "staff",
            "groups-only",
            "token",
            "own",
            "lua",
            "addresses",
            "maintenance",
            "query",
            "dynamic"
        ]
    );
    assert_eq!(route(&imported, "owners").access, Access::ServiceRole);
    assert_eq!(
        route(&imported, "everyone-with-a-name").access,
        Access::Basic
    );
    assert_eq!(
        with(Access::Open),
        ["replaced", "switched-off", "origins", "patterns"]
    );
    // A header that was to be replaced never arrives as the client wrote it.
    assert_eq!(
        route(&imported, "replaced").request_headers.remove,
        ["x-user"]
    );
    assert_eq!(route(&imported, "origins").cors, CorsConfig::Allowed);
    let limit = &imported.config.rate_limits["kong-global"];
    assert_eq!((limit.limit, limit.window.to_string().as_str()), (5, "2s"));
    assert_eq!(
        imported.environment,
        [(
            "ALLOWED_ORIGINS".to_owned(),
            "https://one.example".to_owned()
        )]
    );
    insta::assert_snapshot!(paths(&imported).join("\n"), @r#"
    consumers[partner].keyauth_credentials[0].key
    consumers[service_role].keyauth_credentials[0].key
    consumers[alice].basicauth_credentials[0].username
    consumers[alice].basicauth_credentials[0].password
    consumers[bob].basicauth_credentials[0].username
    consumers[bob].basicauth_credentials[0].password
    services[app].url
    services[app].url
    services[dynamic]
    services[stream].routes[stream].protocols
    services[stream]
    services[false]
    consumers[alice].plugins[rate-limiting]
    services[app].routes[partners].plugins[acl].config.hide_groups_header
    services[app].routes[owners].plugins[key-auth].config.anonymous
    services[app].routes[addresses].plugins[ip-restriction].config.deny
    services[app].routes[maintenance].plugins[request-termination].config.trigger
    services[app].routes[query].plugins[request-transformer].config.remove.querystring
    services[app].routes[replaced].plugins[request-transformer].config.replace.headers
    services[app].routes[replaced].plugins[request-transformer].config.add.headers
    services[app].routes[replaced].plugins[request-transformer].config.append.headers
    services[app].routes[origins].plugins[cors].config.origins
    services[app].routes[patterns].plugins[cors].config.origins
    services[app].routes[patterns].plugins[cors].config.credentials
    services[app].routes[patterns].plugins[cors].config.max_age
    plugins[prometheus]
    plugins[rate-limiting].config.limit_by
    plugins[rate-limiting].config.policy
    plugins[rate-limiting].config
    certificates
    services[app].routes[partners].plugins[acl]
    services[app].routes[both].plugins[key-auth]
    services[app].routes[staff].plugins[acl]
    services[app].routes[everyone-with-a-name].plugins[basic-auth]
    services[app].routes[groups-only].plugins[acl]
    services[app].routes[token].plugins[jwt]
    services[app].routes[own].plugins[company-sso]
    services[app].routes[lua].plugins[pre-function]
    services[app].routes[addresses].plugins[ip-restriction]
    services[app].routes[maintenance].plugins[request-termination]
    services[app].routes[query].plugins[request-transformer]
    services[stream].routes[stream]
    "#);
}

#[test]
fn no_secret_of_the_file_is_shown() {
    let imported = import(CLOSED);
    let shown = format!("{}{:?}", imported.to_toml(), imported);
    assert!(!shown.contains("secret-0"), "{shown}");
    for broken in [
        "key: 'tls-secret-0007",
        "{a: secret-0001, a: secret-0002}",
        "*secret-0003",
    ] {
        let error = kong::import(broken).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("secret-0"),
            "{error:?}"
        );
    }
}

#[test]
fn requests_whose_route_cannot_be_matched_do_not_reach_a_laxer_one() {
    let imported = import(GAPS);
    let table = table(&imported.config);
    let access = |method: &Method, path: &str| {
        table
            .find("shop.example", path, method)
            .map(|route| (&*route.name, route.access))
    };
    let get = |path| access(&Method::GET, path).unwrap().1;
    assert_eq!(get("/v2/users/7/admin"), Access::Deny);
    assert_eq!(get("/v2/users/list"), Access::Deny);
    // Two routes for the same requests: the stricter one's refusal holds.
    assert_eq!(get("/v2/else"), Access::Deny);
    assert_eq!(get("/elsewhere"), Access::Open);
    assert_eq!(get("/hidden"), Access::Deny);
    assert_eq!(get("/tenant/x"), Access::Deny);
    // Kong prefers the route limited to methods over the longer path.
    assert_eq!(
        access(&Method::POST, "/elsewhere/x"),
        Some(("writes-4", Access::ServiceRole))
    );
    assert_eq!(
        access(&Method::POST, "/other"),
        Some(("writes", Access::ServiceRole))
    );
}

#[test]
fn every_translation_parses_back_and_compiles() {
    for yaml in [STACK_2, STACK_3, SHOP, CLOSED, GAPS] {
        let imported = import(yaml);
        let file: toml::Table = imported.to_toml().parse().unwrap();
        let back: GatewayConfig = file["gateway"].clone().try_into().unwrap();
        assert_eq!(format!("{back:?}"), format!("{:?}", imported.config));
        table(&imported.config);
    }
}

#[test]
fn the_service_sees_the_path_that_kong_sent() {
    let table = table(&small(
        "services:\n\
         - {name: a, url: 'http://a/s', routes: [{name: strip, paths: [/strip]}, {name: slash, paths: [/slash/]}, {name: keep, paths: [/keep], strip_path: false}]}\n\
         - {name: b, url: 'http://b', routes: [{name: root, paths: [/root]}, {name: same, paths: [/same/], strip_path: false}, {name: short, methods: [PUT], paths: [/short]}, {name: long, paths: [/short/long]}]}\n",
    ).config);
    for (path, sent) in [
        ("/strip", "/s"),
        ("/strip/x/y", "/s/x/y"),
        ("/slash/", "/s/"),
        ("/slash/x", "/s/x"),
        ("/keep", "/s/keep"),
        ("/keep/x", "/s/keep/x"),
        ("/root", "/"),
        ("/root/x", "/x"),
        ("/same/x", "/same/x"),
        ("/short/long/x", "/long/x"),
    ] {
        let route = table.find("h", path, &Method::PUT).unwrap();
        assert_eq!(route.upstream_path(path), sent, "{path} by {}", route.name);
    }
}

#[test]
fn who_passes_a_key_decides_the_access() {
    let key = "plugins: [{name: key-auth}, {name: acl, config: {hide_groups_header: true, ";
    for (rule, access) in [
        ("allow: [anon, admin]", Access::Key),
        ("allow: [admin]", Access::ServiceRole),
        ("allow: [anon]", Access::Key),
        ("allow: [others]", Access::Deny),
        ("deny: [anon]", Access::ServiceRole),
        ("deny: [others]", Access::Key),
        ("deny: [anon, admin]", Access::Deny),
        (
            "allow: [admin], include_consumer_groups: true",
            Access::Deny,
        ),
    ] {
        let (route, _) = one_route(&format!("{key}{rule}}}}}]"));
        assert_eq!(route.access, access, "{rule}");
    }
    let (route, imported) =
        one_route("plugins: [{name: key-auth, config: {hide_credentials: true}}]");
    assert_eq!(
        (route.access, route.request_headers.remove),
        (Access::Key, vec!["apikey".to_owned()])
    );
    assert!(
        imported.untranslated.is_empty(),
        "{:?}",
        imported.untranslated
    );
    // A consumer with a restriction of its own counts as one that does not pass.
    let imported = small(
        "plugins: [{name: ip-restriction, consumer: anon, config: {allow: [10.0.0.1]}}]\n\
         services: [{name: app, url: 'http://app', plugins: [{name: key-auth}], routes: [{name: r, paths: [/r]}]}]",
    );
    assert_eq!(route_access(&imported), Access::ServiceRole);
}

fn route_access(imported: &Imported) -> Access {
    route(imported, "r").access
}

#[test]
fn a_function_is_harmless_only_where_it_can_do_nothing_but_take_a_blank_header_away() {
    let access = |path: &str, code: &str| {
        let code = serde_json::to_string(code).unwrap();
        let imported = small(&format!(
            "services: [{{url: 'http://a', routes: [{{name: r, paths: [{path}], \
             plugins: [{{name: post-function, config: {{access: [{code}]}}}}]}}]}}]"
        ));
        imported.config.routes[0].access
    };
    let clears =
        "if kong.request.get_header('a') == '' then kong.service.request.clear_header('a') end";
    assert_eq!(access("/storage/v1/", clears), Access::Open);
    assert_eq!(access("/elsewhere/", clears), Access::Deny);
    for code in [
        "kong.response.exit(403)",
        "kong.response.exit{403}",
        "error 'no'",
        "local f = kong.request.get_header f('a') check('b')",
        "kong\u{48b}request.get_header('a')",
        "ngx.say 'no'",
        "",
    ] {
        assert_eq!(access("/storage/v1/", code), Access::Deny, "{code}");
    }
}

#[test]
fn the_nearest_plugin_of_a_name_holds() {
    let imported = small(
        "plugins: [{name: key-auth}, {name: cors, route: r, config: {}}, {name: request-size-limiting}]\n\
         services:\n\
         - name: app\n  url: 'http://app'\n\
         \x20 plugins: [{name: acl, config: {allow: [admin], hide_groups_header: true}}]\n\
         \x20 routes:\n\
         \x20 - {name: r, paths: [/r]}\n\
         \x20 - {name: wide, paths: [/wide], plugins: [{name: acl, config: {allow: [anon, admin], hide_groups_header: true}}]}\n",
    );
    assert_eq!(route_access(&imported), Access::ServiceRole);
    assert_eq!(route(&imported, "r").cors, CorsConfig::Public);
    assert_eq!(route(&imported, "wide").access, Access::Key);
    assert_eq!(route(&imported, "wide").cors, CorsConfig::Off);
    assert_eq!(paths(&imported), ["plugins[request-size-limiting]"]);
}

#[test]
fn weights_become_shares_of_a_hundred() {
    for (weights, shares) in [
        (vec![90, 10], vec![10, 90]),
        (vec![1, 1, 1], vec![]),
        (vec![1, 2, 0], vec![33, 67]),
        (vec![1, 1000], vec![1, 99]),
        (vec![100, 50, 50], vec![50, 50]),
    ] {
        let targets: Vec<_> = weights
            .iter()
            .enumerate()
            .map(|(at, weight)| format!("{{target: '10.0.0.{at}:80', weight: {weight}}}"))
            .collect();
        let imported = small(&format!(
            "upstreams: [{{name: many, targets: [{}]}}]\n\
             services: [{{name: app, host: many, routes: [{{name: r, paths: [/r]}}]}}]",
            targets.join(", ")
        ));
        let split = &route(&imported, "r").split;
        assert_eq!(
            split.iter().map(|side| side.percent).collect::<Vec<_>>(),
            shares,
            "{weights:?}"
        );
        table(&imported.config);
    }
}

#[test]
fn names_from_the_file_cannot_break_out_of_a_comment() {
    let imported = small(
        "services: [{name: \"a\\n[gateway]\\ndialect = 1\\u2028x\", url: 'http://a', unknown: 1, \
         routes: [{name: \"studio\\n\", paths: [/r]}, {name: studio, paths: [/s]}, {paths: [/t]}]}]",
    );
    let text = imported.to_toml();
    let file: toml::Table = text.parse().unwrap();
    assert_eq!(file["gateway"]["dialect"].as_str(), Some("kong3"));
    assert!(!text.contains('\u{2028}'));
    // Nor can they take the place of a built-in route by chance.
    let names: Vec<_> = imported
        .config
        .routes
        .iter()
        .map(|route| route.name.as_str())
        .collect();
    assert_eq!(names, ["studio-2", "studio-3", "a-gateway-dialect-1-x"]);
}

#[test]
fn files_that_are_not_kongs_are_refused_with_the_place() {
    let version = "_format_version: '3.0'\n";
    for (yaml, message) in [
        (
            "",
            "no declarative configuration of Kong: `_format_version` must be 1.1, 2.1 or 3.0",
        ),
        (
            "_format_version: '4.0'",
            "no declarative configuration of Kong: `_format_version` must be 1.1, 2.1 or 3.0",
        ),
        (
            "services: [",
            "no usable YAML at line 1, column 11: not understood",
        ),
        (
            "a: 1\na: 2",
            "no usable YAML at line 2, column 1: the same key twice",
        ),
        (
            "---\na: 1\n---\nb: 1",
            "no usable YAML at line 4, column 1: more than one document",
        ),
        (
            "_format_version: '3.0'\nservices: 5",
            "services: expected a list",
        ),
        (
            "_format_version: '3.0'\nservices: [{name: a, retries: -1}]",
            "services[a].retries: expected a whole number that is not negative",
        ),
        (
            "_format_version: '3.0'\nservices: [{name: a}, {name: a}]",
            "services[a]: another one has the same name",
        ),
        (
            "_format_version: '3.0'\nplugins: [{name: cors, service: b}]",
            "plugins[cors].service: refers to something that is not in the file",
        ),
    ] {
        assert_eq!(
            kong::import(yaml).unwrap_err().to_string(),
            message,
            "{yaml}"
        );
    }
    assert!(kong::import(version).unwrap().config.routes.is_empty());
}

#[test]
fn inflated_files_are_refused() {
    let large = format!("_format_version: '3.0'\n# {}", "x".repeat(1024 * 1024));
    assert_eq!(
        kong::import(&large).unwrap_err(),
        ImportError::TooLarge { limit: 1024 * 1024 }
    );

    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(kong::import(&deep), Err(ImportError::Yaml { .. })));

    // A billion laughs.
    let mut laughs = String::from("a0: &a0 ha\n");
    for level in 1..12 {
        let last = level - 1;
        let repeated = vec![format!("*a{last}"); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{repeated}]\n"));
    }
    assert!(matches!(
        kong::import(&laughs),
        Err(ImportError::Yaml { .. })
    ));

    // Few nodes and few aliases, but a long text in each.
    let long = format!(
        "text: &text {}\nlist: [{}]\n",
        "x".repeat(900_000),
        ["*text"; 60].join(", ")
    );
    let problem = kong::import(&long).unwrap_err().to_string();
    assert!(
        problem.ends_with("an alias to nothing, or to too much"),
        "{problem}"
    );

    // What is set once at the top and holds for every route.
    let routes: Vec<_> = (0..4_000).map(|at| format!("{{paths: [/{at}]}}")).collect();
    let wide = format!(
        "_format_version: '3.0'\n\
         plugins: [{{name: request-transformer, config: {{add: {{headers: ['a: {}']}}}}}}]\n\
         services: [{{url: 'http://a', routes: [{}]}}]",
        "x".repeat(400_000),
        routes.join(", ")
    );
    assert!(matches!(
        kong::import(&wide),
        Err(ImportError::TooMany { .. })
    ));
}

#[test]
fn aliases_and_merge_keys_are_followed() {
    let imported = small(
        "_shared: &closed {plugins: [{name: key-auth}]}\n\
         services: [{name: a, url: 'http://a', routes: [{name: r, paths: [/r], <<: *closed}]}]",
    );
    assert_eq!(route_access(&imported), Access::Key);
}
