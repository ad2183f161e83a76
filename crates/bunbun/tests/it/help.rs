//! `bunbun --help` and its likes.

use std::fmt::Write as _;

use crate::binary::run;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["dev"],
    &["serve"],
    &["migrate"],
    &["keys"],
    &["keys", "generate"],
    &["config"],
    &["config", "check"],
    &["openapi"],
    &["routes"],
    &["import"],
    &["import", "kong"],
];

#[test]
fn the_whole_command_line_explains_itself() {
    let mut text = String::new();
    for command in COMMANDS {
        let arguments: Vec<_> = command.iter().copied().chain(["--help"]).collect();
        let outcome = run(&arguments, &[]);
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (Some(0), ""),
            "{command:?}"
        );
        let _ = write!(
            text,
            "$ bunbun {}\n\n{}\n",
            arguments.join(" "),
            outcome.stdout
        );
    }
    insta::assert_snapshot!(text);
}

#[test]
fn a_mistake_is_explained_on_stderr_with_exit_code_2() {
    let outcome = run(&["serv"], &[]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""));
    assert!(outcome.stderr.contains("'serve'"), "{}", outcome.stderr);
}
