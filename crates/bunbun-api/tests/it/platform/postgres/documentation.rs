//! The examples of `docs/databases.md`, section PostgreSQL, one after the other.

use http::Method;
use serde_json::Value;

use super::Stage;

const DOCUMENT: &str = include_str!("../../../../../../docs/databases.md");

/// A `curl` command of the document.
struct Example {
    method: Method,
    path: String,
    body: Option<String>,
    answer: Option<Value>,
}

/// The words of a command as a shell reads it; single quotes, double quotes, continued lines.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for char in command.replace("\\\n", " ").chars() {
        match (quote, char) {
            (Some(open), char) if open == char => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None, char) if char.is_whitespace() => words.extend(word.take()),
            (_, char) => word.get_or_insert_default().push(char),
        }
    }
    words.extend(word);
    words
}

/// Percent-encodes the value of `name=value`.
fn encoded(pair: &str) -> String {
    let (name, value) = pair.split_once('=').expect("a pair");
    let value = value.bytes().map(|byte| match byte {
        byte if byte.is_ascii_alphanumeric() || byte == b'-' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    });
    format!("{name}={}", value.collect::<String>())
}

fn example(command: &str) -> Example {
    let words = words(command);
    let (mut method, mut path, mut data, mut query) = (None, String::new(), Vec::new(), false);
    let mut words = words.into_iter().skip(1);
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("a value");
        match word.as_str() {
            "-X" => method = Some(next().parse().expect("a method")),
            "-G" => query = true,
            "-H" => drop(next()),
            "-d" => data.push(next()),
            "--data-urlencode" => data.push(encoded(&next())),
            _ => word
                .strip_prefix("$URL/")
                .expect("a URL")
                .clone_into(&mut path),
        }
    }
    if query {
        path = format!("{path}?{}", data.join("&"));
        data.clear();
    }
    let implied = if data.is_empty() {
        Method::GET
    } else {
        Method::POST
    };
    Example {
        method: method.unwrap_or(implied),
        path,
        body: data.pop(),
        answer: None,
    }
}

fn examples() -> Vec<Example> {
    let section = DOCUMENT
        .split("\n## ")
        .find(|section| section.starts_with("PostgreSQL"));
    let mut examples: Vec<Example> = Vec::new();
    for block in section
        .expect("the section")
        .split("```")
        .skip(1)
        .step_by(2)
    {
        let (language, text) = block.split_once('\n').expect("a block");
        match language {
            "sh" if text.starts_with("curl") => examples.push(example(text)),
            "json" => {
                let answer =
                    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                examples.last_mut().expect("a command before").answer = Some(answer);
            }
            _ => {}
        }
    }
    examples
}

/// Whether an answer has at least what is expected.
fn has(answer: &Value, expected: &Value) -> bool {
    match (answer, expected) {
        (Value::Object(answer), Value::Object(expected)) => expected
            .iter()
            .all(|(name, value)| answer.get(name).is_some_and(|found| has(found, value))),
        (Value::Array(answer), Value::Array(expected)) => expected
            .iter()
            .all(|value| answer.iter().any(|found| has(found, value))),
        _ => answer == expected,
    }
}

#[tokio::test]
async fn the_examples_of_the_documentation_do_what_it_says() {
    let Some(stage) = Stage::with_connection("").await else {
        return;
    };
    let examples = examples();
    assert_eq!(examples.len(), 8);
    for example in examples {
        let what = format!("{} {}", example.method, example.path);
        let call = stage.call(example.method, &example.path);
        let reply = match example.body {
            Some(body) => call.raw("application/json", body).send().await,
            None => call.send().await,
        };
        assert!(reply.status.is_success(), "{what}: {}", reply.text());
        let expected = example.answer.expect("an answer to each example");
        assert!(has(&reply.json(), &expected), "{what}: {}", reply.text());
    }
}
