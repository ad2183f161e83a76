//! The built-in mails and the operator's own, by kind.

use std::{collections::HashMap, time::Duration};

use bunbun_core::config::auth::{MailText, MailTexts};
use parking_lot::Mutex;
use serde_json::Value;

use super::{
    Mail,
    template::{Format, MAX_BYTES, Template},
};

/// How long a template that was fetched is used before it is fetched again.
const FRESH_S: i64 = 600;
/// How long a failed fetch is not repeated.
const RETRY_S: i64 = 30;
/// Longest fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// A kind of mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    Confirmation,
    Invite,
    Recovery,
    MagicLink,
    EmailChange,
    Reauthentication,
}

impl Content {
    const ALL: [Self; 6] = [
        Self::Confirmation,
        Self::Invite,
        Self::Recovery,
        Self::MagicLink,
        Self::EmailChange,
        Self::Reauthentication,
    ];

    /// The type of its link, as `/verify` takes it.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Confirmation => "signup",
            Self::Invite => "invite",
            Self::Recovery => "recovery",
            Self::MagicLink => "magiclink",
            Self::EmailChange => "email_change",
            Self::Reauthentication => "reauthentication",
        }
    }

    const fn subject(self) -> &'static str {
        match self {
            Self::Confirmation => "Confirm your email address",
            Self::Invite => "You are invited",
            Self::Recovery => "Reset your password",
            Self::MagicLink => "Your sign-in link",
            Self::EmailChange => "Confirm your new email address",
            Self::Reauthentication => "Your confirmation code",
        }
    }

    const fn body(self) -> &'static str {
        match self {
            Self::Confirmation => {
                "<h2>Welcome</h2>\n<p>Please confirm that this address is yours:</p>\n\
                 <p><a href=\"{{ .ConfirmationURL }}\">Confirm the address</a></p>\n\
                 <p>Or enter this code: <strong>{{ .Token }}</strong></p>\n"
            }
            Self::Invite => {
                "<h2>An invitation</h2>\n<p>Someone invites you to {{ .SiteURL }}.</p>\n\
                 <p><a href=\"{{ .ConfirmationURL }}\">Accept</a></p>\n\
                 <p>Or enter this code: <strong>{{ .Token }}</strong></p>\n"
            }
            Self::Recovery => {
                "<h2>A new password</h2>\n<p>You can choose a new password here:</p>\n\
                 <p><a href=\"{{ .ConfirmationURL }}\">Choose a password</a></p>\n\
                 <p>Or enter this code: <strong>{{ .Token }}</strong></p>\n\
                 <p>If you did not ask for it, nothing needs to be done.</p>\n"
            }
            Self::MagicLink => {
                "<h2>Sign in</h2>\n<p>This link signs you in:</p>\n\
                 <p><a href=\"{{ .ConfirmationURL }}\">Sign in</a></p>\n\
                 <p>Or enter this code: <strong>{{ .Token }}</strong></p>\n"
            }
            Self::EmailChange => {
                "<h2>A new address</h2>\n\
                 <p>Please confirm the change from {{ .Email }} to {{ .NewEmail }}:</p>\n\
                 <p><a href=\"{{ .ConfirmationURL }}\">Confirm the change</a></p>\n\
                 <p>Or enter this code: <strong>{{ .Token }}</strong></p>\n"
            }
            Self::Reauthentication => {
                "<h2>Confirm that it is you</h2>\n\
                 <p>Enter this code: <strong>{{ .Token }}</strong></p>\n"
            }
        }
    }
}

/// What fills a template, under the original's names.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    pub(crate) to: String,
    pub(crate) link: String,
    pub(crate) token: String,
    pub(crate) token_hash: String,
    pub(crate) site_url: String,
    pub(crate) redirect_to: String,
    pub(crate) email: String,
    pub(crate) new_email: String,
    pub(crate) data: Value,
}

/// Subjects and bodies of every kind.
pub(crate) struct Texts {
    http: reqwest::Client,
    own: HashMap<Content, Own>,
    fetched: Mutex<HashMap<Content, (i64, Option<Template>)>>,
}

#[derive(Default)]
struct Own {
    subject: Option<Template>,
    file: Option<Template>,
    url: Option<String>,
}

impl Texts {
    /// Reads the operator's subjects and files. What cannot be used is said once, and the built-in
    /// text takes its place.
    pub(crate) fn new(config: &MailTexts, http: reqwest::Client) -> Self {
        let own = Content::ALL.into_iter().map(|content| {
            let text = match content {
                Content::Confirmation => &config.confirmation,
                Content::Invite => &config.invite,
                Content::Recovery => &config.recovery,
                Content::MagicLink => &config.magic_link,
                Content::EmailChange => &config.email_change,
                Content::Reauthentication => &config.reauthentication,
            };
            (content, read(content, text))
        });
        Self {
            http,
            own: own.collect(),
            fetched: Mutex::default(),
        }
    }

    /// The mail of a kind, filled.
    pub(crate) async fn render(&self, content: Content, values: Values, now: i64) -> Mail {
        let data = serde_json::json!({
            "ConfirmationURL": values.link,
            "Token": values.token,
            "TokenHash": values.token_hash,
            "SiteURL": values.site_url,
            "RedirectTo": values.redirect_to,
            "Email": values.email,
            "NewEmail": values.new_email,
            "SendingTo": values.to,
            "Type": content.kind(),
            "Data": values.data,
        });
        let own = &self.own[&content];
        let subject = match &own.subject {
            Some(subject) => subject.render(&data, Format::Subject),
            None => content.subject().to_owned(),
        };
        let body = match (&own.file, &own.url) {
            (Some(file), _) => Some(file.clone()),
            (None, Some(url)) => self.fetched(content, url, now).await,
            (None, None) => None,
        };
        let body = body.unwrap_or_else(|| {
            Template::parse(content.body()).expect("the built-in templates are well-formed")
        });
        Mail {
            to: values.to,
            subject,
            html: body.render(&data, Format::Html),
            kind: content.kind(),
            link: values.link,
            token: values.token,
            token_hash: values.token_hash,
        }
    }

    /// A template from its URL; the last good one while a fetch fails.
    async fn fetched(&self, content: Content, url: &str, now: i64) -> Option<Template> {
        let known = self.fetched.lock().get(&content).cloned();
        if let Some((until, template)) = &known
            && now < *until
        {
            return template.clone();
        }
        let (until, template) = match self.fetch(url).await {
            Ok(template) => (now + FRESH_S, Some(template)),
            Err(problem) => {
                tracing::error!(kind = content.kind(), %problem, "a mail template cannot be fetched");
                (now + RETRY_S, known.and_then(|(_, template)| template))
            }
        };
        self.fetched
            .lock()
            .insert(content, (until, template.clone()));
        template
    }

    async fn fetch(&self, url: &str) -> Result<Template, String> {
        let fetching = async {
            let mut response = self.http.get(url).send().await.map_err(|e| e.to_string())?;
            if !response.status().is_success() {
                return Err(format!("the answer is {}", response.status()));
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|e| e.to_string())? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > MAX_BYTES {
                    return Err("it is longer than 256 KiB".to_owned());
                }
            }
            let text = String::from_utf8(bytes).map_err(|e| e.to_string())?;
            Template::parse(&text).map_err(|e| e.to_string())
        };
        tokio::time::timeout(FETCH_TIMEOUT, fetching)
            .await
            .map_err(|_| "it took too long".to_owned())?
    }
}

fn read(content: Content, text: &MailText) -> Own {
    let kind = content.kind();
    let parse = |text: &str| {
        Template::parse(text)
            .inspect_err(|problem| {
                tracing::error!(kind, %problem, "a mail template cannot be used; the built-in one is");
            })
            .ok()
    };
    let mut own = Own {
        subject: text.subject.as_deref().and_then(parse),
        ..Own::default()
    };
    match text.template.as_deref() {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            own.url = Some(url.to_owned());
        }
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => own.file = parse(&text),
            Err(problem) => {
                tracing::error!(kind, path, %problem, "a mail template cannot be read; the built-in one is used");
            }
        },
        None => {}
    }
    own
}

#[cfg(test)]
mod tests {
    use super::Content;
    use crate::mail::template::Template;

    #[test]
    fn the_built_in_templates_are_well_formed() {
        for content in Content::ALL {
            assert!(Template::parse(content.body()).is_ok(), "{content:?}");
        }
    }
}
