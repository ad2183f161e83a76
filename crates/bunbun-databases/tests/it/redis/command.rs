//! Commands of the caller's.

use bunbun_core::{Classify, Code};
use bunbun_databases::redis::{Redis, Role, TextEncoding};
use bunbun_test::TestRedis;
use serde_json::{Value, json};

use super::connect;

async fn run(redis: &Redis, command: &[&str], confirm: Option<&str>) -> Result<Value, Code> {
    let arguments: Vec<_> = command
        .iter()
        .map(|part| part.as_bytes().to_vec())
        .collect();
    redis
        .run_command(&arguments, Role::Administrator, confirm, None)
        .await
        .map(|(answer, _)| answer)
        .map_err(|error| error.code())
}

#[tokio::test]
async fn answers_of_every_shape_become_json() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    for (command, answer) in [
        (&["SET", "a", "1"][..], json!("OK")),
        (&["get", "a"], json!("1")),
        (&["GET", "none"], json!(null)),
        (&["INCR", "a"], json!(2)),
        (&["HSET", "h", "f", "v"], json!(1)),
        (&["HGETALL", "h"], json!({"f": "v"})),
        (&["ZADD", "z", "1.5", "m"], json!(1)),
        (&["ZSCORE", "z", "m"], json!(1.5)),
        (&["SADD", "s", "m"], json!(1)),
        (&["SMEMBERS", "s"], json!(["m"])),
        (&["EXISTS", "a", "h"], json!(2)),
    ] {
        assert_eq!(
            run(&redis, command, None).await.unwrap(),
            answer,
            "{command:?}"
        );
    }
    assert_eq!(
        run(&redis, &["LPUSH", "a", "x"], None).await,
        Err(Code::WrongType)
    );
    assert_eq!(run(&redis, &["GET"], None).await, Err(Code::QueryInvalid));
    assert_eq!(run(&redis, &[], None).await, Err(Code::QueryInvalid));
}

#[tokio::test]
async fn an_answer_that_is_no_text_is_base64_and_says_so() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    let set = [b"SET".to_vec(), b"k".to_vec(), vec![0xff, 0xfe]];
    redis
        .run_command(&set, Role::Writer, None, None)
        .await
        .unwrap();
    let get = [b"GET".to_vec(), b"k".to_vec()];
    let answer = redis
        .run_command(&get, Role::Reader, None, None)
        .await
        .unwrap();
    assert_eq!(answer, (json!("//4="), TextEncoding::Base64));
}

#[tokio::test]
async fn dangerous_commands_need_a_confirmation_and_then_run() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    server.fill("k", 10);
    let redis = connect(&server).await;
    for command in [
        &["FLUSHALL"][..],
        &["KEYS", "*"],
        &["CONFIG", "GET", "port"],
    ] {
        let refused = run(&redis, command, None).await;
        assert_eq!(refused, Err(Code::ConfirmationRequired), "{command:?}");
    }
    assert_eq!(server.command(&["DBSIZE"]), ":10");
    let config = run(&redis, &["CONFIG", "GET", "port"], Some("CONFIG"))
        .await
        .unwrap();
    assert_eq!(config["port"], json!(server.port().to_string()));
    assert_eq!(
        run(&redis, &["FLUSHALL"], Some("flushall")).await,
        Ok(json!("OK"))
    );
    assert_eq!(server.command(&["DBSIZE"]), ":0");
    redis
        .list_keys(&bunbun_databases::redis::ListKeys {
            limit: 1,
            ..Default::default()
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn commands_that_go_through_too_much_are_refused() {
    let Some(server) = TestRedis::start() else {
        return;
    };
    let redis = connect(&server).await;
    for from in (0..10_500).step_by(500) {
        let numbers: Vec<_> = (from..from + 500).map(|n| n.to_string()).collect();
        let mut command = vec!["SADD", "big"];
        command.extend(numbers.iter().map(String::as_str));
        run(&redis, &command, None).await.unwrap();
    }
    assert_eq!(
        run(&redis, &["SMEMBERS", "big"], None).await,
        Err(Code::QueryNotAllowed)
    );
    assert_eq!(
        run(&redis, &["SUNION", "none", "big"], None).await,
        Err(Code::QueryNotAllowed)
    );
    assert!(
        run(&redis, &["SMEMBERS", "big"], Some("SMEMBERS"))
            .await
            .is_ok()
    );
    assert_eq!(
        run(&redis, &["SCARD", "big"], None).await,
        Ok(json!(10_500))
    );
    // However many a command asks for itself.
    for command in [
        &["SRANDMEMBER", "big", "-1000000000"][..],
        &["SPOP", "big", "10400"],
        &["HRANDFIELD", "none", "-20000"],
        &["XRANGE", "none", "-", "+", "COUNT", "20000"],
    ] {
        let refused = run(&redis, command, None).await;
        assert_eq!(refused, Err(Code::QueryNotAllowed), "{command:?}");
    }
    // What is taken away has to fit into the answer.
    assert_eq!(
        server.command(&["SETRANGE", "long", "100000000", "x"]),
        ":100000001"
    );
    for command in [
        &["GETDEL", "long"][..],
        &["GETSET", "long", "y"],
        &["SET", "long", "y", "GET"],
        &["SET", "long", "y", "EX", "5", "get"],
    ] {
        let refused = run(&redis, command, None).await;
        assert_eq!(refused, Err(Code::QueryNotAllowed), "{command:?}");
    }
    assert_eq!(server.command(&["STRLEN", "long"]), ":100000001");
    let part = run(&redis, &["SRANDMEMBER", "big", "3"], None).await;
    assert_eq!(part.unwrap().as_array().map(Vec::len), Some(3));
    let wide = ["SSCAN", "big", "0", "COUNT", "100000"];
    assert_eq!(
        run(&redis, &wide, None).await,
        Err(Code::ConfirmationRequired)
    );
}
