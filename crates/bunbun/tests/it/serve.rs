//! `bunbun serve`

use crate::binary::run;

#[test]
fn nothing_is_generated_in_production() {
    let outcome = run(&["serve"], &[]);
    assert_eq!(outcome.code, Some(2));
    for name in ["DATABASE_URL", "JWT_SECRET", "DASHBOARD_PASSWORD"] {
        assert!(
            outcome.stderr.contains(name),
            "{name} is missing in\n{}",
            outcome.stderr
        );
    }
    assert!(
        outcome.stderr.contains("bunbun keys generate"),
        "{}",
        outcome.stderr
    );
}
