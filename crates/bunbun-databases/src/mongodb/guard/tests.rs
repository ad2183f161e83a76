//! Operators in every position; the documents are made from text as requests are.

use proptest::prelude::*;

use super::{Refusal, Scope, check};
use crate::mongodb::ejson::parse_document;

fn checked(text: &str, may_write: bool) -> Result<(), Refusal> {
    let document = parse_document(text.as_bytes()).expect(text);
    let scope = Scope {
        database: "app",
        may_write,
    };
    check(document.as_bytes(), scope, "/filter")
}

fn refused_at(text: &str) -> String {
    checked(text, true).expect_err(text).pointer
}

#[test]
fn code_is_refused_in_every_position() {
    for (text, pointer) in [
        (r#"{"$where":"1"}"#, "/filter/$where"),
        (r#"{"\u0024where":"1"}"#, "/filter/$where"),
        (r#"{"\u0024\u0077here":"1"}"#, "/filter/$where"),
        (
            r#"{"$or":[{"a":1},{"$where":"1"}]}"#,
            "/filter/$or/1/$where",
        ),
        (
            r#"{"a":{"$not":{"$elemMatch":{"$where":"1"}}}}"#,
            "/filter/a/$not/$elemMatch/$where",
        ),
        (
            r#"{"$expr":{"$function":{"body":"x","args":[],"lang":"js"}}}"#,
            "/filter/$expr/$function",
        ),
        (
            r#"{"p":[{"$facet":{"x":[{"$match":{"$where":"1"}}]}}]}"#,
            "/filter/p/0/$facet/x/0/$match/$where",
        ),
        (
            r#"{"p":[{"$group":{"_id":1,"n":{"$accumulator":{}}}}]}"#,
            "/filter/p/0/$group/n/$accumulator",
        ),
        (
            r#"{"$lookup":{"from":"b","as":"c","pipeline":[{"$match":{"$where":"1"}}]}}"#,
            "/filter/$lookup/pipeline/0/$match/$where",
        ),
        (
            r#"{"$unionWith":{"coll":"b","pipeline":[{"$set":{"x":{"$function":{}}}}]}}"#,
            "/filter/$unionWith/pipeline/0/$set/x/$function",
        ),
        (
            r#"{"$merge":{"into":"b","whenMatched":[{"$set":{"x":{"$function":{}}}}]}}"#,
            "/filter/$merge/whenMatched/0/$set/x/$function",
        ),
        (
            r#"{"$graphLookup":{"from":"b","restrictSearchWithMatch":{"$where":"1"}}}"#,
            "/filter/$graphLookup/restrictSearchWithMatch/$where",
        ),
        (
            r#"{"$jsonSchema":{"properties":{"a":{"$where":"1"}}}}"#,
            "/filter/$jsonSchema/properties/a/$where",
        ),
        (
            r#"{"a":{"$literal":{"$where":"1"}}}"#,
            "/filter/a/$literal/$where",
        ),
        (r#"{"a":{"$code":"while(1);"}}"#, "/filter/a"),
        (r#"{"a":[1,[{"$code":"f","$scope":{}}]]}"#, "/filter/a/1/0"),
        (
            r#"{"a/b":{"c~d":{"$where":1}}}"#,
            "/filter/a~1b/c~0d/$where",
        ),
        (
            r#"{"collation":{"locale":{"$code":"x"}}}"#,
            "/filter/collation/locale",
        ),
        (
            r#"{"$pull":{"a":{"$where":"1"}}}"#,
            "/filter/$pull/a/$where",
        ),
        (
            r#"{"$project":{"e":{"$_internalJsEmit":{"eval":"f"}}}}"#,
            "/filter/$project/e/$_internalJsEmit",
        ),
        (
            r#"{"p":[{"$group":{"_id":1,"v":{"\u0024_internalJsReduce":{}}}}]}"#,
            "/filter/p/0/$group/v/$_internalJsReduce",
        ),
    ] {
        assert_eq!(refused_at(text), pointer, "{text}");
    }
}

#[test]
fn writing_stages_need_write_permission_and_stay_here() {
    for text in [
        r#"{"p":[{"$out":"b"}]}"#,
        r#"{"p":[{"$merge":{"into":"b"}}]}"#,
        r#"{"p":[{"$merge":"b"}]}"#,
        r#"{"p":[{"$out":{"db":"app","coll":"b"}}]}"#,
        r#"{"p":[{"$merge":{"into":{"db":"app","coll":"b"}}}]}"#,
    ] {
        checked(text, true).expect(text);
        let refusal = checked(text, false).expect_err(text);
        assert!(refusal.message.contains("may only read"), "{refusal}");
    }
    for (text, pointer) in [
        (r#"{"$out":{"db":"admin","coll":"b"}}"#, "/filter/$out/db"),
        (r#"{"$out":{"db":{"x":1},"coll":"b"}}"#, "/filter/$out/db"),
        (r#"{"$out":{"s3":{"bucket":"b"}}}"#, "/filter/$out/s3"),
        (r#"{"$out":"system.users"}"#, "/filter/$out"),
        (
            r#"{"$out":{"db":"app","coll":"system.js"}}"#,
            "/filter/$out/coll",
        ),
        (
            r#"{"$merge":{"into":{"db":"other","coll":"b"}}}"#,
            "/filter/$merge/into/db",
        ),
        (
            r#"{"$merge":{"into":{"atlas":{}}}}"#,
            "/filter/$merge/into/atlas",
        ),
        (r#"{"$merge":{"into":"system.js"}}"#, "/filter/$merge/into"),
        (r#"{"$merge":"system.js"}"#, "/filter/$merge"),
        (
            r#"{"$facet":{"a":[{"$out":"x"}]}}"#,
            "/filter/$facet/a/0/$out",
        ),
        (
            r#"{"$lookup":{"from":"b","pipeline":[{"$merge":"y"}]}}"#,
            "/filter/$lookup/pipeline/0/$merge",
        ),
        (
            r#"{"$unionWith":{"coll":"x","pipeline":[{"$out":"y"}]}}"#,
            "/filter/$unionWith/pipeline/0/$out",
        ),
        (
            r#"{"$out":{"coll":"x","db":"app","y":[{"$out":"y"}]}}"#,
            "/filter/$out/y",
        ),
    ] {
        assert_eq!(refused_at(text), pointer, "{text}");
    }
}

#[test]
fn no_stage_reaches_another_database() {
    for (text, pointer) in [
        (
            r#"{"$lookup":{"from":{"db":"other","coll":"b"}}}"#,
            "/filter/$lookup/from/db",
        ),
        (
            r#"{"$graphLookup":{"from":{"db":"other","coll":"b"}}}"#,
            "/filter/$graphLookup/from/db",
        ),
        (
            r#"{"$unionWith":{"db":"other","coll":"b"}}"#,
            "/filter/$unionWith/db",
        ),
        (
            r#"{"$unionWith":{"coll":{"db":"other","coll":"b"}}}"#,
            "/filter/$unionWith/coll/db",
        ),
        (
            r#"{"p":[{"$facet":{"x":[{"$lookup":{"from":{"db":"o"}}}]}}]}"#,
            "/filter/p/0/$facet/x/0/$lookup/from/db",
        ),
        (r#"{"$unionWith":"system.users"}"#, "/filter/$unionWith"),
        (
            r#"{"$unionWith":{"coll":"system.users"}}"#,
            "/filter/$unionWith/coll",
        ),
        (
            r#"{"$lookup":{"from":"system.users"}}"#,
            "/filter/$lookup/from",
        ),
        (
            r#"{"$lookup":{"from":{"db":"app","coll":"system.users"}}}"#,
            "/filter/$lookup/from/coll",
        ),
        (
            r#"{"$graphLookup":{"from":"system.users"}}"#,
            "/filter/$graphLookup/from",
        ),
        (
            r#"{"p":[{"$changeStream":{}}]}"#,
            "/filter/p/0/$changeStream",
        ),
    ] {
        assert_eq!(refused_at(text), pointer, "{text}");
    }
    checked(r#"{"$lookup":{"from":{"db":"app","coll":"b"}}}"#, false).expect("its own database");
}

#[test]
fn what_only_looks_like_code_passes() {
    for text in [
        r#"{"where":"$where","function":1,"a":["$where","$function"]}"#,
        r#"{"a":{"$regex":"^\\$where"}}"#,
        r#"{"$expr":{"$gt":["$out","$merge"]}}"#,
        r#"{"db":"other","from":{"db":"other"}}"#,
        r#"{"$Where":1,"$where2":1,"a.$where.b":1}"#,
    ] {
        checked(text, false).expect(text);
    }
}

/// A harmless document around a hole: its text before and after, and the pointer to the hole.
fn around() -> impl Strategy<Value = (String, String, String)> {
    let level = prop_oneof![
        "[a-z]{1,4}".prop_map(|key| (
            format!(r#"{{"x0":1,"{key}":"#),
            r#","z9":[]}"#.to_owned(),
            key
        )),
        prop_oneof![
            Just("$or"),
            Just("$and"),
            Just("$expr"),
            Just("$not"),
            Just("$facet"),
            Just("$set"),
            Just("$project"),
            Just("$elemMatch"),
            Just("$switch"),
            Just("$let"),
            Just("$literal"),
        ]
        .prop_map(|key| (format!(r#"{{"{key}":"#), "}".to_owned(), key.to_owned())),
        (0usize..4).prop_map(|index| (
            format!("[{}", "0,".repeat(index)),
            ",null]".to_owned(),
            index.to_string()
        )),
    ];
    proptest::collection::vec(level, 0..24).prop_map(|levels| {
        let mut text = (String::new(), String::new(), String::new());
        for (before, after, step) in levels {
            text.0.push_str(&before);
            text.1.insert_str(0, &after);
            text.2.push('/');
            text.2.push_str(&step);
        }
        text
    })
}

/// A key, some of its characters as escapes.
fn spelled(key: &'static str) -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<bool>(), key.len()).prop_map(move |escaped| {
        key.chars()
            .zip(escaped)
            .map(|(c, escaped)| {
                if escaped {
                    format!("\\u{:04x}", c as u32)
                } else {
                    c.to_string()
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn code_is_found_at_any_depth_and_in_any_spelling(
        (before, after, pointer) in around(),
        key in prop_oneof![Just("$where"), Just("$function"), Just("$accumulator"), Just("$changeStream")]
            .prop_flat_map(|key| spelled(key).prop_map(move |text| (key, text))),
    ) {
        let text = format!(r#"{{"top":{before}{{"{}":{{}}}}{after}}}"#, key.1);
        let refusal = checked(&text, true).expect_err(&text);
        prop_assert_eq!(refusal.pointer, format!("/filter/top{pointer}/{}", key.0));
        // Without it the same document passes.
        let harmless = format!(r#"{{"top":{before}{{"a":{{}}}}{after}}}"#);
        prop_assert_eq!(checked(&harmless, false), Ok(()));
    }

    #[test]
    fn javascript_values_are_found_at_any_depth((before, after, pointer) in around()) {
        let text = format!(r#"{{"top":{before}{{"$code":"1"}}{after}}}"#);
        prop_assert_eq!(refused_at(&text), format!("/filter/top{pointer}"));
    }
}
