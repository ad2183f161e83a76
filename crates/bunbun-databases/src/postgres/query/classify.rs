//! What can be known of an SQL text without the server: how many statements it holds, and what
//! their run may leave behind in the session.
//!
//! The scanner knows PostgreSQL's lexical rules (comments, quotes, dollar quotes), not its grammar.
//! Where it is unsure it errs towards more cleaning, never less. Writes are always cleaned after,
//! because of what triggers call. What the names in a text that reads stand for (views, policies,
//! domains, operators of the user) is asked of the server when the statement is prepared; that a
//! function with the name of a built-in one is the user's own is the one thing nobody sees.

/// What a text's run may leave behind in its session, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effects {
    /// Nothing, and nothing in the database either: it reads only, through built-in functions.
    None,
    /// Settings, locks, cursors, temporary tables, sequences' last values: whatever a trigger does.
    Session,
    /// Anything, prepared statements included.
    Everything,
}

/// What is known of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// How many statements it holds; more than there are where a function's body has `;`.
    pub(crate) statements: usize,
    /// What may be left behind.
    pub(crate) effects: Effects,
    /// The first word, in upper case.
    pub(crate) verb: String,
    /// Whether a statement copies from or to the client, which has no place here.
    pub(crate) copies_to_client: bool,
    /// The names and operators of a text without effects, as far as they may be the user's.
    pub(crate) names: Names,
}

/// What a text speaks of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Of tables, views, types and columns; sorted.
    pub(crate) words: Vec<String>,
    /// Sorted.
    pub(crate) operators: Vec<String>,
}

impl Text {
    /// Whether running it twice does no more than running it once.
    pub(crate) fn may_repeat(&self) -> bool {
        self.statements == 1 && self.effects == Effects::None
    }

    /// Whether it may change more than rows: tables, for example.
    pub(crate) fn changes_everything(&self) -> bool {
        self.effects == Effects::Everything
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    /// An unquoted word: keyword or name.
    Word(&'a str),
    /// A quoted name, as it stands between its quotes.
    Quoted(&'a str),
    /// A quoted name with escapes (`U&"…"`).
    Escaped,
    /// A constant or a parameter.
    Value,
    /// Anything else.
    Symbol(u8),
}

/// Scans a text.
pub(crate) fn classify(sql: &str) -> Text {
    let mut text = Text {
        statements: 0,
        effects: Effects::None,
        verb: String::new(),
        copies_to_client: false,
        names: Names::default(),
    };
    let mut is_start = true;
    let mut is_copy = false;
    let mut before = None;
    let mut last = None;
    for token in Tokens(sql) {
        if token == Token::Symbol(b';') {
            is_start = true;
            is_copy = false;
        } else {
            if is_start {
                text.statements += 1;
                let verb = if let Token::Word(word) = token {
                    word
                } else {
                    ""
                };
                is_copy = is(verb, "copy");
                if text.verb.is_empty() {
                    text.verb = verb.to_ascii_uppercase();
                }
                text.effects = text.effects.max(of_verb(token));
                is_start = false;
            }
            if let Token::Word(word) = token {
                text.copies_to_client |= is_copy && (is(word, "stdin") || is(word, "stdout"));
                text.effects = text.effects.max(of_word(word));
                // `SELECT … INTO` makes a table.
                let inserts = matches!(last, Some(Token::Word(verb)) if is(verb, "insert") || is(verb, "merge"));
                if is(word, "into") && !inserts {
                    text.effects = Effects::Everything;
                }
            }
            if token == Token::Escaped {
                text.effects = text.effects.max(Effects::Session);
            }
            if token == Token::Symbol(b'(') {
                text.effects = text.effects.max(of_call(before, last));
            }
        }
        before = last;
        last = Some(token);
    }
    if text.statements > 1 {
        text.effects = Effects::Everything;
    }
    if text.effects == Effects::None {
        text.names = names(sql);
    }
    text
}

/// The names and operators of a text; without those that can only be PostgreSQL's own.
fn names(sql: &str) -> Names {
    let (mut words, mut operators) = (Vec::new(), Vec::new());
    let mut operator = String::new();
    for token in Tokens(sql) {
        if let Token::Symbol(symbol) = token
            && OPERATORS.contains(&symbol)
        {
            operator.push(char::from(symbol));
            continue;
        }
        if !operator.is_empty() {
            operators.push(std::mem::take(&mut operator));
        }
        match token {
            Token::Word(word) => {
                let word = word.to_lowercase();
                if HARMLESS.binary_search(&word.as_str()).is_err() {
                    words.push(word);
                }
            }
            Token::Quoted(name) => words.push(name.replace("\"\"", "\"")),
            _ => {}
        }
    }
    operators.extend((!operator.is_empty()).then_some(operator));
    operators.retain(|operator| !["*", "=", "<", ">", "<=", ">=", "<>"].contains(&&**operator));
    for list in [&mut words, &mut operators] {
        list.sort();
        list.dedup();
    }
    Names { words, operators }
}

/// What operators are made of.
const OPERATORS: &[u8] = b"+-*/<>=~!@#%^&|`?";

/// The number of the statement, from 1, that a character of a text belongs to; characters count
/// from 1 too.
pub(crate) fn statement_at(sql: &str, position: u32) -> u32 {
    let before = usize::try_from(position.saturating_sub(1)).unwrap_or(usize::MAX);
    let end = sql
        .char_indices()
        .nth(before)
        .map_or(sql.len(), |(at, _)| at);
    let mut tokens = Tokens(sql);
    let (mut number, mut is_start) = (0, true);
    loop {
        tokens.skip_space();
        let at = sql.len() - tokens.0.len();
        match tokens.next() {
            Some(_) if at > end => break,
            Some(Token::Symbol(b';')) => is_start = true,
            Some(_) if is_start => {
                number += 1;
                is_start = false;
            }
            Some(_) => {}
            None => break,
        }
    }
    number.max(1)
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

fn of_verb(token: Token<'_>) -> Effects {
    let reads = ["select", "with", "values", "table"];
    let writes = ["insert", "update", "delete", "merge"];
    match token {
        Token::Symbol(b'(') => Effects::None,
        Token::Word(word) if reads.iter().any(|verb| is(word, verb)) => Effects::None,
        Token::Word(word) if writes.iter().any(|verb| is(word, verb)) => Effects::Session,
        _ => Effects::Everything,
    }
}

/// Row locks and writes inside of `WITH`.
fn of_word(word: &str) -> Effects {
    let writes = ["insert", "update", "delete", "merge", "share", "nextval"];
    if writes.iter().any(|write| is(word, write)) {
        Effects::Session
    } else {
        Effects::None
    }
}

/// What stands before an opening parenthesis: a keyword, a built-in function, or something else.
fn of_call(before: Option<Token<'_>>, name: Option<Token<'_>>) -> Effects {
    match name {
        Some(Token::Word(word)) => {
            let word = word.to_ascii_lowercase();
            // Of another schema than the built-in one it is a function of the user.
            let is_qualified = before == Some(Token::Symbol(b'.'));
            let is_known = HARMLESS.binary_search(&word.as_str()).is_ok();
            if is_known && !is_qualified {
                Effects::None
            } else {
                Effects::Everything
            }
        }
        Some(Token::Quoted(_) | Token::Escaped) => Effects::Everything,
        _ => Effects::None,
    }
}

/// Keywords and built-in functions that may stand before a parenthesis and touch no session state.
/// Sorted.
#[rustfmt::skip]
const HARMLESS: &[&str] = &[
    "abs", "age", "all", "and", "any", "array", "array_agg", "array_append", "array_cat",
    "array_length", "array_position", "array_remove", "array_to_string", "as", "avg", "between",
    "bit_length", "bool_and", "bool_or", "btrim", "by", "cardinality", "case", "cast", "ceil",
    "ceiling", "char", "char_length", "character", "coalesce", "concat", "concat_ws", "count",
    "cube", "current_database", "current_setting", "date_part", "date_trunc", "decimal", "decode",
    "dense_rank", "distinct", "else", "encode", "every", "except", "exists", "extract", "filter",
    "first_value", "float", "floor", "format", "format_type", "from", "gen_random_uuid",
    "generate_series", "generate_subscripts", "greatest", "grouping", "having", "ilike", "in",
    "initcap", "intersect", "interval", "is", "isfinite", "join", "json_agg", "json_array_elements",
    "json_build_array", "json_build_object", "json_object_agg", "jsonb_agg", "jsonb_array_elements",
    "jsonb_array_length", "jsonb_build_array", "jsonb_build_object", "jsonb_each",
    "jsonb_object_agg", "jsonb_set", "jsonb_typeof", "lag", "last_value", "lateral", "lead",
    "least", "left", "length", "like", "limit", "lower", "lpad", "ltrim", "make_date",
    "make_interval", "make_timestamp", "materialized", "max", "md5", "min", "mod", "not", "now",
    "ntile", "nullif", "numeric", "octet_length", "offset", "on", "or", "over", "overlaps",
    "overlay", "partition", "pg_backend_pid", "pg_sleep", "position", "power", "quote_ident",
    "quote_literal", "random", "rank", "regexp_matches", "regexp_replace", "repeat", "replace",
    "right", "rollup", "round", "row", "row_number", "row_to_json", "rpad", "rtrim", "select",
    "sets", "sign", "some", "split_part", "sqrt", "stddev", "string_agg", "string_to_array",
    "strpos", "substr", "substring", "sum", "then", "time", "timestamp", "timestamptz", "to_char",
    "to_date", "to_json", "to_jsonb", "to_number", "to_timestamp", "translate", "trim", "trunc",
    "union", "unnest", "upper", "using", "values", "varchar", "variance", "version", "when",
    "where", "with", "within",
];

/// The tokens of an SQL text, without comments.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let bytes = self.0.as_bytes();
        let first = *bytes.first()?;
        let (token, length) = match first {
            b'\'' => (Token::Value, quoted(bytes, b'\'', false)),
            b'"' => {
                let length = quoted(bytes, b'"', false);
                let name = self.0.get(1..length - 1).unwrap_or_default();
                (Token::Quoted(name), length)
            }
            b'$' => match dollar_quoted(self.0) {
                Some(length) => (Token::Value, length),
                None => (
                    Token::Value,
                    1 + run(&bytes[1..], |byte| byte.is_ascii_digit()),
                ),
            },
            b'0'..=b'9' => (
                Token::Value,
                run(bytes, |byte| byte.is_ascii_alphanumeric() || byte == b'.'),
            ),
            _ if is_name(first) => {
                let length = run(bytes, |byte| {
                    is_name(byte) || byte.is_ascii_digit() || byte == b'$'
                });
                match (length, first, bytes.get(1), bytes.get(2)) {
                    (1, b'e' | b'E', Some(b'\''), _) => {
                        (Token::Value, 1 + escape_string(&self.0[1..]))
                    }
                    (1, b'u' | b'U', Some(b'&'), Some(b'"')) => {
                        (Token::Escaped, 2 + quoted(&bytes[2..], b'"', false))
                    }
                    _ => (Token::Word(&self.0[..length]), length),
                }
            }
            symbol => (Token::Symbol(symbol), 1),
        };
        self.0 = self.0.get(length..).unwrap_or_default();
        Some(token)
    }
}

impl Tokens<'_> {
    fn skip_space(&mut self) {
        loop {
            let trimmed = self.0.trim_ascii_start();
            self.0 = if trimmed.starts_with("--") {
                let end = trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
                &trimmed[end..]
            } else if trimmed.starts_with("/*") {
                &trimmed[comment(trimmed.as_bytes())..]
            } else {
                // A vertical tab, which is space to PostgreSQL.
                match trimmed.strip_prefix('\u{b}') {
                    Some(rest) => rest,
                    None => {
                        self.0 = trimmed;
                        return;
                    }
                }
            };
        }
    }
}

/// Letters, the underscore, and every byte of a character beyond ASCII.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn run(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|&&byte| belongs(byte)).count()
}

/// Length of a quoted text with its quotes; up to the end where it is not closed.
fn quoted(bytes: &[u8], quote: u8, has_escapes: bool) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        if bytes[at] == b'\\' && has_escapes {
            at += 2;
        } else if bytes[at] != quote {
            at += 1;
        } else if bytes.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    bytes.len()
}

/// Length of a text with backslash escapes, which goes on after a line break.
fn escape_string(text: &str) -> usize {
    let mut length = quoted(text.as_bytes(), b'\'', true);
    loop {
        let Some(gap) = text.get(length..) else {
            return text.len();
        };
        let mut rest = Tokens(gap);
        rest.skip_space();
        let gap = &gap[..gap.len() - rest.0.len()];
        if !rest.0.starts_with('\'') || !gap.contains(['\n', '\r']) {
            return length;
        }
        length += gap.len() + quoted(rest.0.as_bytes(), b'\'', true);
    }
}

/// Length of `$tag$ … $tag$`; `None` when it is no dollar quote.
fn dollar_quoted(text: &str) -> Option<usize> {
    let tag_length = 1 + run(&text.as_bytes()[1..], |byte| {
        is_name(byte) || byte.is_ascii_digit()
    });
    let is_tag =
        text.as_bytes().get(tag_length) == Some(&b'$') && !text.as_bytes()[1].is_ascii_digit();
    let tag = is_tag.then(|| &text[..=tag_length])?;
    let body = &text[tag.len()..];
    Some(
        body.find(tag)
            .map_or(text.len(), |end| tag.len() + end + tag.len()),
    )
}

/// Length of a comment, which may hold others.
fn comment(bytes: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests;
