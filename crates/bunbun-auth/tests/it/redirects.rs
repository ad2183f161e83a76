//! Open redirects: where links, flows and errors may lead.

use serde_json::json;

use crate::{
    app::{App, address},
    authorize::{come_back, with_provider},
    provider::Key,
};

/// Targets that browsers would take somewhere else.
const TRICKS: [&str; 16] = [
    "https://evil.example/",
    "//evil.example/",
    "https:evil.example",
    "https://app.example@evil.example/",
    "https://evil.example#app.example",
    "http://app.example.evil.example/",
    "http://app.example:80@evil.example/",
    "http://app.example\\@evil.example/",
    "http:\\\\evil.example\\",
    "http://user:pass@app.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "http://APP.example%2eevil.example/",
    "http://app.example\r\nlocation: http://evil.example",
    "http://app.example/\u{0009}@evil.example",
    "http://[::ffff:1.2.3.4]/",
];

#[tokio::test]
async fn no_target_outside_the_list_is_followed() {
    let settings = [(
        "URI_ALLOW_LIST",
        "https://*.good.example/**,myapp://callback",
    )];
    let Some((app, provider)) = with_provider(Key::es256("one"), &settings).await else {
        return;
    };
    provider.says.lock().claims = json!({ "sub": "s", "email": address(), "email_verified": true });
    for trick in TRICKS {
        let encoded: String = url::form_urlencoded::byte_serialize(trick.as_bytes()).collect();
        // A link of a mail.
        let email = address();
        let path = format!("/otp?redirect_to={encoded}");
        app.post(path, &json!({ "email": email })).send().await.ok();
        let mail = app.mail(&email);
        assert!(!mail.link.contains("evil"), "{trick}: {}", mail.link);
        // A link that someone has changed, and its errors.
        for link in [
            format!(
                "/verify?type=magiclink&token={}&redirect_to={encoded}",
                mail.token_hash
            ),
            format!("/verify?type=magiclink&token=unknown&redirect_to={encoded}"),
        ] {
            let location = app.get(link).send().await.location();
            assert_eq!(
                location.url.host_str(),
                Some("app.example"),
                "{trick}: {}",
                location.url
            );
            assert_eq!(location.url.username(), "", "{trick}");
        }
        // OAuth, and the page that a browser came from.
        let location = app
            .get(format!("/authorize?provider=acme&redirect_to={encoded}"))
            .send()
            .await
            .location();
        let back = come_back(&app, &provider, &location).await;
        assert_eq!(
            back.url.host_str(),
            Some("app.example"),
            "{trick}: {}",
            back.url
        );
    }
    let location = app
        .get("/verify?type=signup&token=unknown")
        .header("referer", "https://evil.example/")
        .send()
        .await
        .location();
    assert_eq!(location.url.host_str(), Some("app.example"));
}

#[tokio::test]
async fn targets_of_the_list_are() {
    let settings = [(
        "URI_ALLOW_LIST",
        "https://*.good.example/**,myapp://callback",
    )];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    for target in [
        "https://preview-1.good.example/a/b?c=d",
        "myapp://callback",
        "http://app.example/deep/page",
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(target.as_bytes()).collect();
        let location = app
            .get(format!(
                "/verify?type=signup&token=unknown&redirect_to={encoded}"
            ))
            .send()
            .await
            .location();
        let text = location.url.as_str();
        assert!(
            text.starts_with(target.split('?').next().unwrap()),
            "{target}: {text}"
        );
        assert!(location.fragment.contains_key("error_code"));
    }
}
