//! What the OpenAPI document says beside its operations: titles, security schemes, the error
//! envelope and the answers that many operations share.

use std::collections::BTreeMap;

use bunbun_core::Code;
use serde::Serialize;
use serde_json::json;
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, HeaderBuilder, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, Type,
        security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

/// The document's frame.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "BunBun API",
        description = "One authenticated API over a project's PostgreSQL and the services around it.\n\n\
            Owner operations need the project's `service_role` key, a user's own the `access_token` \
            of a session. Every error has the same \
            envelope; `docs/api/errors.md` explains each code.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This installation; `/p/{ref}` in front names another project")),
    components(schemas(ErrorEnvelope)),
    modifiers(&Components),
    tags(
        (name = "db", description = "The project's PostgreSQL: queries, migrations, tables"),
        (name = "auth", description = "The project's users and their sessions"),
        (name = "storage", description = "Files in buckets"),
        (name = "backups", description = "Backups of the project's PostgreSQL"),
        (name = "connections", description = "Stored connections to databases"),
        (name = "redis", description = "Redis through a stored connection"),
        (name = "mongodb", description = "MongoDB through a stored connection"),
        (name = "postgres", description = "PostgreSQL through a stored connection"),
        (name = "gateway", description = "What the gateway does with requests"),
        (name = "health", description = "Whether BunBun and its services work"),
        (name = "dev", description = "What only `bunbun dev` has"),
        (name = "docs", description = "This document"),
    ),
)]
pub struct Document;

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorEnvelope {
    /// The error.
    pub error: ErrorObject,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorObject {
    /// A stable code; `docs/api/errors.md` lists all.
    #[schema(example = "INVALID_REQUEST")]
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Facts for machines; which ones depends on the code.
    #[schema(value_type = Object)]
    pub details: serde_json::Value,
    /// Finds the request in the logs; also in the header `x-request-id`.
    pub request_id: String,
}

/// The document as indented JSON with a final newline: what is committed and what is served.
#[must_use]
pub fn pretty(document: &utoipa::openapi::OpenApi) -> String {
    let mut text = document
        .to_pretty_json()
        .expect("a document made of serialisable parts is serialisable");
    text.push('\n');
    text
}

struct Components;

impl Modify for Components {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(
                "The project's `service_role` key, or a token of that role",
            ))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKeyValue::with_description(
            "apikey",
            "The same key, where no `Authorization` header is sent",
        );
        components.add_security_scheme("apikey", SecurityScheme::ApiKey(ApiKey::Header(key)));
        let user = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("The `access_token` of a user's session"))
            .build();
        components.add_security_scheme("user", SecurityScheme::Http(user));
        for (name, response) in shared_responses().into_iter().chain(service_responses()) {
            components
                .responses
                .insert(name.to_owned(), response.into());
        }
    }
}

/// The names and contents of `components.responses`.
fn shared_responses() -> [(&'static str, Response); 11] {
    let retry = "Seconds after which to try again";
    [
        (
            "InvalidRequest",
            refusal(
                "The request cannot be used",
                &[Code::InvalidRequest, Code::ValidationFailed],
            )
            .build(),
        ),
        (
            "Unauthorized",
            refusal("No valid credential", &[Code::Unauthorized]).build(),
        ),
        (
            "Forbidden",
            refusal("The credential's role may not do this", &[Code::Forbidden]).build(),
        ),
        ("NotFound", refusal("There is no such thing", &[]).build()),
        (
            "Conflict",
            refusal("The state of the resource does not allow it", &[]).build(),
        ),
        (
            "TooLarge",
            refusal("The body is larger than allowed", &[Code::TooLarge]).build(),
        ),
        (
            "RateLimited",
            refusal("Too many requests", &[Code::RateLimited])
                .header("Retry-After", seconds(retry))
                .build(),
        ),
        (
            "Internal",
            refusal("A fault of ours", &[Code::Internal]).build(),
        ),
        (
            "Upstream",
            refusal(
                "A service that this needs did not answer usefully",
                &[Code::UpstreamError],
            )
            .build(),
        ),
        (
            "Unavailable",
            refusal(
                "PostgreSQL cannot be reached or has no free connection",
                &[Code::DatabaseUnavailable],
            )
            .header("Retry-After", seconds(retry))
            .build(),
        ),
        (
            "Timeout",
            refusal("It took longer than allowed", &[Code::StatementTimeout]).build(),
        ),
    ]
}

/// The same for what the services behind the slots refuse.
fn service_responses() -> [(&'static str, Response); 7] {
    let retry = "Seconds after which to try again";
    [
        (
            "NotSignedIn",
            refusal(
                "Address, password or refresh token are not valid",
                &[Code::InvalidCredentials, Code::InvalidRefreshToken],
            )
            .build(),
        ),
        (
            "NotAdmitted",
            refusal(
                "The user may not sign in or up",
                &[
                    Code::EmailNotConfirmed,
                    Code::UserBanned,
                    Code::SignupDisabled,
                ],
            )
            .build(),
        ),
        (
            "MediaTypeNotAllowed",
            refusal(
                "The bucket takes no files of this type",
                &[Code::MediaTypeNotAllowed],
            )
            .build(),
        ),
        (
            "StorageFull",
            refusal("There is no space left for the file", &[Code::StorageFull]).build(),
        ),
        (
            "Conditional",
            refusal(
                "The object is another one, or has no such range",
                &[Code::PreconditionFailed, Code::RangeNotSatisfiable],
            )
            .build(),
        ),
        (
            "ServiceUnavailable",
            refusal(
                "The service behind this is not configured or cannot be reached",
                &[Code::ServiceUnavailable],
            )
            .header("Retry-After", seconds(retry))
            .build(),
        ),
        (
            "ServiceTimeout",
            refusal(
                "The service behind this did not answer in time",
                &[Code::UpstreamTimeout],
            )
            .build(),
        ),
    ]
}

fn seconds(description: &str) -> utoipa::openapi::Header {
    HeaderBuilder::new()
        .schema(Some(ObjectBuilder::new().schema_type(Type::Integer)))
        .description(Some(description))
        .build()
}

/// An answer with the error envelope, with one example per code.
fn refusal(description: &str, codes: &[Code]) -> ResponseBuilder {
    let examples = codes.iter().map(|code| {
        let value = json!({ "error": {
            "code": code.as_str(),
            "message": code.meaning().trim(),
            "details": {},
            "request_id": "0f8fad5bd9cb469fa16570867728950e",
        }});
        let example = utoipa::openapi::example::ExampleBuilder::new()
            .value(Some(value))
            .build();
        (code.as_str(), example)
    });
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ErrorEnvelope")))
        .examples_from_iter(examples)
        .build();
    ResponseBuilder::new()
        .description(description)
        .content("application/json", content)
}

macro_rules! refusals {
    ($($(#[doc = $doc:literal])+ $name:ident { $($status:literal => $response:literal),+ $(,)? })+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug)]
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                [$(($status.to_owned(), RefOr::Ref(Ref::from_response_name($response)))),+].into()
            }
        }
    )+};
}

refusals! {
    /// What every operation may answer.
    AnyoneRefusals { "429" => "RateLimited", "500" => "Internal" }
    /// What an operation of the project's owner may answer.
    OwnerRefusals {
        "401" => "Unauthorized",
        "403" => "Forbidden",
        "429" => "RateLimited",
        "500" => "Internal",
    }
    /// What an operation for users may answer.
    UserRefusals {
        "401" => "Unauthorized",
        "403" => "Forbidden",
        "429" => "RateLimited",
        "500" => "Internal",
    }
    /// What an operation that signs in may answer.
    SignInRefusals { "401" => "NotSignedIn", "403" => "NotAdmitted" }
    /// What an operation that reads an object may answer.
    DownloadRefusals {
        "400" => "InvalidRequest",
        "412" => "Conditional",
        "416" => "Conditional",
    }
    /// What an operation that writes a file may answer.
    MediaRefusals { "415" => "MediaTypeNotAllowed", "507" => "StorageFull" }
    /// What an operation that needs a service behind a slot may answer.
    ServiceRefusals {
        "502" => "Upstream",
        "503" => "ServiceUnavailable",
        "504" => "ServiceTimeout",
    }
    /// What an operation with parameters may answer.
    ParameterRefusals { "400" => "InvalidRequest" }
    /// What an operation with a body may answer.
    BodyRefusals { "400" => "InvalidRequest", "413" => "TooLarge" }
    /// What an operation on one thing may answer.
    ThingRefusals { "404" => "NotFound" }
    /// What an operation that changes a thing may answer.
    ConflictRefusals { "409" => "Conflict" }
    /// What an operation with `If-Match` may answer.
    ConditionRefusals { "412" => "Conditional" }
    /// What an operation that needs another service may answer.
    UpstreamRefusals { "502" => "Upstream" }
    /// What an operation that needs PostgreSQL may answer.
    DatabaseRefusals { "503" => "Unavailable", "504" => "Timeout" }
    /// What an operation on a server behind a stored connection may answer.
    ConnectedRefusals {
        "400" => "InvalidRequest",
        "409" => "Conflict",
        "413" => "TooLarge",
        "502" => "Upstream",
        "503" => "Unavailable",
        "504" => "Timeout",
    }
    /// What an operation on a stored connection may answer.
    ConnectionRefusals { "502" => "Upstream", "503" => "Unavailable", "504" => "Timeout" }
}
