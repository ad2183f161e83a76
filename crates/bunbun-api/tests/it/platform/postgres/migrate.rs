//! `POST …/migrate`.

use serde_json::json;

use super::Stage;

#[tokio::test]
async fn a_migration_is_applied_once_to_the_stored_connection() {
    let Some(stage) = Stage::with_connection("").await else {
        return;
    };
    let body = json!({ "name": "todos", "sql": "create table todos (id int primary key)" });
    let first = stage.post("migrate", &body).await;
    assert_eq!(first.json()["already_applied"], false, "{}", first.text());
    assert_eq!(
        stage.post("migrate", &body).await.json()["already_applied"],
        true
    );
    let client = stage.other.superuser().await;
    client
        .execute("select from todos", &[])
        .await
        .expect("it is there");
    let other = json!({ "name": "todos", "sql": "create table others ()" });
    assert_eq!(
        stage.post("migrate", &other).await.error(),
        (409, "MIGRATION_CONFLICT".to_owned())
    );
}
