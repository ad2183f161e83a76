//! Which URLs are understood, how, and which are refused without repeating what is secret.

use secrecy::ExposeSecret as _;

use super::{DatabaseType, Options, Settings, TlsMode, options::RedisMode};

fn parse(url: &str) -> Settings {
    Settings::from_url(&url.into()).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn hosts(settings: &Settings) -> String {
    let hosts: Vec<_> = settings.hosts.iter().map(ToString::to_string).collect();
    hosts.join(",")
}

#[test]
fn urls_of_the_three_kinds_are_understood() {
    let s = parse(
        "postgres://us%40er:p%3Aa@ss@db.example:6000/shop?sslmode=require&application_name=x",
    );
    assert_eq!(s.database_type, DatabaseType::Postgres);
    assert_eq!(hosts(&s), "db.example:6000");
    assert_eq!(s.username.as_deref(), Some("us@er"));
    assert_eq!(s.password.as_ref().unwrap().expose_secret(), "p:a@ss");
    assert_eq!(
        (s.database.as_deref(), s.tls),
        (Some("shop"), TlsMode::Require)
    );

    let s = parse("rediss://:secret@cache.example/3");
    assert_eq!(
        (hosts(&s).as_str(), s.tls),
        ("cache.example:6379", TlsMode::VerifyFull)
    );
    assert_eq!(
        (s.username.as_deref(), s.database.as_deref()),
        (None, Some("3"))
    );
    assert_eq!(
        parse("rediss://cache.example/#insecure").tls,
        TlsMode::Require
    );
    assert_eq!(
        parse("redis://[2606:4700::1]:7000").hosts[0].name,
        "2606:4700::1"
    );

    let s = parse("redis+sentinel://u:p@a,b:26380/main/2");
    assert_eq!(hosts(&s), "a:26379,b:26380");
    let Options::Redis(options) = &s.options else {
        panic!()
    };
    assert_eq!(
        (options.mode, options.sentinel_master.as_deref()),
        (RedisMode::Sentinel, Some("main"))
    );
    assert_eq!(s.database.as_deref(), Some("2"));
    let s = parse("redis+cluster://a:7000,b:7001");
    assert!(matches!(&s.options, Options::Redis(o) if o.mode == RedisMode::Cluster));

    let s = parse(
        "mongodb://u:p@a:27018,b/shop?replicaSet=rs0&authSource=admin&tls=true&directConnection=false",
    );
    assert_eq!(
        (hosts(&s).as_str(), s.tls),
        ("a:27018,b:27017", TlsMode::VerifyFull)
    );
    let Options::Mongodb(options) = &s.options else {
        panic!()
    };
    assert_eq!(options.replica_set.as_deref(), Some("rs0"));
    assert_eq!(
        (options.auth_source.as_deref(), options.direct_connection),
        (Some("admin"), Some(false))
    );
    let s = parse("mongodb+srv://cluster0.example.net/shop?retryWrites=true&w=majority");
    assert_eq!((s.hosts[0].port, s.tls), (0, TlsMode::VerifyFull));
    assert_eq!(
        Options::from_json(DatabaseType::Mongodb, s.options.to_json()),
        Ok(s.options)
    );
}

#[test]
fn what_reads_files_or_leaves_tcp_is_refused_and_nothing_secret_is_repeated() {
    for url in [
        "postgres://u:hunter2@h/d?sslrootcert=/etc/passwd",
        "postgres://u:hunter2@h/d?host=/var/run/postgresql",
        "postgres://u:hunter2@h/d?hostaddr=127.0.0.1",
        "postgres://u:hunter2@h/d?service=x",
        "postgres://u:hunter2@h/d?passfile=x",
        "postgres://u:hunter2@h/d?options=-c%20x",
        "postgres://u:hunter2@h/d?hunter2",
        "postgres://u:hunter2@/d",
        "postgres:///d",
        "postgres://u:hunter2@%2Ftmp/d?x=1",
        "redis+unix://u:hunter2@/tmp/x",
        "unix:///tmp/redis.sock",
        "redis:///tmp/x",
        "mongodb://u:hunter2@h/?tlsCAFile=/etc/passwd",
        "mongodb://u:hunter2@h/?proxyHost=x",
        "mongodb://u:hunter2@%2Ftmp%2Fmongodb-27017.sock/",
        "mongodb://u:hunter2@h/?tls=hunter2",
        "mongodb+srv://u:hunter2@h:27017/",
        "mongodb+srv://a,b/",
        "redis://h/hunter2",
        "redis://a,b",
        "redis+sentinel://a",
        "redis+cluster://a/1",
        "redis://h:0",
        "redis://h:99999",
        "redis://h:hunter2",
        "redis://u:hunter2@h/#hunter2",
        "http://u:hunter2@h",
        "hunter2",
        "redis://u:hunter2@[::1",
        "postgres://user:12/hunter2@h/d",
        "postgres://user:12?hunter2@h/d",
        "redis://user:12#hunter2@h",
        "redis://u:hunter2@[::1]x",
        "postgres://u:hunter2@h/%ff",
        "",
        "redis://u:hunter2@h/0\r\nFLUSHALL",
    ] {
        match Settings::from_url(&url.into()) {
            // What looks like a host is refused by the guard of hosts.
            Ok(settings) => assert!(
                settings.hosts.iter().any(|host| host.name.contains('%')),
                "{url}"
            ),
            Err(error) => {
                assert!(
                    !error.to_string().contains("hunter2") || url.contains("?hunter2"),
                    "{url}: {error}"
                );
                assert_eq!(error.field, "url");
            }
        }
    }
    let shown = format!("{:?}", parse("redis://someone:hunter2@h"));
    assert!(
        !shown.contains("hunter2") && !shown.contains("someone"),
        "{shown}"
    );
}
