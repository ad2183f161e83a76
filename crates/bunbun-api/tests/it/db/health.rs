//! `/api/db/health`

use bunbun_databases::postgres::pool::{Pool, PoolConfig};
use insta::assert_json_snapshot;

use crate::api::Api;

#[tokio::test]
async fn a_database_that_answers_is_described() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let reply = api.get("/api/db/health").owner().send().await;
    assert_json_snapshot!(reply.json(), { ".latency" => "[ms]", ".version" => "[version]" }, @r#"
    {
      "connected": true,
      "latency": "[ms]",
      "version": "[version]",
      "pool": {
        "size": 5,
        "in_use": 0,
        "idle": 0,
        "waiting": 0
      }
    }
    "#);
    assert!(
        reply.json()["version"]
            .as_str()
            .is_some_and(|text| text.starts_with("PostgreSQL"))
    );
}

#[tokio::test]
async fn a_database_that_is_down_is_unavailable_and_its_address_stays_private() {
    let config = PoolConfig::new("postgres://u:hunter2@127.0.0.1:1/d".into());
    let api = Api::new(Some(Pool::new(&config).expect("a URL")), None, |_| {});
    let reply = api.get("/api/db/health").owner().send().await;
    assert_eq!(reply.error(), (503, "DATABASE_UNAVAILABLE".to_owned()));
    assert_ne!(reply.header("retry-after"), "");
    assert!(!reply.text().contains("127.0.0.1") && !reply.text().contains("hunter2"));
}

#[tokio::test]
async fn without_a_database_the_answer_says_what_to_set() {
    let reply = Api::without_database()
        .get("/api/db/health")
        .owner()
        .send()
        .await;
    assert_eq!(reply.error(), (503, "DATABASE_UNAVAILABLE".to_owned()));
    assert!(reply.text().contains("DATABASE_URL"), "{}", reply.text());
}
