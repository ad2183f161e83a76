//! Tests of the table `platform.audit_log`.

use bunbun_core::id::{AuditId, ConnectionId, ProjectRef};
use bunbun_store::audit_log::{self, Finished, NewEntry};

use crate::store;

#[tokio::test]
async fn an_attempt_is_there_before_its_end_is_known() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let mine: ProjectRef = "mine".parse().unwrap();
    let other: ProjectRef = "other".parse().unwrap();
    let entry = |id| NewEntry {
        id,
        actor_kind: "service_role",
        actor_id: None,
        action: "POST /x",
        target: None,
        request_id: "r1",
        client_ip: "192.0.2.7",
        connection: None,
    };
    let connection = ConnectionId::generate();
    let (first, second) = (AuditId::generate(), AuditId::generate());
    for id in [first, second] {
        audit_log::insert(&client, &mine, entry(id)).await.unwrap();
    }
    let finish = async |of: &ProjectRef| {
        let finished = Finished {
            action: "x.create",
            target: Some("k"),
            connection: Some(connection),
            status: 201,
        };
        audit_log::update_finished(&client, of, first, finished)
            .await
            .unwrap();
        audit_log::list(&client, &mine, None, 10).await.unwrap()
    };
    let found = finish(&other).await;
    assert_eq!(
        found.iter().map(|entry| entry.id).collect::<Vec<_>>(),
        [second, first]
    );
    assert!(found.iter().all(|entry| entry.status.is_none()));
    let found = finish(&mine).await;
    assert_eq!(
        (found[1].status, found[1].action.as_str()),
        (Some(201), "x.create")
    );
    assert_eq!(
        (found[1].target.as_deref(), found[0].status),
        (Some("k"), None)
    );
    assert_eq!(
        (found[1].connection, found[0].connection),
        (Some(connection), None)
    );
    let page = audit_log::list(&client, &mine, Some(second), 1)
        .await
        .unwrap();
    assert_eq!(page[0].id, first);
    assert!(
        audit_log::list(&client, &other, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
}
