//! What a route matches: paths, hosts and methods, as far as BunBun matches the same.

use super::{document::Generation, services::is_plain_path};

/// What a path of a route is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pattern<'p> {
    /// A prefix.
    Prefix(&'p str),
    /// Something else, all of whose matches begin with this prefix.
    Within(&'p str),
}

/// Tells a prefix from a regular expression.
pub(super) fn classify(path: &str, generation: Generation) -> Pattern<'_> {
    let expression = match generation {
        Generation::Three => path.strip_prefix('~'),
        Generation::Two => path
            .bytes()
            .any(|byte| !byte.is_ascii_alphanumeric() && !b"-._~/%".contains(&byte))
            .then_some(path),
    };
    match expression {
        Some(expression) => Pattern::Within(literal_folder(expression)),
        None if is_plain_path(path) => Pattern::Prefix(path),
        // Not in the normal form, in which requests are compared: it matches nothing.
        None => Pattern::Within(literal_folder(path)),
    }
}

/// The longest folder (with its slash) in which everything lies that an expression matches.
fn literal_folder(expression: &str) -> &str {
    const ROOT: &str = "/";
    let expression = expression.strip_prefix('^').unwrap_or(expression);
    if !expression.starts_with('/') || has_open_alternative(expression) {
        return ROOT;
    }
    let is_literal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~/".contains(&byte);
    let end = expression
        .bytes()
        .position(|byte| !is_literal(byte))
        .unwrap_or(expression.len());
    // A quantifier makes the character before it optional.
    let quantified = matches!(
        expression.as_bytes().get(end),
        Some(b'?' | b'*' | b'+' | b'{')
    );
    let literal = &expression[..end - usize::from(quantified)];
    let folder = literal.rfind('/').map_or(ROOT, |slash| &literal[..=slash]);
    if folder.is_empty() || !is_plain_path(folder) {
        ROOT
    } else {
        folder
    }
}

/// Whether an expression has a `|` outside of groups.
fn has_open_alternative(expression: &str) -> bool {
    let mut depth = 0_usize;
    let mut escaped = false;
    for byte in expression.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            // Brackets may hold a parenthesis that opens nothing: then nothing is certain.
            b'[' => return expression.contains('|'),
            b'|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

/// A host in lower case, if BunBun matches it as Kong does.
pub(super) fn host(text: &str) -> Option<String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_name = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    is_name.then(|| text.to_ascii_lowercase())
}

/// A method in upper case.
pub(super) fn method(text: &str) -> Option<String> {
    let is_method = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_method.then(|| text.to_ascii_uppercase())
}

/// Whether every path under `inner` lies under `outer`, by whole segments.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || outer.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::{Generation, Pattern, classify, covers, literal_folder};

    #[test]
    fn a_tilde_or_an_unusual_character_makes_an_expression() {
        let two = |path| classify(path, Generation::Two);
        let three = |path| classify(path, Generation::Three);
        assert_eq!(two("/a-b/c_d.e"), Pattern::Prefix("/a-b/c_d.e"));
        assert_eq!(two("/a/(b|c)$"), Pattern::Within("/a/"));
        assert_eq!(three("/a/@b"), Pattern::Prefix("/a/@b"));
        assert_eq!(three("~/a/@b"), Pattern::Within("/a/"));
        assert_eq!(three("/a/../b"), Pattern::Within("/a/"));
        assert_eq!(three("/a//b"), Pattern::Within("/"));
    }

    #[test]
    fn everything_an_expression_matches_lies_in_its_folder() {
        for (expression, folder) in [
            ("/api/v\\d+/x", "/api/"),
            ("^/api/v1/?x", "/api/"),
            ("/api/?x", "/"),
            ("/api/(a|b)", "/api/"),
            ("/api/a|/b", "/"),
            ("/api/[(]a|/b", "/"),
            ("/api/a.c", "/api/"),
            (".*", "/"),
            ("", "/"),
            ("/", "/"),
            ("/a/\\|b", "/a/"),
        ] {
            assert_eq!(literal_folder(expression), folder, "{expression}");
        }
    }

    #[test]
    fn covering_goes_by_whole_segments() {
        assert!(covers("/", "/a") && covers("/a", "/a/b") && covers("/a/", "/a/b"));
        assert!(covers("/a", "/a") && !covers("/a", "/ab") && !covers("/a/", "/a"));
    }
}
