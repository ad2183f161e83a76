//! A user's own routes and projects: what `[[gateway.routes]]` can say, and whose request it is.

use std::collections::HashMap;

use serde_json::json;

use crate::support::{Gateway, Keys, Origin, eventually};

const UPSTREAM: &str = "[upstreams.own]\nurls = ['ORIGIN']\n";

/// A gateway with the upstream `own` and these routes.
fn stand(routes: &str) -> (Origin, Gateway) {
    let origin = Origin::echo();
    let config = format!("{UPSTREAM}{routes}").replace("ORIGIN", &origin.url());
    let gateway = Gateway::builder().config(&config).start();
    (origin, gateway)
}

#[test]
fn paths_match_by_whole_segments_and_the_longest_wins() {
    let (origin, gateway) = stand(
        "[[routes]]\nname = 'shop'\npath = '/shop'\nupstream = 'own'\naccess = 'open'\nrewrite = '/a'\n
         [[routes]]\nname = 'cart'\npath = '/shop/cart'\nupstream = 'own'\naccess = 'open'\nrewrite = '/b'\n
         [[routes]]\nname = 'exact'\npath = '/shop/cart/1'\nexact = true\nupstream = 'own'\naccess = 'open'\nrewrite = '/c'\n
         [[routes]]\nname = 'below'\npath = '/below/'\nupstream = 'own'\naccess = 'open'\nrewrite = '/d/'\n
         [[routes]]\nname = 'kept'\npath = '/kept'\nupstream = 'own'\naccess = 'open'\nkeep_path = true\n
         [[routes]]\nname = 'stripped'\npath = '/stripped'\nupstream = 'own'\naccess = 'open'\n",
    );
    for (path, forwarded) in [
        ("/shop", "/a"),
        ("/shop/", "/a/"),
        ("/shop/x?y", "/a/x?y"),
        ("/shop/cart", "/b"),
        ("/shop/carts", "/a/carts"),
        ("/shop/cart/2", "/b/2"),
        ("/shop/cart/1", "/c"),
        ("/shop/cart/1/", "/b/1/"),
        ("/below/", "/d/"),
        ("/below/x/", "/d/x/"),
        ("/kept/x", "/kept/x"),
        ("/stripped", "/"),
        ("/stripped/x", "/x"),
    ] {
        assert_eq!(gateway.get(path, &[]).status, 200, "{path}");
        assert_eq!(origin.only().target, forwarded, "{path}");
    }
    for path in ["/shops", "/sho", "/below", "/SHOP"] {
        assert_eq!(
            gateway.get(path, &[]).status,
            401,
            "{path} is the dashboard's"
        );
    }
    assert_eq!(origin.take().len(), 0);
}

#[test]
fn hosts_and_methods_select_a_route() {
    let (origin, gateway) = stand(
        "[[routes]]\nname = 'host'\npath = '/'\nhosts = ['Blog.example']\nupstream = 'own'\naccess = 'open'\nrewrite = '/host/'\n
         [[routes]]\nname = 'suffix'\npath = '/x'\nhosts = ['*.shop.example']\nupstream = 'own'\naccess = 'open'\nrewrite = '/suffix'\n
         [[routes]]\nname = 'get'\npath = '/m'\nmethods = ['GET']\nupstream = 'own'\naccess = 'open'\nrewrite = '/get'\n
         [[routes]]\nname = 'post'\npath = '/m'\nmethods = ['post', 'PUT']\nupstream = 'own'\naccess = 'open'\nrewrite = '/post'\n",
    );
    for (method, host, path, forwarded) in [
        ("GET", "blog.example", "/p", Some("/host/p")),
        ("GET", "BLOG.EXAMPLE:8000", "/p", Some("/host/p")),
        ("GET", "blog.example", "/rest/v1/x", Some("/host/rest/v1/x")),
        ("GET", "a.shop.example", "/x", Some("/suffix")),
        ("GET", "a.b.shop.example", "/x/y", Some("/suffix/y")),
        ("GET", "shop.example", "/x", None),
        ("GET", "evilshop.example", "/x", None),
        ("GET", "blog.example.evil", "/p", None),
        ("GET", "xblog.example", "/p", None),
        ("GET", "any.test", "/m", Some("/get")),
        ("POST", "any.test", "/m/1", Some("/post/1")),
        ("PUT", "any.test", "/m", Some("/post")),
        ("DELETE", "any.test", "/m", None),
    ] {
        let answer = gateway.request(method, path, &[("host", host)], b"");
        let expected = if forwarded.is_some() { 200 } else { 401 };
        assert_eq!(answer.status, expected, "{method} {host} {path}");
        let seen: Vec<String> = origin.take().into_iter().map(|seen| seen.target).collect();
        assert_eq!(seen, Vec::from_iter(forwarded), "{method} {host} {path}");
    }
}

#[test]
fn a_route_can_answer_itself_and_change_headers() {
    let (origin, gateway) = stand(
        "[[routes]]\nname = 'fixed'\npath = '/fixed'\naccess = 'open'\n
         respond = { status = 418, body = '{\"a\":1}', content_type = 'application/json' }\n
         [[routes]]\nname = 'rules'\npath = '/rules'\nupstream = 'own'\naccess = 'open'\n
         request_headers = { remove = ['X-Gone'], set = { X-Set = 'new' }, add = { X-Add = 'added', X-Had = 'added' } }\n
         response_headers = { remove = ['Content-Type'], set = { X-Frame-Options = 'DENY' } }\n",
    );
    let answer = gateway.request("POST", "/fixed/x", &[], b"ignored");
    assert_eq!((answer.status, answer.text()), (418, "{\"a\":1}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let headers = [
        ("x-gone", "1"),
        ("x-set", "old"),
        ("x-had", "own"),
        ("x-stays", "1"),
    ];
    let answer = gateway.get("/rules", &headers);
    let seen = origin.only();
    assert_eq!(seen.header("x-gone"), None);
    assert_eq!(seen.all("x-set"), ["new"]);
    assert_eq!(seen.all("x-add"), ["added"]);
    assert_eq!(seen.all("x-had"), ["own"]);
    assert_eq!(seen.all("x-stays"), ["1"]);
    assert_eq!(answer.header("content-type"), None);
    assert_eq!(answer.all("x-frame-options"), ["DENY"]);
}

#[test]
fn addresses_are_allowed_and_denied_as_seen_through_trusted_proxies_only() {
    let origin = Origin::echo();
    let routes = "[[routes]]\nname = 'allow'\npath = '/allow'\nupstream = 'own'\naccess = 'open'\nallow_ips = ['10.1.0.0/16']\n
         [[routes]]\nname = 'deny'\npath = '/deny'\nupstream = 'own'\naccess = 'open'\ndeny_ips = ['10.1.0.0/16', '127.0.0.0/8']\n
         [[routes]]\nname = 'both'\npath = '/both'\nupstream = 'own'\naccess = 'open'\nallow_ips = ['10.0.0.0/8']\ndeny_ips = ['10.1.0.0/16']\n";
    let config = format!("{UPSTREAM}{routes}").replace("ORIGIN", &origin.url());
    let trusting = Gateway::builder()
        .config(&config)
        .with(|b| b.trusted_proxies = vec!["127.0.0.0/8".to_owned()])
        .start();
    let strict = Gateway::builder().config(&config).start();
    for (path, client, trusted, untrusted) in [
        ("/allow", "10.1.2.3", 200, 403),
        ("/allow", "10.2.2.3", 403, 403),
        ("/allow", "::ffff:10.1.2.3", 200, 403),
        ("/allow", "9.9.9.9, 10.1.2.3", 200, 403),
        ("/allow", "10.1.2.3, 9.9.9.9", 403, 403),
        ("/deny", "10.1.2.3", 403, 403),
        ("/deny", "::ffff:10.1.2.3", 403, 403),
        ("/deny", "9.9.9.9", 200, 403),
        ("/both", "10.2.2.3", 200, 403),
        ("/both", "10.1.2.3", 403, 403),
        ("/both", "9.9.9.9", 403, 403),
    ] {
        let headers = [("x-forwarded-for", client)];
        assert_eq!(
            trusting.get(path, &headers).status,
            trusted,
            "{path} {client}"
        );
        assert_eq!(
            strict.get(path, &headers).status,
            untrusted,
            "{path} {client}, untrusted"
        );
    }
}

#[test]
fn users_roles_and_scopes_are_asked_for() {
    let (origin, gateway) = stand(
        "[[routes]]\nname = 'user'\npath = '/user'\nupstream = 'own'\naccess = 'user'\n
         [[routes]]\nname = 'role'\npath = '/role'\nupstream = 'own'\naccess = 'open'\nroles = ['editor', 'service_role']\n
         [[routes]]\nname = 'scope'\npath = '/scope'\nupstream = 'own'\naccess = 'open'\nscopes = ['posts:read', 'posts:write']\n",
    );
    let keys = &gateway.keys;
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = Keys::user_claims("u1");
        claims[name] = value;
        keys.sign(&claims)
    };
    let user = keys.user("u1");
    let expired = with("exp", json!(1_000_000));
    let stranger = Keys::generate().user("u1");
    for (path, token, status) in [
        ("/user", None, 401),
        ("/user", Some(&user), 200),
        ("/user", Some(&keys.service_role), 200),
        ("/user", Some(&keys.anon), 401),
        ("/user", Some(&expired), 401),
        ("/user", Some(&stranger), 401),
        ("/role", None, 401),
        ("/role", Some(&user), 403),
        ("/role", Some(&with("role", json!("editor"))), 200),
        ("/role", Some(&with("role", json!("editors"))), 403),
        ("/role", Some(&keys.service_role), 200),
        ("/role", Some(&keys.anon), 403),
        ("/scope", None, 401),
        ("/scope", Some(&user), 403),
        (
            "/scope",
            Some(&with("scope", json!("posts:write posts:read other"))),
            200,
        ),
        (
            "/scope",
            Some(&with("scopes", json!(["posts:read", "posts:write"]))),
            200,
        ),
        ("/scope", Some(&with("scope", json!("posts:read"))), 403),
        (
            "/scope",
            Some(&with("scope", json!("posts:readposts:write"))),
            403,
        ),
        ("/scope", Some(&keys.service_role), 403),
    ] {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<(&str, &str)> = bearer
            .iter()
            .map(|b| ("authorization", b.as_str()))
            .collect();
        assert_eq!(
            gateway.get(path, &headers).status,
            status,
            "{path} {token:?}"
        );
        assert_eq!(origin.take().len(), usize::from(status == 200), "{path}");
    }
}

#[test]
fn a_split_divides_users_and_keeps_each_on_one_side() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let config = format!(
        "[upstreams.old]\nurls = ['{}']\n[upstreams.new]\nurls = ['{}']\n
         [[routes]]\nname = 's'\npath = '/s'\naccess = 'open'\nsticky = 'user'\n
         split = [{{ upstream = 'old', percent = 70 }}, {{ upstream = 'new', percent = 30 }}]\n
         [[routes]]\nname = 'r'\npath = '/r'\naccess = 'open'\n
         split = [{{ upstream = 'old', percent = 50 }}, {{ upstream = 'new', percent = 50 }}]\n
         [[routes]]\nname = 'all'\npath = '/all'\naccess = 'open'\n
         split = [{{ upstream = 'old', percent = 0 }}, {{ upstream = 'new', percent = 100 }}]\n",
        old.url(),
        new.url()
    );
    let gateway = Gateway::builder().config(&config).start();
    let mut sides: HashMap<String, usize> = HashMap::new();
    let mut client = gateway.connect();
    for i in 0..200 {
        let token = gateway.keys.user(&format!("user-{i}"));
        let request = format!(
            "GET /s HTTP/1.1\r\nHost: gateway.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        let first = client.send(&request).answer().text().to_owned();
        assert_eq!(client.send(&request).answer().text(), first, "user-{i}");
        *sides.entry(first).or_default() += 1;
    }
    // 200 draws at 30 %: six standard deviations are 39.
    assert!((21..=99).contains(&sides["new"]), "{sides:?}");
    let (mut random, request) = (
        HashMap::<String, usize>::new(),
        "GET /r HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    for _ in 0..200 {
        *random
            .entry(client.send(request).answer().text().to_owned())
            .or_default() += 1;
    }
    assert!(
        random.values().all(|count| (58..=142).contains(count)) && random.len() == 2,
        "{random:?}"
    );
    for _ in 0..50 {
        let answer = client.send("GET /all HTTP/1.1\r\nHost: a\r\n\r\n").answer();
        assert_eq!(answer.text(), "new", "a share of 0 % gets nothing");
    }
}

#[test]
fn a_mirror_gets_copies_and_nobody_notices() {
    let (main, mirror) = (Origin::named("main"), Origin::named("mirror"));
    let config = format!(
        "[upstreams.main]\nurls = ['{}']\n[upstreams.mirror]\nurls = ['{}']\n
         [[routes]]\nname = 'm'\npath = '/m'\naccess = 'open'\nupstream = 'main'\nmirror = 'mirror'\n",
        main.url(),
        mirror.url()
    );
    let gateway = Gateway::builder().config(&config).start();
    let answer = gateway.request("POST", "/m/x?y=1", &[("x-mark", "1")], b"hello");
    assert_eq!(answer.text(), "main");
    eventually("the copy arrives", || mirror.count() == 1);
    let (copy, seen) = (mirror.only(), main.only());
    assert_eq!(
        (copy.method.as_str(), copy.target.as_str()),
        ("POST", "/x?y=1")
    );
    assert_eq!(
        (copy.body.as_slice(), copy.header("x-mark")),
        (&b"hello"[..], Some("1"))
    );
    assert_eq!(seen.body, b"hello");
    let large = vec![b'x'; 100_000];
    assert_eq!(
        gateway.request("POST", "/m/large", &[], &large).text(),
        "main"
    );
    assert_eq!(
        gateway.request("POST", "/m/small", &[], b"s").text(),
        "main"
    );
    eventually("the small one is copied", || mirror.count() == 1);
    assert_eq!(mirror.only().target, "/small", "the large one is not");
    mirror.stop();
    assert_eq!(gateway.request("POST", "/m", &[], b"hello").text(), "main");
}

#[test]
fn a_request_belongs_to_the_project_of_its_host_or_prefix() {
    let origin = Origin::echo();
    let other = Keys::generate();
    let gateway = Gateway::builder()
        .named_slots(origin.url())
        .project("shop-2", &other)
        .with(|b| b.base_domain = Some("base.example".to_owned()))
        .start();
    let (own, other) = (gateway.keys.anon.as_str(), other.anon.as_str());
    for (host, path, key, status) in [
        ("gateway.test", "/rest/v1/t", own, 200),
        ("gateway.test", "/rest/v1/t", other, 401),
        ("base.example", "/rest/v1/t", own, 200),
        ("default.base.example", "/rest/v1/t", own, 200),
        ("shop-2.base.example", "/rest/v1/t", other, 200),
        ("SHOP-2.Base.Example:8000", "/rest/v1/t", other, 200),
        ("shop-2.base.example", "/rest/v1/t", own, 401),
        ("nobody.base.example", "/rest/v1/t", own, 404),
        ("a.shop-2.base.example", "/rest/v1/t", other, 404),
        (".base.example", "/rest/v1/t", own, 200),
        ("evilbase.example", "/rest/v1/t", other, 401),
        ("shop-2.base.example.evil.test", "/rest/v1/t", other, 401),
        ("gateway.test", "/p/shop-2/rest/v1/t", other, 200),
        ("gateway.test", "/p/shop-2/rest/v1/t", own, 401),
        ("gateway.test", "/p/default/rest/v1/t", own, 200),
        ("gateway.test", "/p/nobody/rest/v1/t", own, 404),
        ("gateway.test", "/p/SHOP-2/rest/v1/t", other, 404),
        // A host's project cannot be left by a prefix.
        ("shop-2.base.example", "/p/default/rest/v1/t", own, 401),
    ] {
        let answer = gateway.get(path, &[("host", host), ("apikey", key)]);
        assert_eq!(answer.status, status, "{host}{path}");
        let seen = origin.take();
        assert_eq!(seen.len(), usize::from(status == 200), "{host}{path}");
        assert!(
            seen.iter().all(|seen| seen.target == "/rest/t"),
            "{host}{path}"
        );
    }
    let answer = gateway.get("/p/shop-2/api/whoami", &[("apikey", other)]);
    assert_eq!(answer.status, 200);
    let (seen, context) = gateway.api.take().remove(0);
    let context = context.expect("the edge's context");
    assert_eq!(
        (seen.target.as_str(), context.project.reference.as_str()),
        ("/api/whoami", "shop-2")
    );
    assert_eq!(
        context.caller.as_ref().map(bunbun_http::Caller::role),
        Some("anon")
    );
}
