//! `/api/health/services`

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bunbun_http::slots::{SlotProbe, SlotProbes};
use insta::assert_json_snapshot;

use crate::api::Api;

#[tokio::test(start_paused = true)]
async fn the_truth_is_told_and_reasons_only_to_the_owner() {
    let api = Api::without_database();
    let reply = api.get("/api/health/services").send().await;
    assert_json_snapshot!(reply.json(), { ".services.auth.latency" => "[ms]" }, @r#"
    {
      "services": {
        "auth": {
          "status": "up",
          "latency": "[ms]",
          "mode": "embedded"
        },
        "functions": {
          "status": "not_configured"
        },
        "postgres": {
          "status": "not_configured"
        },
        "rest": {
          "status": "down",
          "mode": "remote"
        },
        "storage": {
          "status": "down",
          "mode": "remote"
        }
      }
    }
    "#);
    let services = api.get("/api/health/services").owner().send().await.json()["services"].clone();
    assert_eq!(
        services["rest"]["error"],
        "connect to 10.1.2.3:3000: refused"
    );
    assert_eq!(services["storage"]["error"], "no answer within 2 s");
}

#[tokio::test]
async fn postgresql_is_one_of_the_services() {
    let Some(api) = Api::with_database().await else {
        return;
    };
    let services = api.get("/api/health/services").send().await.json()["services"].clone();
    assert_eq!(services["postgres"]["status"], "up");
    assert!(
        services["postgres"]["latency"]
            .as_f64()
            .is_some_and(|latency| latency > 0.0)
    );
}

struct Counting(Arc<AtomicUsize>);

impl SlotProbes for Counting {
    fn probes(&self) -> Vec<SlotProbe> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Vec::new()
    }
}

#[tokio::test]
async fn many_askers_cause_one_probe() {
    let count = Arc::new(AtomicUsize::new(0));
    let slots = Counting(Arc::clone(&count));
    let api = Api::new(None, None, |parts| parts.slots = Arc::new(slots));
    let asking = (0..20).map(|_| api.get("/api/health/services").send());
    futures_util::future::join_all(asking).await;
    assert_eq!(count.load(Ordering::SeqCst), 1);
}
