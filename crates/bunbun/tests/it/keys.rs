//! `bunbun keys generate`

use std::collections::HashMap;

use bunbun_core::jwt::Verifier;

use crate::binary::run;

#[test]
fn the_set_is_complete_and_its_keys_fit_its_secret() {
    let outcome = run(&["keys", "generate"], &[]);
    assert_eq!(outcome.code, Some(0));
    let set: HashMap<_, _> = outcome
        .stdout
        .lines()
        .map(|line| line.split_once('=').expect("NAME=value"))
        .collect();
    let verifier = Verifier::new(set["JWT_SECRET"]);
    for (name, role) in [("ANON_KEY", "anon"), ("SERVICE_ROLE_KEY", "service_role")] {
        assert_eq!(verifier.verify(set[name]).expect("valid").role, role);
    }
    assert!(set["SUPABASE_PUBLISHABLE_KEY"].starts_with("sb_publishable_"));
    assert!(set["SUPABASE_SECRET_KEY"].starts_with("sb_secret_"));
    assert_eq!(set["DATABASE_ENCRYPTION_KEY"].len(), 64);

    // What it makes is what `serve` asks for.
    let mut env: Vec<_> = set.into_iter().collect();
    env.push(("DATABASE_URL", "postgres://app:app@127.0.0.1/app"));
    let check = run(&["config", "check"], &env);
    assert_eq!(
        (check.code, check.stdout.as_str()),
        (Some(0), "OK\n"),
        "{}",
        check.stderr
    );
}

#[test]
fn no_two_sets_are_alike_and_json_has_the_same_names() {
    let (first, second) = (
        run(&["keys", "generate", "--json"], &[]),
        run(&["keys", "generate"], &[]),
    );
    let object = first.json();
    for line in second.stdout.lines() {
        let (name, value) = line.split_once('=').expect("NAME=value");
        assert!(object[name].is_string(), "{name} is missing");
        assert!(
            name == "DASHBOARD_USERNAME" || object[name] != value,
            "{name} is the same"
        );
    }
    assert_eq!(first.stderr, "");
}
