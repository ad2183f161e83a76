//! Hooks: functions of the database and endpoints.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use crate::app::{App, PASSWORD, START, address};

/// A call that came to the endpoint: head and body.
type Calls = Arc<Mutex<Vec<(String, String)>>>;

/// An endpoint that gives the same answer each time.
async fn endpoint(status: &'static str, answer: &Value) -> (String, Calls) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it is there");
    let url = format!(
        "http://{}/hook",
        listener.local_addr().expect("it is bound")
    );
    let calls = Calls::default();
    let (seen, answer) = (Arc::clone(&calls), answer.to_string());
    bunbun_core::task::spawn("a hook", async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = Vec::new();
            let mut chunk = [0; 16 * 1024];
            loop {
                let read = stream.read(&mut chunk).await.unwrap_or(0);
                bytes.extend_from_slice(&chunk[..read]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let complete = text.split_once("\r\n\r\n").filter(|(head, body)| {
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        name.eq_ignore_ascii_case("content-length")
                            .then(|| value.parse::<usize>().ok())?
                    });
                    body.len() >= length.unwrap_or(0)
                });
                if let Some((head, body)) = complete {
                    seen.lock().push((head.to_owned(), body.to_owned()));
                    break;
                }
                if read == 0 {
                    break;
                }
            }
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                answer.len()
            );
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    (url, calls)
}

fn header(head: &str, name: &str) -> String {
    head.lines()
        .find_map(|line| line.strip_prefix(&format!("{name}: ")))
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test]
async fn a_function_customises_claims() {
    let settings = [(
        "HOOK_CUSTOM_ACCESS_TOKEN_URI",
        "pg-functions://postgres/public/claims",
    )];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    app.execute(
        "create function public.claims(event jsonb) returns jsonb language sql stable as $$
           select jsonb_set(event, '{claims,plan}', to_jsonb(event->>'authentication_method')) $$;
         grant execute on function public.claims to public;",
    )
    .await;
    let session = app.sign_up(&address()).await;
    assert_eq!(app.claims(&session)["plan"], "password");
    let next = app.refresh(&session["refresh_token"]).await.ok();
    assert_eq!(app.claims(&next)["plan"], "token_refresh");
}

#[tokio::test]
async fn a_function_may_refuse_and_what_it_breaks_is_undone() {
    let settings = [(
        "HOOK_CUSTOM_ACCESS_TOKEN_URI",
        "pg-functions://postgres/public/claims",
    )];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let replace = |body: &str| {
        format!(
            "create or replace function public.claims(event jsonb) returns jsonb language plpgsql as $$ begin {body} end $$"
        )
    };
    app.execute(&replace("return jsonb_build_object('error', jsonb_build_object('http_code', 403, 'message', 'Not today'));")).await;
    let body = json!({ "email": address(), "password": PASSWORD });
    let answer = app.post("/signup", &body).send().await;
    assert_eq!(
        (answer.status, &answer.body["message"]),
        (403, &json!("Not today"))
    );
    assert_eq!(
        app.sql("select count(*) from auth.users").await,
        "0",
        "all or nothing"
    );
    for broken in [
        "return jsonb_build_object('claims', jsonb_build_object('role', 'x'));",
        "return '{}'::jsonb;",
        "return null;",
        "raise exception 'a secret of the database';",
        "perform pg_sleep(3); return event;",
    ] {
        app.execute(&replace(broken)).await;
        let answer = app.post("/signup", &body).send().await;
        assert!(
            matches!(answer.status, 422 | 500),
            "{broken}: {}",
            answer.text
        );
        assert!(
            !answer.text.contains("secret of the database"),
            "{}",
            answer.text
        );
    }
    assert_eq!(app.sql("select count(*) from auth.users").await, "0");
    app.execute(&replace("return event;")).await;
    app.post("/signup", &body).send().await.ok();
}

#[tokio::test]
async fn a_function_decides_about_new_users() {
    let settings = [
        (
            "HOOK_BEFORE_USER_CREATED_URI",
            "pg-functions://postgres/public/vet",
        ),
        ("ENABLE_ANONYMOUS_USERS", "true"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    app.execute(
        "create function public.vet(event jsonb) returns jsonb language sql as $$
           select case when event->'user'->>'email' like '%@example.com' then '{}'::jsonb
             else '{\"error\": {\"http_code\": 400, \"message\": \"Only our own people\"}}'::jsonb end $$",
    )
    .await;
    app.sign_up(&address()).await;
    for (path, body) in [
        (
            "/signup",
            json!({ "email": "x@elsewhere.example", "password": PASSWORD }),
        ),
        ("/signup", json!({})),
        ("/otp", json!({ "email": "x@elsewhere.example" })),
    ] {
        let answer = app.post(path, &body).send().await;
        assert_eq!(
            (answer.status, &answer.body["message"]),
            (400, &json!("Only our own people")),
            "{path}"
        );
    }
    assert_eq!(app.sql("select count(*) from auth.users").await, "1");
}

#[tokio::test]
async fn an_endpoint_is_called_with_a_signature() {
    let key = BASE64_STANDARD.encode(b"a key of thirty-two bytes, nearly");
    let (url, calls) = endpoint("200 OK", &json!({})).await;
    let secrets = format!("v1,whsec_{key}");
    let settings = [
        ("HOOK_BEFORE_USER_CREATED_URI", url.as_str()),
        ("HOOK_BEFORE_USER_CREATED_SECRETS", secrets.as_str()),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let (head, body) = calls.lock()[0].clone();
    let (id, timestamp) = (
        header(&head, "webhook-id"),
        header(&head, "webhook-timestamp"),
    );
    assert_eq!(timestamp, START.to_string());
    let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(&key).unwrap()).unwrap();
    mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
    let signature = format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(&head, "webhook-signature"), signature);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["user"]["email"], email.as_str());
    assert_eq!(body["metadata"]["name"], "before-user-created");
    assert!(!body.to_string().contains("encrypted_password"));
}

#[tokio::test]
async fn an_endpoint_that_fails_lets_nobody_in() {
    let key = BASE64_STANDARD.encode(b"a key of thirty-two bytes, nearly");
    let secrets = format!("v1,whsec_{key}");
    let (broken, _) = endpoint("500 Internal Server Error", &json!({})).await;
    let (refusing, _) = endpoint(
        "200 OK",
        &json!({ "error": { "http_code": 403, "message": "No" } }),
    )
    .await;
    let (claimless, _) = endpoint("200 OK", &json!({ "x": 1 })).await;
    for (setting, url, status) in [
        ("HOOK_BEFORE_USER_CREATED_URI", broken.as_str(), 500),
        ("HOOK_BEFORE_USER_CREATED_URI", refusing.as_str(), 403),
        ("HOOK_BEFORE_USER_CREATED_URI", "http://127.0.0.1:1/", 422),
        ("HOOK_CUSTOM_ACCESS_TOKEN_URI", claimless.as_str(), 500),
    ] {
        let name = setting.replace("_URI", "_SECRETS");
        let settings = [(setting, url), (name.as_str(), secrets.as_str())];
        let Some(app) = App::start(&settings).await else {
            return;
        };
        let body = json!({ "email": address(), "password": PASSWORD });
        let answer = app.post("/signup", &body).send().await;
        assert_eq!(answer.status, status, "{url}: {}", answer.text);
        assert_eq!(app.sql("select count(*) from auth.users").await, "0");
    }
}

#[tokio::test]
async fn a_slow_hook_leaves_connections_for_everybody_else() {
    let settings = [
        (
            "HOOK_CUSTOM_ACCESS_TOKEN_URI",
            "pg-functions://postgres/public/claims",
        ),
        (
            "HOOK_BEFORE_USER_CREATED_URI",
            "pg-functions://postgres/public/vet",
        ),
        ("ENABLE_ANONYMOUS_USERS", "true"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    app.execute(
        "create function public.claims(event jsonb) returns jsonb language sql as $$ select event $$;
         create function public.vet(event jsonb) returns jsonb language sql as $$ select '{}'::jsonb $$;",
    )
    .await;
    let session = app.sign_up(&address()).await;
    app.execute(
        "create or replace function public.vet(event jsonb) returns jsonb language plpgsql as
           $$ begin perform pg_sleep(1); return '{}'; end $$;",
    )
    .await;
    // More sign-ups than there are connections, and none of them is done.
    let body = json!({});
    let many = futures_util::future::join_all((0..7).map(|_| app.post("/signup", &body).send()));
    let others = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let begin = std::time::Instant::now();
        app.get("/user").by(&session).send().await.ok();
        app.refresh(&session["refresh_token"]).await.ok();
        begin.elapsed()
    };
    let (signed_up, took) = tokio::join!(many, others);
    assert!(took.as_millis() < 600, "{took:?}");
    for answer in signed_up {
        answer.ok();
    }
}
