//! The patterns of the redirect allow-list: `*` is any run without `.` and `/`, `**` any run, `?`
//! one character that is neither, `[abc]` and `[a-z]` a choice, `[!abc]` its opposite, `{a,b}`
//! alternatives, `\` takes the next character as it stands.

/// Characters at which `*` and `?` end.
const SEPARATORS: [char; 2] = ['.', '/'];

/// The longest pattern or text that is looked at.
const MAX_CHARS: usize = 2048;

/// A pattern, its alternatives written out.
#[derive(Debug, Clone)]
pub(crate) struct Glob(Vec<Vec<Token>>);

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    One,
    Run,
    AnyRun,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Compiles a pattern. One that is malformed or too large matches only itself, literally.
    pub(crate) fn new(pattern: &str) -> Self {
        let chars: Vec<char> = pattern.chars().take(MAX_CHARS).collect();
        let compiled = expand(&chars).and_then(|alternatives| {
            alternatives
                .iter()
                .map(|alternative| tokens(alternative))
                .collect()
        });
        Self(compiled.unwrap_or_else(|| vec![chars.into_iter().map(Token::Char).collect()]))
    }

    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().take(MAX_CHARS + 1).collect();
        text.len() <= MAX_CHARS && self.0.iter().any(|tokens| matches(tokens, &text))
    }
}

/// Writes `{a,b}` out; at most 64 alternatives.
fn expand(pattern: &[char]) -> Option<Vec<Vec<char>>> {
    let Some(open) = find_unescaped(pattern, '{', 0) else {
        return Some(vec![pattern.to_vec()]);
    };
    let close = find_unescaped(pattern, '}', open)?;
    let mut all = Vec::new();
    for option in split_unescaped(&pattern[open + 1..close], ',') {
        let mut one = pattern[..open].to_vec();
        one.extend(option);
        one.extend(&pattern[close + 1..]);
        all.extend(expand(&one)?);
        if all.len() > 64 {
            return None;
        }
    }
    Some(all)
}

fn find_unescaped(pattern: &[char], wanted: char, from: usize) -> Option<usize> {
    let mut at = from;
    while at < pattern.len() {
        match pattern[at] {
            '\\' => at += 1,
            c if c == wanted => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn split_unescaped(pattern: &[char], separator: char) -> Vec<&[char]> {
    let mut parts = Vec::new();
    let mut from = 0;
    while let Some(at) = find_unescaped(pattern, separator, from) {
        parts.push(&pattern[from..at]);
        from = at + 1;
    }
    parts.push(&pattern[from..]);
    parts
}

fn tokens(pattern: &[char]) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            '\\' => {
                at += 1;
                tokens.push(Token::Char(*pattern.get(at)?));
            }
            '*' if pattern.get(at + 1) == Some(&'*') => {
                at += 1;
                tokens.push(Token::AnyRun);
            }
            '*' => tokens.push(Token::Run),
            '?' => tokens.push(Token::One),
            '[' => {
                let close = find_unescaped(pattern, ']', at)?;
                tokens.push(class(&pattern[at + 1..close])?);
                at = close;
            }
            c => tokens.push(Token::Char(c)),
        }
        at += 1;
    }
    Some(tokens)
}

fn class(inside: &[char]) -> Option<Token> {
    let (negated, inside) = match inside.split_first()? {
        ('!' | '^', rest) => (true, rest),
        _ => (false, inside),
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < inside.len() {
        if inside.get(at + 1) == Some(&'-')
            && let Some(end) = inside.get(at + 2)
        {
            ranges.push((inside[at], *end));
            at += 3;
        } else {
            ranges.push((inside[at], inside[at]));
            at += 1;
        }
    }
    Some(Token::Class { negated, ranges })
}

/// Which prefixes of the tokens match a prefix of the text, character by character: linear in the
/// text for each token, whatever the pattern.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let mut reached = vec![false; tokens.len() + 1];
    reached[0] = true;
    skip_runs(tokens, &mut reached);
    for c in text {
        let mut next = vec![false; tokens.len() + 1];
        let is_separator = SEPARATORS.contains(c);
        for (at, token) in tokens.iter().enumerate().filter(|(at, _)| reached[*at]) {
            match token {
                Token::Char(wanted) if wanted == c => next[at + 1] = true,
                Token::One if !is_separator => next[at + 1] = true,
                Token::Run if !is_separator => next[at] = true,
                Token::AnyRun => next[at] = true,
                Token::Class { negated, ranges } => {
                    let inside = ranges.iter().any(|(from, to)| (from..=to).contains(&c));
                    if inside != *negated {
                        next[at + 1] = true;
                    }
                }
                _ => {}
            }
        }
        skip_runs(tokens, &mut next);
        reached = next;
    }
    reached[tokens.len()]
}

/// A run may be empty.
fn skip_runs(tokens: &[Token], reached: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if reached[at] && matches!(token, Token::Run | Token::AnyRun) {
            reached[at + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Glob;

    #[test]
    fn stars_end_at_dots_and_slashes_unless_doubled() {
        for (pattern, text, expected) in [
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", false),
            (
                "https://*.example.com",
                "https://evil.com/.example.com",
                false,
            ),
            ("http://localhost:3000/*", "http://localhost:3000/a", true),
            (
                "http://localhost:3000/*",
                "http://localhost:3000/a/b",
                false,
            ),
            (
                "http://localhost:3000/**",
                "http://localhost:3000/a/b.c",
                true,
            ),
            ("https://app-[a-c].x.io/?", "https://app-b.x.io/1", true),
            ("https://app-[!a-c].x.io/?", "https://app-b.x.io/1", false),
            ("https://{a,b}.x.io", "https://b.x.io", true),
            ("https://{a,b}.x.io", "https://c.x.io", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a{b", "a{b", true),
            ("", "", true),
            ("", "x", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_pattern_or_text_panics_or_takes_long(pattern in ".{0,64}", text in ".{0,256}") {
            let _ = Glob::new(&pattern).matches(&text);
        }

        #[test]
        fn a_literal_matches_itself_only(text in "[a-z:/.]{1,40}", other in "[a-z:/.]{1,40}") {
            prop_assert!(Glob::new(&text).matches(&text));
            prop_assert_eq!(Glob::new(&text).matches(&other), text == other);
        }
    }
}
