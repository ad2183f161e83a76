//! `bunbun openapi`

use std::path::Path;

use crate::binary::{run, run_in};

#[test]
fn the_document_is_printed() {
    let outcome = run(&["openapi"], &[]);
    assert_eq!(outcome.code, Some(0));
    assert_eq!(outcome.json()["openapi"], "3.1.0");
}

#[test]
fn generated_files_are_written_and_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(
        run_in(folder.path(), &["openapi", "--check"], &[]).code,
        Some(1)
    );
    assert_eq!(
        run_in(folder.path(), &["openapi", "--write"], &[]).code,
        Some(0)
    );
    assert_eq!(
        run_in(folder.path(), &["openapi", "--check"], &[]).code,
        Some(0)
    );

    let stale = folder.path().join("docs/api/gone.md");
    std::fs::write(&stale, "old").expect("written");
    let check = run_in(folder.path(), &["openapi", "--check"], &[]);
    assert!(check.stderr.contains("gone.md"), "{}", check.stderr);
    assert_eq!(
        run_in(folder.path(), &["openapi", "--write"], &[]).code,
        Some(0)
    );
    assert!(!stale.exists());
}

#[test]
fn the_committed_files_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.to_str().expect("UTF-8");
    let outcome = run(&["openapi", "--check", root], &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}
