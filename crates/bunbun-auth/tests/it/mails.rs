//! What mails say, and what nobody can make them say.

use serde_json::json;

use crate::app::{App, PASSWORD, address};

#[tokio::test]
async fn nothing_that_a_user_writes_becomes_markup_or_template() {
    let directory = tempfile::tempdir().unwrap();
    let template = directory.path().join("confirmation.html");
    std::fs::write(
        &template,
        "<p>Hello {{ .Data.name }}</p><a href=\"{{ .ConfirmationURL }}\">{{ .Email }}</a> {{ .Token }} {{ .TokenHash }} {{ .SiteURL }} {{ .RedirectTo }}",
    )
    .unwrap();
    let settings = [
        ("MAILER_AUTOCONFIRM", "false"),
        ("MAILER_TEMPLATES_CONFIRMATION", template.to_str().unwrap()),
        ("MAILER_SUBJECTS_CONFIRMATION", "Welcome {{ .Data.name }}"),
        ("URI_ALLOW_LIST", "https://**"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let email = address();
    let name = "</p><script>alert(1)</script>{{ .Token }}\r\nBcc: all@example.com";
    let body = json!({ "email": email, "password": PASSWORD, "data": { "name": name } });
    let redirect_to = "https://x.example/?q=%22%3E%3Cimg%20src=x%3E";
    let path = format!("/signup?redirect_to={}", url_encoded(redirect_to));
    app.post(path, &body).send().await.ok();
    let mail = app.mail(&email);
    assert!(
        !mail.html.contains("<script>") && !mail.html.contains("<img"),
        "{}",
        mail.html
    );
    assert!(mail.html.contains("&lt;script&gt;"), "{}", mail.html);
    assert!(
        mail.html.contains("{{ .Token }}"),
        "shown as it is: {}",
        mail.html
    );
    assert!(!mail.subject.contains(['\r', '\n']), "{:?}", mail.subject);
    assert!(mail.html.contains(&mail.token_hash) && mail.html.contains(&mail.token));
    assert_eq!(mail.html.matches("href=").count(), 1);
}

fn url_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[tokio::test]
async fn a_template_that_cannot_be_used_is_replaced_by_the_built_in_one() {
    let settings = [
        ("MAILER_AUTOCONFIRM", "false"),
        ("MAILER_TEMPLATES_CONFIRMATION", "/nonexistent.html"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let email = address();
    app.sign_up(&email).await;
    let mail = app.mail(&email);
    assert!(mail.html.contains("Confirm the address"), "{}", mail.html);
    let location = app.get(App::path_of(&mail.link)).send().await.location();
    assert!(location.fragment.contains_key("access_token"));
}

#[tokio::test]
async fn the_budget_of_mails_ends() {
    let settings = [
        ("MAILER_AUTOCONFIRM", "false"),
        ("RATE_LIMIT_EMAIL_SENT", "5"),
    ];
    let Some(app) = App::start(&settings).await else {
        return;
    };
    let mut refused = 0;
    for _ in 0..12 {
        let body = json!({ "email": address(), "password": PASSWORD });
        let answer = app.post("/signup", &body).send().await;
        if answer.status == 429 {
            answer.refused(429, "over_email_send_rate_limit");
            refused += 1;
        }
    }
    assert_eq!(app.mailbox.mails().len(), 5);
    assert_eq!(refused, 7);
    assert_eq!(
        app.sql("select count(*) from auth.users").await,
        "5",
        "nobody without their mail"
    );
}
