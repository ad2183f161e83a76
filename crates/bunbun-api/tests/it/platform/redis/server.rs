//! `/info`, `/stats`, `/slowlog`, `/clients`, and what happens when the server is away.

use bunbun_test::TestRedis;
use http::Method;
use serde_json::json;

use super::Stage;

#[tokio::test]
async fn the_server_tells_of_itself() {
    let Some(server) = TestRedis::with(&["--slowlog-log-slower-than", "0"]) else {
        return;
    };
    let Some(stage) = Stage::around(server).await else {
        return;
    };
    stage.server.fill("k", 3);
    let info = stage.get("/info").await;
    assert_eq!(info["mode"], "standalone");
    assert_eq!(
        info["nodes"][0]["sections"]["server"]["tcp_port"],
        stage.server.port()
    );
    // What is kept of it is forgotten with a change of ours.
    assert_eq!(
        info["nodes"][0]["sections"]["keyspace"]["db0"]["keys"], 3,
        "{info}"
    );
    let value = json!({ "type": "string", "value": "x" });
    stage.send(Method::PUT, "/keys/k0", Some(&value)).await;
    stage.send(Method::PUT, "/keys/another", Some(&value)).await;
    let keyspace = &stage.get("/info").await["nodes"][0]["sections"]["keyspace"]["db0"];
    assert_eq!(keyspace["keys"], 4);
    stage.send(Method::DELETE, "/keys/another", None).await;
    let stats = stage.get("/stats").await;
    assert_eq!((&stats["keys"], &stats["nodes"]), (&json!(3), &json!(1)));
    let slow = stage.get("/slowlog?limit=5").await;
    assert_eq!(slow["commands"].as_array().unwrap().len(), 5);
    let clients = stage.get("/clients").await;
    assert!(clients["clients"][0]["addr"].is_string());
}

#[tokio::test]
async fn a_server_that_is_away_is_503_until_it_is_back_and_its_password_is_told_nowhere() {
    let Some(mut stage) = Stage::new().await else {
        return;
    };
    stage.get("/keys").await;
    stage.server.kill();
    let reply = stage.send(Method::GET, "/keys", None).await;
    assert_eq!(reply.error(), (503, "CONNECTION_FAILED".to_owned()));
    assert!(!reply.header("retry-after").is_empty());
    assert!(!reply.text().contains("a-secret"), "{}", reply.text());
    stage.server.restart();
    let started = std::time::Instant::now();
    while stage.send(Method::GET, "/keys", None).await.status != 200 {
        assert!(started.elapsed().as_secs() < 20, "it never came back");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let unknown = stage
        .refusal(Method::GET, "/keys?connection=other", None)
        .await;
    assert_eq!(unknown, (404, "CONNECTION_NOT_FOUND".to_owned()));
}
