//! GitHub, or a GitHub Enterprise server: OAuth 2.0 without OpenID Connect
//! (<https://docs.github.com/en/apps/oauth-apps>).

use bunbun_core::config::auth::ProviderConfig;
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use url::Url;

use super::{Address, Flow, Profile, Tokens, fetch};
use crate::{
    error::{AuthError, Result},
    store::Object,
};

pub(super) struct GitHub {
    web: String,
    api: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize)]
struct UserAnswer {
    id: u64,
    login: String,
    name: Option<String>,
    avatar_url: Option<String>,
}

#[derive(Deserialize)]
struct EmailAnswer {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    pub(super) fn new(url: Option<&Url>, http: reqwest::Client) -> Self {
        let (web, api) = match url {
            None => (
                "https://github.com".to_owned(),
                "https://api.github.com".to_owned(),
            ),
            Some(url) => {
                let web = url.as_str().trim_end_matches('/').to_owned();
                let api = format!("{web}/api/v3");
                (web, api)
            }
        };
        Self { web, api, http }
    }

    pub(super) fn authorize_url(&self) -> Result<Url> {
        Url::parse(&format!("{}/login/oauth/authorize", self.web))
            .map_err(|error| AuthError::internal("The provider's URL cannot be used", error))
    }

    pub(super) async fn sign_in(
        &self,
        config: &ProviderConfig,
        flow: &Flow<'_>,
        code: &str,
    ) -> Result<(Profile, Tokens)> {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair(
                "client_id",
                config.client_ids.first().map_or("", String::as_str),
            )
            .append_pair("client_secret", config.secret.expose_secret())
            .append_pair("code", code)
            .append_pair("redirect_uri", flow.callback)
            .append_pair("code_verifier", flow.verifier)
            .finish();
        let request = self
            .http
            .post(format!("{}/login/oauth/access_token", self.web))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let tokens: TokenAnswer = fetch::json(request, "github's token").await?;
        // GitHub answers errors with 200.
        if tokens.access_token.is_empty() {
            return Err(AuthError::internal(
                "Unable to exchange external code",
                format!("github gave no token: {}", tokens.error),
            ));
        }
        let get = |path: &str| {
            self.http
                .get(format!("{}{path}", self.api))
                .bearer_auth(&tokens.access_token)
        };
        let user: UserAnswer = fetch::json(get("/user"), "github's user").await?;
        let emails: Vec<EmailAnswer> = fetch::json(get("/user/emails"), "github's emails").await?;
        Ok((
            self.profile(&user, emails),
            Tokens {
                access_token: tokens.access_token,
                refresh_token: tokens.refresh_token,
                id_token: String::new(),
            },
        ))
    }

    fn profile(&self, user: &UserAnswer, emails: Vec<EmailAnswer>) -> Profile {
        let mut data = Object::new();
        data.insert("iss".to_owned(), self.api.clone().into());
        data.insert("preferred_username".to_owned(), user.login.clone().into());
        data.insert("user_name".to_owned(), user.login.clone().into());
        if let Some(name) = user.name.as_deref().filter(|name| !name.is_empty()) {
            data.insert("name".to_owned(), name.into());
            data.insert("full_name".to_owned(), name.into());
        }
        if let Some(avatar) = &user.avatar_url {
            data.insert("avatar_url".to_owned(), avatar.clone().into());
        }
        let addresses = emails
            .into_iter()
            .filter_map(|known| Address::read(&known.email, known.verified, known.primary));
        Profile::new(user.id.to_string(), addresses.collect(), data)
    }
}
