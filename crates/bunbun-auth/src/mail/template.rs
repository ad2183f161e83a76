//! Mail templates in the original's notation, a small part of Go's: `{{ .Token }}`,
//! `{{ .Data.name }}`, `{{ if .Data.name }} … {{ else }} … {{ end }}`, `{{ if not … }}`,
//! `{{ if eq .Type "x" }}`. Values are escaped for HTML, and values that become a link may only
//! lead to a web page or a mail address: a user's own data cannot change what a mail says or does.

use serde_json::Value;

/// The longest template.
pub(crate) const MAX_BYTES: usize = 256 * 1024;
/// The deepest nesting.
const MAX_DEPTH: usize = 16;

/// The template is malformed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub(crate) struct TemplateError {
    line: usize,
    problem: &'static str,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Html,
    /// One line without markup.
    Subject,
}

/// A parsed template.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template(Vec<Node>);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Text(String),
    Value(Vec<String>),
    If {
        condition: Condition,
        then: Vec<Self>,
        otherwise: Vec<Self>,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Set(Vec<String>),
    NotSet(Vec<String>),
    Equal(Vec<String>, String),
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parser = Parser { text, at: 0 };
        if text.len() > MAX_BYTES {
            return Err(parser.fault("longer than 256 KiB"));
        }
        let (nodes, end) = parser.nodes(0)?;
        match end {
            Closing::Text => Ok(Self(nodes)),
            _ => Err(parser.fault("an `else` or `end` without its `if`")),
        }
    }

    /// Fills the template. What is not there is written as nothing.
    pub(crate) fn render(&self, data: &Value, format: Format) -> String {
        let mut out = String::new();
        render(&self.0, data, format, &mut out);
        match format {
            Format::Html => out,
            Format::Subject => out
                .chars()
                .map(|c| if c.is_control() { ' ' } else { c })
                .take(250)
                .collect(),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

#[derive(PartialEq)]
enum Closing {
    /// Of the text.
    Text,
    Else,
    End,
}

impl Parser<'_> {
    fn fault(&self, problem: &'static str) -> TemplateError {
        let before = self.text.get(..self.at).unwrap_or(self.text);
        TemplateError {
            line: before.matches('\n').count() + 1,
            problem,
        }
    }

    fn nodes(&mut self, depth: usize) -> Result<(Vec<Node>, Closing), TemplateError> {
        if depth > MAX_DEPTH {
            return Err(self.fault("nested too deeply"));
        }
        let mut nodes = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(open) = rest.find("{{") else {
                nodes.push(Node::Text(rest.to_owned()));
                self.at = self.text.len();
                return Ok((nodes, Closing::Text));
            };
            let Some(close) = rest[open..].find("}}") else {
                return Err(self.fault("`{{` without its `}}`"));
            };
            let mut before = &rest[..open];
            let mut action = &rest[open + 2..open + close];
            // `{{-` and `-}}` eat the space around them.
            if let Some(trimmed) = action.strip_prefix('-') {
                before = before.trim_end();
                action = trimmed;
            }
            let after = self.at + open + close + 2;
            self.at = after;
            if let Some(trimmed) = action.strip_suffix('-') {
                action = trimmed;
                self.at += self.text[after..].len() - self.text[after..].trim_start().len();
            }
            nodes.push(Node::Text(before.to_owned()));
            match self.action(action.trim(), depth)? {
                Action::Node(node) => nodes.push(node),
                Action::Nothing => {}
                Action::Close(closing) => return Ok((nodes, closing)),
            }
        }
    }

    fn action(&mut self, action: &str, depth: usize) -> Result<Action, TemplateError> {
        if action.starts_with("/*") && action.ends_with("*/") {
            return Ok(Action::Nothing);
        }
        match action {
            "end" => return Ok(Action::Close(Closing::End)),
            "else" => return Ok(Action::Close(Closing::Else)),
            _ => {}
        }
        if let Some(condition) = action.strip_prefix("if ") {
            let condition = self.condition(condition.trim())?;
            let (then, end) = self.nodes(depth + 1)?;
            let (otherwise, end) = match end {
                Closing::Else => self.nodes(depth + 1)?,
                end => (Vec::new(), end),
            };
            if end != Closing::End {
                return Err(self.fault("an `if` without its `end`"));
            }
            return Ok(Action::Node(Node::If {
                condition,
                then,
                otherwise,
            }));
        }
        self.path(action)
            .map(|path| Action::Node(Node::Value(path)))
    }

    fn condition(&self, text: &str) -> Result<Condition, TemplateError> {
        if let Some(path) = text.strip_prefix("not ") {
            return self.path(path.trim()).map(Condition::NotSet);
        }
        if let Some(rest) = text.strip_prefix("eq ") {
            let (path, literal) = rest
                .trim()
                .split_once(' ')
                .ok_or_else(|| self.fault("`eq` needs a value and a text"))?;
            let literal = literal
                .trim()
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'))
                .filter(|text| !text.contains(['"', '\\']))
                .ok_or_else(|| self.fault("`eq` needs a text in double quotes"))?;
            return Ok(Condition::Equal(self.path(path)?, literal.to_owned()));
        }
        self.path(text).map(Condition::Set)
    }

    /// `.Data.name`.
    fn path(&self, text: &str) -> Result<Vec<String>, TemplateError> {
        let names: Option<Vec<String>> = text.strip_prefix('.').and_then(|rest| {
            rest.split('.')
                .map(|name| {
                    let ok = !name.is_empty()
                        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                    ok.then(|| name.to_owned())
                })
                .collect()
        });
        names.ok_or_else(|| self.fault("only values such as .Token, `if`, `else` and `end`"))
    }
}

enum Action {
    Node(Node),
    Nothing,
    Close(Closing),
}

fn render(nodes: &[Node], data: &Value, format: Format, out: &mut String) {
    for node in nodes {
        match node {
            Node::Text(text) => out.push_str(text),
            Node::Value(path) => {
                let text = find(data, path).map(as_text).unwrap_or_default();
                write_value(&text, format, out);
            }
            Node::If {
                condition,
                then,
                otherwise,
            } => {
                let branch = if holds(condition, data) {
                    then
                } else {
                    otherwise
                };
                render(branch, data, format, out);
            }
        }
    }
}

fn find<'d>(data: &'d Value, path: &[String]) -> Option<&'d Value> {
    path.iter().try_fold(data, |value, name| value.get(name))
}

fn holds(condition: &Condition, data: &Value) -> bool {
    let is_set = |path| match find(data, path) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Array(list)) => !list.is_empty(),
        Some(Value::Object(object)) => !object.is_empty(),
        Some(Value::Bool(true)) => true,
    };
    match condition {
        Condition::Set(path) => is_set(path),
        Condition::NotSet(path) => !is_set(path),
        Condition::Equal(path, literal) => find(data, path).is_some_and(|v| as_text(v) == *literal),
    }
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn write_value(text: &str, format: Format, out: &mut String) {
    if format == Format::Subject {
        out.push_str(text);
        return;
    }
    let begins_link = ["href=", "src=", "action="].iter().any(|name| {
        let before = out.trim_end_matches(['"', '\'']);
        before.len() < out.len() + 1 && before.to_ascii_lowercase().ends_with(name)
    });
    if begins_link && !is_harmless_link(text) {
        out.push('#');
        return;
    }
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '`' => out.push_str("&#96;"),
            '=' if begins_link => out.push('='),
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
}

fn is_harmless_link(text: &str) -> bool {
    let lower = text.trim_start().to_ascii_lowercase();
    match lower.split_once(':') {
        Some((scheme, _)) if !scheme.contains(['/', '?', '#']) => {
            matches!(scheme, "http" | "https" | "mailto")
        }
        _ => !lower.starts_with("//") && !lower.contains('\\'),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::{Format, Template};

    fn html(template: &str, data: &serde_json::Value) -> String {
        Template::parse(template)
            .unwrap()
            .render(data, Format::Html)
    }

    #[test]
    fn values_conditions_and_comments() {
        let data = json!({ "Token": "123456", "Data": { "name": "Ann", "age": 7 }, "Email": "" });
        assert_eq!(
            html(
                "{{ .Token }}-{{.Data.name}}-{{ .Data.age }}-{{ .Nope.x }}",
                &data
            ),
            "123456-Ann-7-"
        );
        let conditional = "{{ if .Data.name }}Hello {{ .Data.name }}{{ else }}Hello{{ end }}";
        assert_eq!(html(conditional, &data), "Hello Ann");
        assert_eq!(html("{{if not .Email}}none{{end}}", &data), "none");
        assert_eq!(
            html("{{ if eq .Data.name \"Ann\" }}yes{{ end }}", &data),
            "yes"
        );
        assert_eq!(html("a {{- /* note */ -}} b", &data), "ab");
    }

    #[test]
    fn nothing_that_a_user_writes_becomes_markup_or_template() {
        let data = json!({ "Data": {
            "name": "</p><script>alert(1)</script>{{ .Token }}\"'`",
            "link": "javascript:alert(1)",
            "page": "https://a.example/?b=c&d=e",
        }, "Token": "123456" });
        assert_eq!(
            html("<p title='{{ .Data.name }}'>", &data),
            "<p title='&lt;/p&gt;&lt;script&gt;alert(1)&lt;/script&gt;{{ .Token }}&#34;&#39;&#96;'>"
        );
        assert_eq!(
            html("<a href=\"{{ .Data.link }}\">", &data),
            "<a href=\"#\">"
        );
        assert_eq!(html("<a href={{ .Data.link }}>", &data), "<a href=#>");
        assert_eq!(
            html("<a href=\"{{ .Data.page }}\">", &data),
            "<a href=\"https://a.example/?b=c&amp;d=e\">"
        );
        let subject = Template::parse("Hi {{ .Data.name }}").unwrap();
        let data = json!({ "Data": { "name": "x\r\nBcc: everyone@example.com" } });
        assert_eq!(
            subject.render(&data, Format::Subject),
            "Hi x  Bcc: everyone@example.com"
        );
    }

    #[test]
    fn what_is_not_supported_is_said_with_its_line() {
        for (bad, line) in [
            ("a\n{{ range .Data }}{{ end }}", 2),
            ("{{ if .A }}", 1),
            ("{{ end }}", 1),
            ("{{ .A", 1),
            ("{{ .Data | html }}", 1),
            ("{{ call .X }}", 1),
            ("{{ .Data..x }}", 1),
        ] {
            let error = Template::parse(bad).unwrap_err();
            assert!(
                error.to_string().starts_with(&format!("line {line}")),
                "{bad}: {error}"
            );
        }
        assert!(Template::parse(&"{{ if .A }}".repeat(100)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}", value in ".{0,50}") {
            if let Ok(template) = Template::parse(&text) {
                template.render(&json!({ "A": value }), Format::Html);
            }
        }

        #[test]
        fn no_value_adds_markup(value in ".{0,100}") {
            let out = html("<b>{{ .A }}</b>", &json!({ "A": value }));
            prop_assert_eq!(out.matches('<').count(), 2);
        }
    }
}
