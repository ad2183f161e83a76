//! The reference under `docs/api/`, made from the OpenAPI document: a page per tag, a page of all
//! error codes and an index. `bunbun openapi --markdown DIR` writes it.

use std::{collections::BTreeSet, fmt::Write as _};

use bunbun_core::Code;
use serde_json::Value;

/// A page: its file name and its text.
pub type Page = (String, String);

/// Every page of the reference.
#[must_use]
pub fn pages(document: &utoipa::openapi::OpenApi) -> Vec<Page> {
    let document = serde_json::to_value(document)
        .expect("a document made of serialisable parts is serialisable");
    let tags = document["tags"].as_array().cloned().unwrap_or_default();
    let mut pages = vec![("errors.md".to_owned(), errors())];
    let mut index = String::from(
        "# API reference\n\nMade from the OpenAPI document by `make openapi`; do not edit.\n\n\
         | part | what |\n|---|---|\n",
    );
    for tag in &tags {
        let (name, description) = (text(&tag["name"]), text(&tag["description"]));
        let operations = operations(&document, name);
        if operations.is_empty() {
            continue;
        }
        let _ = writeln!(index, "| [{name}]({name}.md) | {description} |");
        pages.push((format!("{name}.md"), page(&document, tag, &operations)));
    }
    index.push_str("| [errors](errors.md) | Every error code |\n");
    pages.push(("README.md".to_owned(), index));
    pages
}

struct Operation<'d> {
    method: &'d str,
    path: &'d str,
    body: &'d Value,
}

fn operations<'d>(document: &'d Value, tag: &str) -> Vec<Operation<'d>> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, body) in item.as_object().into_iter().flatten() {
            let tags = body["tags"].as_array().into_iter().flatten();
            if tags.into_iter().any(|t| t == tag) {
                found.push(Operation { method, path, body });
            }
        }
    }
    found
}

fn page(document: &Value, tag: &Value, operations: &[Operation<'_>]) -> String {
    let mut out = format!(
        "# {}\n\n{}. Refusals have the body that [errors.md](errors.md) describes.\n",
        text(&tag["name"]),
        text(&tag["description"])
    );
    let mut types = BTreeSet::new();
    for operation in operations {
        write_operation(&mut out, document, operation, &mut types);
    }
    write_types(&mut out, document, types);
    out
}

fn write_operation(
    out: &mut String,
    document: &Value,
    operation: &Operation<'_>,
    types: &mut BTreeSet<String>,
) {
    let body = operation.body;
    let method = operation.method.to_uppercase();
    let _ = writeln!(out, "\n## `{method} {}`\n", operation.path);
    let _ = writeln!(out, "{}.", text(&body["summary"]));
    if let Some(description) = body["description"].as_str() {
        let _ = writeln!(out, "\n{}", description.trim());
    }
    let _ = writeln!(out, "\nNeeds: {}.", access(&body["security"]));
    let parameters = body["parameters"].as_array().into_iter().flatten();
    let rows: Vec<_> = parameters.collect();
    if !rows.is_empty() {
        out.push_str("\n| parameter | in | type | |\n|---|---|---|---|\n");
    }
    for row in rows {
        let _ = writeln!(
            out,
            "| `{}`{} | {} | {} | {} |",
            text(&row["name"]),
            required(row["required"] == true),
            text(&row["in"]),
            type_of(&row["schema"], types),
            cell(&row["description"]),
        );
    }
    for (media, content) in body["requestBody"]["content"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let _ = writeln!(
            out,
            "\nBody (`{media}`): {}",
            type_of(&content["schema"], types)
        );
        write_example(out, document, content);
    }
    out.push_str("\n| status | answer |\n|---|---|\n");
    for (status, response) in body["responses"].as_object().into_iter().flatten() {
        let response = resolve(document, response);
        let mut bodies = Vec::new();
        for (media, content) in response["content"].as_object().into_iter().flatten() {
            if content["schema"]["$ref"] == "#/components/schemas/ErrorEnvelope" {
                continue; // errors.md describes it once
            }
            bodies.push(format!("`{media}` {}", type_of(&content["schema"], types)));
        }
        bodies.insert(0, cell(&response["description"]));
        let _ = writeln!(out, "| {status} | {} |", bodies.join("; "));
    }
    let answers = &body["responses"]["200"]["content"];
    for (_, content) in answers.as_object().into_iter().flatten() {
        write_example(out, document, content);
    }
}

/// Writes the example of a body, or else that of its type.
fn write_example(out: &mut String, document: &Value, content: &Value) {
    let own = &content["example"];
    let example = if own.is_null() {
        &resolve(document, &content["schema"])["example"]
    } else {
        own
    };
    if example.is_object() {
        let shown = serde_json::to_string_pretty(example).unwrap_or_default();
        let _ = writeln!(out, "\n```json\n{shown}\n```");
    }
}

/// Writes the fields of the given types and of those that they mention.
fn write_types(out: &mut String, document: &Value, mut open: BTreeSet<String>) {
    let mut done = BTreeSet::new();
    while let Some(name) = open.pop_first() {
        if !done.insert(name.clone()) {
            continue;
        }
        let schema = &document["components"]["schemas"][&name];
        let _ = writeln!(out, "\n### {name}\n");
        if let Some(description) = schema["description"].as_str() {
            let _ = writeln!(out, "{}\n", description.trim());
        }
        let needed: Vec<_> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .collect();
        let mut mentioned = BTreeSet::new();
        match schema["properties"].as_object() {
            Some(fields) => {
                out.push_str("| field | type | |\n|---|---|---|\n");
                for (field, schema) in fields {
                    let _ = writeln!(
                        out,
                        "| `{field}`{} | {} | {} |",
                        required(needed.iter().any(|name| *name == field)),
                        type_of(schema, &mut mentioned),
                        cell(&schema["description"]),
                    );
                }
            }
            None => {
                let _ = writeln!(out, "{}", type_of(schema, &mut mentioned));
            }
        }
        open.extend(mentioned.into_iter().filter(|name| !done.contains(name)));
    }
}

fn errors() -> String {
    let mut out = String::from(
        "# Errors\n\nEvery error of BunBun's own endpoints has the same body:\n\n```json\n\
         {\"error\": {\"code\": \"PROJECT_NOT_FOUND\", \"message\": \"No project 'abc'.\", \
         \"details\": {}, \"request_id\": \"…\"}}\n```\n\n`code` is stable, `message` is for \
         people and may change, `request_id` finds the request in the log. Routes of the services \
         (`/auth/v1`, `/rest/v1`, …) answer as the original services do.\n\n\
         | code | status | meaning |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let status = bunbun_http::error::status(*code).as_u16();
        let meaning = code
            .meaning()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        let _ = writeln!(out, "| `{}` | {status} | {meaning} |", code.as_str());
    }
    out
}

fn access(security: &Value) -> &'static str {
    match security.as_array() {
        None => "nothing",
        Some(list)
            if list
                .iter()
                .any(|s| s.as_object().is_some_and(serde_json::Map::is_empty)) =>
        {
            "nothing; tells more to the `service_role` key"
        }
        Some(list) => {
            let has = |scheme: &str| list.iter().any(|s| s[scheme].is_array());
            match (has("user"), has("bearer")) {
                (true, true) => "a user's token, or the `service_role` key",
                (true, false) => "a user's token",
                _ => "the `service_role` key",
            }
        }
    }
}

fn type_of(schema: &Value, types: &mut BTreeSet<String>) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        types.insert(name.to_owned());
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
        return values.join(", ").replace('"', "");
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(list) = schema[key].as_array() {
            let list: Vec<_> = list.iter().map(|schema| type_of(schema, types)).collect();
            return list.join(" or ");
        }
    }
    let name = match &schema["type"] {
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    };
    if name.starts_with("array") {
        return name.replacen(
            "array",
            &format!("array of {}", type_of(&schema["items"], types)),
            1,
        );
    }
    if schema["additionalProperties"].is_object() {
        return format!(
            "object of {}",
            type_of(&schema["additionalProperties"], types)
        );
    }
    name
}

/// The component that a reference means, or the value itself.
fn resolve<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    value["$ref"]
        .as_str()
        .and_then(|reference| document.pointer(reference.trim_start_matches('#')))
        .unwrap_or(value)
}

const fn required(required: bool) -> &'static str {
    if required { " (required)" } else { "" }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A text on one line, with nothing in it that would end a table's cell.
fn cell(value: &Value) -> String {
    let line = text(value).split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace('|', "\\|")
}
