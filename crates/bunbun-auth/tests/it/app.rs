//! The service with a database, a mailbox and a clock that a test moves.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, OnceLock, atomic::AtomicU32, atomic::Ordering},
    time::Duration,
};

use bunbun_auth::{
    AuthParts, AuthService, Signer,
    mail::{Mail, MailError, Mailer, mailbox::Mailbox},
};
use bunbun_core::{
    clock::{Clock, ManualClock},
    config::{Config, Sources},
    id::ProjectRef,
    jwt::{Claims, Verifier, application_key},
    project::{Project, ProjectKeys},
};
use bunbun_http::{
    RequestContext, RequestId,
    body::{self, Embedded},
};
use bunbun_postgres::{Pool, PoolConfig, SingleDatabase};
use bunbun_test::TestDb;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

pub(crate) const JWT_SECRET: &str = "a-secret-of-these-tests-with-32-characters";
pub(crate) const EXTERNAL_URL: &str = "http://localhost:9/auth/v1";
pub(crate) const SITE: &str = "http://app.example";
pub(crate) const PASSWORD: &str = "correct horse battery";
/// 2027-01-15T08:00:00Z.
pub(crate) const START: i64 = 1_800_000_000;

/// The service and what is around it.
pub(crate) struct App {
    pub(crate) service: AuthService,
    pub(crate) mailbox: Mailbox,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) database: Arc<TestDb>,
    pub(crate) project: Arc<Project>,
    slot: Arc<dyn Embedded>,
    service_key: String,
    anon_key: String,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body
    }

    /// Checks status and code of a refusal.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, self.code()),
            (status, code.to_owned()),
            "{}",
            self.text
        );
        assert_eq!(self.header("x-sb-error-code"), code);
        self.body
    }

    pub(crate) fn code(&self) -> String {
        let code = self.body["code"]
            .as_str()
            .or_else(|| self.body["error_code"].as_str());
        code.unwrap_or_default().to_owned()
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    /// Where a redirect leads, with the parameters of its query and of its fragment.
    #[track_caller]
    pub(crate) fn location(&self) -> Location {
        assert!(
            matches!(self.status, 302 | 303),
            "{} {}",
            self.status,
            self.text
        );
        Location::read(self.header("location"))
    }
}

/// A redirect's target.
#[derive(Debug)]
pub(crate) struct Location {
    pub(crate) url: Url,
    pub(crate) query: HashMap<String, String>,
    pub(crate) fragment: HashMap<String, String>,
}

impl Location {
    pub(crate) fn read(text: &str) -> Self {
        let url = Url::parse(text).expect("a URL");
        let pairs = |text: &str| {
            url::form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect()
        };
        Self {
            query: pairs(url.query().unwrap_or_default()),
            fragment: pairs(url.fragment().unwrap_or_default()),
            url,
        }
    }

    /// The target without what was added.
    pub(crate) fn base(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }
}

/// One request on its way.
pub(crate) struct Call<'a> {
    app: &'a App,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    ip: IpAddr,
}

impl Call<'_> {
    /// As the bearer of a token.
    pub(crate) fn bearer(self, token: impl AsRef<str>) -> Self {
        let value = format!("Bearer {}", token.as_ref());
        self.header("authorization", &value)
    }

    /// As the user of a session.
    #[track_caller]
    pub(crate) fn by(self, session: &Value) -> Self {
        let token = session["access_token"]
            .as_str()
            .expect("a session")
            .to_owned();
        self.bearer(token)
    }

    /// As the project's owner.
    pub(crate) fn by_admin(self) -> Self {
        let key = self.app.service_key.clone();
        self.bearer(key)
    }

    pub(crate) fn by_anon(self) -> Self {
        let key = self.app.anon_key.clone();
        self.bearer(key)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header that every request has otherwise.
    pub(crate) fn without(&mut self, name: &str) {
        self.headers.retain(|(known, _)| known != name);
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw(body.to_string())
    }

    pub(crate) fn raw(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn at_ip(mut self, ip: &str) -> Self {
        self.ip = ip.parse().expect("well-formed");
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut request = request.body(body::full(self.body)).expect("a request");
        request.extensions_mut().insert(RequestContext {
            request_id: RequestId::generate(),
            project: Arc::clone(&self.app.project),
            client_ip: self.ip,
            caller: None,
        });
        let response = self.app.slot.call(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        }
    }
}

/// The settings of a test: no limits, and addresses confirmed at once, unless it says otherwise.
const DEFAULTS: [(&str, &str); 9] = [
    ("JWT_SECRET", JWT_SECRET),
    ("SITE_URL", SITE),
    ("MAILER_AUTOCONFIRM", "true"),
    ("SMTP_MAX_FREQUENCY", "0s"),
    ("RATE_LIMIT_EMAIL_SENT", "0"),
    ("RATE_LIMIT_TOKEN_REFRESH", "0"),
    ("RATE_LIMIT_VERIFY", "0"),
    ("RATE_LIMIT_OTP", "0"),
    ("MFA_RATE_LIMIT_CHALLENGE_AND_VERIFY", "0"),
];

impl App {
    /// A service with some settings, on a database of its own.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let database = TestDb::from_template("auth", |url| async move {
            let pool = Pool::new(&PoolConfig::new(url.into(), "auth")).expect("the URL is good");
            bunbun_auth::migrate(&pool).await.expect("it is there");
        })
        .await?;
        Some(Self::on(Arc::new(database), settings))
    }

    /// A service on a database that is there already.
    pub(crate) fn on(database: Arc<TestDb>, settings: &[(&str, &str)]) -> Self {
        let mut config = PoolConfig::new(database.url().into(), "auth");
        config.size = 6;
        Self::with_pool(database, &config, settings)
    }

    /// A service whose mails are delivered in the background, as those of a mail server are.
    pub(crate) async fn with_slow_mails(settings: &[(&str, &str)]) -> Option<Self> {
        let app = Self::start(settings).await?;
        let config = PoolConfig::new(app.database.url().into(), "auth");
        Some(Self::with_mailer(
            Arc::clone(&app.database),
            &config,
            settings,
            |mailbox| Arc::new(Slow(mailbox)),
        ))
    }

    pub(crate) fn with_pool(
        database: Arc<TestDb>,
        pool: &PoolConfig,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::with_mailer(database, pool, settings, |mailbox| Arc::new(mailbox))
    }

    fn with_mailer(
        database: Arc<TestDb>,
        pool: &PoolConfig,
        settings: &[(&str, &str)],
        mailer: impl FnOnce(Mailbox) -> Arc<dyn Mailer>,
    ) -> Self {
        let env = DEFAULTS.iter().chain(settings);
        let sources = Sources {
            env: env
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Sources::default()
        };
        let config = Config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"));
        let clock = Arc::new(ManualClock::at(START));
        let as_clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let mailbox = Mailbox::new(Arc::clone(&as_clock));
        let signer = match &config.auth.jwt_keys {
            Some(keys) => Signer::from_keys(keys.expose_secret(), JWT_SECRET).expect("it works"),
            None => Signer::hs256(JWT_SECRET),
        };
        let reference = ProjectRef::default_project();
        let pool = Pool::new(pool).expect("the URL is good");
        let external_url = OnceLock::from(Url::parse(EXTERNAL_URL).expect("a URL"));
        let service = AuthService::new(AuthParts {
            databases: Arc::new(SingleDatabase::new(reference.clone(), Some(pool))),
            config: config.auth,
            jwt_secret: JWT_SECRET.into(),
            signer: Arc::new(signer),
            external_url: Arc::new(external_url),
            mailer: mailer(mailbox.clone()),
            clock: Arc::clone(&as_clock),
            version: "test",
        })
        .expect("it works");
        let service_key = application_key(JWT_SECRET, Claims::SERVICE_ROLE, START);
        let anon_key = application_key(JWT_SECRET, Claims::ANON, START);
        let verifier = Verifier::new(JWT_SECRET).with_clock(as_clock);
        let project = Arc::new(Project {
            reference,
            keys: ProjectKeys {
                anon: anon_key.clone().into(),
                service_role: service_key.clone().into(),
                opaque: Vec::new(),
            },
            verifier: verifier
                .with_jwks(&service.public_keys())
                .expect("it works"),
        });
        Self {
            slot: service.embedded(),
            service,
            mailbox,
            clock,
            database,
            project,
            service_key,
            anon_key,
        }
    }

    pub(crate) fn call(&self, method: Method, path: impl Into<String>) -> Call<'_> {
        Call {
            app: self,
            method,
            path: path.into(),
            headers: vec![("x-supabase-api-version".to_owned(), "2024-01-01".to_owned())],
            body: Vec::new(),
            ip: [192, 0, 2, 1].into(),
        }
    }

    pub(crate) fn get(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.call(Method::POST, path).json(body)
    }

    pub(crate) fn put(&self, path: impl Into<String>, body: &Value) -> Call<'_> {
        self.call(Method::PUT, path).json(body)
    }

    pub(crate) fn delete(&self, path: impl Into<String>) -> Call<'_> {
        self.call(Method::DELETE, path)
    }

    /// Signs up with the usual password and gives the session.
    pub(crate) async fn sign_up(&self, email: &str) -> Value {
        let body = json!({ "email": email, "password": PASSWORD });
        self.post("/signup", &body).send().await.ok()
    }

    pub(crate) async fn sign_in(&self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.post("/token?grant_type=password", &body).send().await
    }

    pub(crate) async fn refresh(&self, token: &Value) -> Answer {
        let body = json!({ "refresh_token": token });
        self.post("/token?grant_type=refresh_token", &body)
            .send()
            .await
    }

    /// The claims of a session's access token, verified.
    #[track_caller]
    pub(crate) fn claims(&self, session: &Value) -> Value {
        let token = session["access_token"].as_str().expect("a session");
        let claims = self
            .project
            .verifier
            .verify(token)
            .expect("a token of ours");
        Value::Object(claims.all.clone().into_iter().collect())
    }

    /// The latest mail to an address.
    #[track_caller]
    pub(crate) fn mail(&self, address: &str) -> Mail {
        let mail = self.mailbox.latest_to(address);
        mail.unwrap_or_else(|| panic!("no mail to {address}")).mail
    }

    /// What a link of a mail is to this service.
    pub(crate) fn path_of(link: &str) -> String {
        link.strip_prefix(EXTERNAL_URL)
            .expect("a link of ours")
            .to_owned()
    }

    /// One value of the database, as its superuser.
    pub(crate) async fn sql(&self, sql: &str) -> String {
        let client = self.database.superuser().await;
        let rows = client
            .query(&format!("select ({sql})::text"), &[])
            .await
            .expect("it is there");
        rows[0].get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.database
            .superuser()
            .await
            .batch_execute(sql)
            .await
            .expect("it is there");
    }
}

/// A mailbox that is not at hand.
struct Slow(Mailbox);

impl Mailer for Slow {
    fn deliver<'a>(&'a self, mail: &'a Mail) -> BoxFuture<'a, Result<(), MailError>> {
        self.0.deliver(mail)
    }
}

/// An address that nobody else has.
pub(crate) fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("user{}@example.com", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The longest wait for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
