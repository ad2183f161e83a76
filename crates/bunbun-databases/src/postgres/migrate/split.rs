//! Splits SQL text into statements as PostgreSQL would, without a server.
//!
//! A `;` ends a statement except inside quotes and comments, inside parentheses (the action list
//! of `CREATE RULE`) and inside the `BEGIN ATOMIC … END` body of a routine. Pure and total: any
//! text gives either statements or a [`SplitError`] that tells where.

use std::{fmt, ops::Range};

use super::lexer::{Lexer, Token, is_space};

/// How many leading words of a statement are kept for recognising it.
const HEAD_WORDS: usize = 5;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement<'a> {
    /// Its text with the comments before it, without the `;` and surrounding white space.
    pub text: &'a str,
    /// Byte offset of `text` in the whole.
    pub offset: usize,
    /// Byte offset of its first token (after leading comments) in the whole.
    pub first_token: usize,
    head: Vec<Range<usize>>,
}

impl Statement<'_> {
    /// Its leading words in lower case (at most five, up to the first token that is no word).
    #[must_use]
    pub fn head(&self) -> Vec<String> {
        self.head
            .iter()
            .filter_map(|range| self.text.get(range.clone()))
            .map(str::to_ascii_lowercase)
            .collect()
    }
}

/// Why a text cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A `'…'` string has no end.
    UnterminatedString,
    /// A `"…"` identifier has no end.
    UnterminatedIdentifier,
    /// A `$tag$…$tag$` string has no end.
    UnterminatedDollarQuote,
    /// A `/* … */` comment has no end.
    UnterminatedComment,
    /// A psql command such as `\connect`; only SQL is understood.
    MetaCommand,
    /// `COPY … FROM STDIN` or `TO STDOUT`: there is no data stream.
    CopyStream,
    /// A NUL character, which PostgreSQL's text cannot hold.
    NulByte,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnterminatedString => "the string constant has no closing quote",
            Self::UnterminatedIdentifier => "the quoted identifier has no closing quote",
            Self::UnterminatedDollarQuote => "the dollar-quoted string has no end",
            Self::UnterminatedComment => "the comment has no end",
            Self::MetaCommand => {
                "a backslash outside of quotes: psql commands are not SQL and cannot be run here"
            }
            Self::CopyStream => {
                "COPY with STDIN or STDOUT has no data stream here; use INSERT … VALUES"
            }
            Self::NulByte => "a NUL character is not allowed in SQL",
        })
    }
}

/// A text that cannot be split, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct SplitError {
    /// What is wrong.
    pub fault: Fault,
    /// Where the offending token begins: characters from the start, the first is 1.
    pub position: usize,
    /// The line of it, the first is 1.
    pub line: usize,
    /// The number of the statement in which it lies, the first is 1.
    pub statement: usize,
}

impl SplitError {
    pub(super) fn at(sql: &str, offset: usize, fault: Fault) -> Self {
        let (position, line) = locate(sql, offset);
        Self {
            fault,
            position,
            line,
            statement: 1,
        }
    }
}

/// The character position and line (both from 1) of a byte offset.
#[must_use]
pub fn locate(sql: &str, offset: usize) -> (usize, usize) {
    let before = sql.as_bytes().get(..offset).unwrap_or(sql.as_bytes());
    // Bytes that do not continue a UTF-8 sequence are as many as the characters.
    let characters = before.iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
    let lines = memchr::memchr_iter(b'\n', before).count();
    (characters + 1, lines + 1)
}

/// Splits SQL into its statements; stretches of only comments and white space are none.
///
/// # Errors
/// [`SplitError`] for text that PostgreSQL's lexer refuses too, and for what needs a psql.
pub fn split(sql: &str) -> Result<Vec<Statement<'_>>, SplitError> {
    let pieces = pieces(sql)?;
    Ok(pieces
        .into_iter()
        .filter_map(|piece| piece.into_statement(sql))
        .collect())
}

/// What lies between two separators; all pieces joined by `;` are the input.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) range: Range<usize>,
    first_token: Option<usize>,
    head: Vec<Range<usize>>,
}

impl Piece {
    fn into_statement(self, sql: &str) -> Option<Statement<'_>> {
        let first_token = self.first_token?;
        let raw = sql.get(self.range.clone())?;
        let lead = raw.bytes().take_while(|byte| is_space(*byte)).count();
        let text = raw.trim_matches(|c: char| u8::try_from(c).is_ok_and(is_space));
        let offset = self.range.start + lead;
        let head = self
            .head
            .into_iter()
            .map(|word| word.start - offset..word.end - offset)
            .collect();
        Some(Statement {
            text,
            offset,
            first_token,
            head,
        })
    }
}

pub(super) fn pieces(sql: &str) -> Result<Vec<Piece>, SplitError> {
    if let Some(offset) = memchr::memchr(0, sql.as_bytes()) {
        return Err(SplitError::at(sql, offset, Fault::NulByte));
    }
    let mut pieces = Vec::new();
    // psql skips a byte order mark too; to the server it would be part of the first word.
    let start = if sql.starts_with('\u{feff}') { 3 } else { 0 };
    let mut lexer = Lexer::new(sql, start);
    let mut state = State::new(start);
    loop {
        let number = state.number;
        let token = lexer.next_token().map_err(|mut error| {
            error.statement = number;
            error
        })?;
        let Some(token) = token else { break };
        if state.first_token.is_none() && token != Token::Semicolon {
            state.first_token = Some(lexer.token_start());
        }
        if token == Token::Semicolon && state.depth == 0 && state.atomic == 0 {
            let end = lexer.token_start();
            pieces.push(state.finish(sql, end)?);
            let number = state.number + usize::from(state.first_token.is_some());
            state = State::new(lexer.position());
            state.number = number;
        } else {
            state.see(sql, &token);
        }
    }
    pieces.push(state.finish(sql, sql.len())?);
    Ok(pieces)
}

/// What is known of the statement being read.
struct State {
    number: usize,
    start: usize,
    first_token: Option<usize>,
    head: Vec<Range<usize>>,
    head_open: bool,
    depth: usize,
    /// Open `BEGIN ATOMIC` and `CASE` inside it.
    atomic: usize,
    routine: bool,
    copy: bool,
    copy_stream: bool,
    previous: Previous,
}

/// The token before, as far as the meaning of the next depends on it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Previous {
    Begin,
    /// `AS` or `.`: the next word is a label, even when it looks like a keyword.
    Label,
    /// `FROM` or `TO`.
    Direction,
    Else,
}

impl State {
    const fn new(start: usize) -> Self {
        Self {
            number: 1,
            start,
            first_token: None,
            head: Vec::new(),
            head_open: true,
            depth: 0,
            atomic: 0,
            routine: false,
            copy: false,
            copy_stream: false,
            previous: Previous::Else,
        }
    }

    fn see(&mut self, sql: &str, token: &Token) {
        match token {
            Token::Word(range) => self.see_word(sql, range),
            other => {
                self.head_open = false;
                match other {
                    Token::Open => self.depth += 1,
                    Token::Close => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.previous = if *other == Token::Other(b'.') {
                    Previous::Label
                } else {
                    Previous::Else
                };
            }
        }
    }

    fn see_word(&mut self, sql: &str, range: &Range<usize>) {
        let word = sql.get(range.clone()).unwrap_or_default();
        if self.head_open {
            self.see_head(sql, word, range);
        }
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        if self.depth == 0 && self.routine && self.previous != Previous::Label {
            if self.atomic == 0 {
                self.atomic = usize::from(self.previous == Previous::Begin && is("atomic"));
            } else if is("case") {
                self.atomic += 1;
            } else if is("end") {
                self.atomic -= 1;
            }
        }
        if self.copy && self.depth == 0 && self.previous == Previous::Direction {
            self.copy_stream |= is("stdin") || is("stdout");
        }
        self.previous = if is("begin") {
            Previous::Begin
        } else if is("as") {
            Previous::Label
        } else if is("from") || is("to") {
            Previous::Direction
        } else {
            Previous::Else
        };
    }

    /// Keeps the statement's leading words and draws the two conclusions that matter here.
    fn see_head(&mut self, sql: &str, word: &str, range: &Range<usize>) {
        let first = self.head.first().and_then(|first| sql.get(first.clone()));
        let creates = first.is_some_and(|first| first.eq_ignore_ascii_case("create"));
        let is_routine = ["function", "procedure"]
            .iter()
            .any(|kind| word.eq_ignore_ascii_case(kind));
        self.routine |= creates && self.head.len() <= 3 && is_routine;
        self.copy |= self.head.is_empty() && word.eq_ignore_ascii_case("copy");
        self.head.push(range.clone());
        self.head_open = self.head.len() < HEAD_WORDS;
    }

    fn finish(&mut self, sql: &str, end: usize) -> Result<Piece, SplitError> {
        if self.copy_stream {
            let offset = self.first_token.unwrap_or(self.start);
            let mut error = SplitError::at(sql, offset, Fault::CopyStream);
            error.statement = self.number;
            return Err(error);
        }
        Ok(Piece {
            range: self.start..end,
            first_token: self.first_token,
            head: std::mem::take(&mut self.head),
        })
    }
}

#[cfg(test)]
mod tests;
