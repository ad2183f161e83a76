//! Tests of the table `platform.data_keys`.

use bunbun_core::id::{DataKeyId, ProjectRef};
use bunbun_store::data_keys::{self, WrappedKey};

use crate::store;

fn project(name: &str) -> ProjectRef {
    name.parse().expect("a reference")
}

fn key(byte: u8) -> WrappedKey {
    WrappedKey {
        id: DataKeyId::generate(),
        wrapped_key: vec![byte; 69],
    }
}

#[tokio::test]
async fn a_projects_first_key_stays_whoever_comes_second() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let (mine, other) = (project("mine"), project("other"));
    assert_eq!(data_keys::find(&client, &mine).await.unwrap(), None);
    let first = key(1);
    assert!(
        data_keys::insert(&client, &mine, &first, "m1")
            .await
            .unwrap()
    );
    assert!(
        !data_keys::insert(&client, &mine, &key(2), "m1")
            .await
            .unwrap()
    );
    assert_eq!(data_keys::find(&client, &mine).await.unwrap(), Some(first));
    assert_eq!(data_keys::find(&client, &other).await.unwrap(), None);
}

#[tokio::test]
async fn wrappings_are_replaced_where_they_are_what_was_read() {
    let Some((_database, _store, client)) = store().await else {
        return;
    };
    let (mine, other) = (project("mine"), project("other"));
    let (first, second) = (key(1), key(2));
    data_keys::insert(&client, &mine, &first, "m1")
        .await
        .unwrap();
    data_keys::insert(&client, &other, &second, "m2")
        .await
        .unwrap();
    let ids = data_keys::list_master_key_ids(&client).await.unwrap();
    assert_eq!(ids, [("m1".to_owned(), 1), ("m2".to_owned(), 1)]);
    let old = data_keys::list_not_wrapped_by(&client, "m2", 10)
        .await
        .unwrap();
    assert_eq!(old, [(mine.clone(), first.clone())]);
    let update = async |of: &ProjectRef, before: &[u8]| {
        data_keys::update_wrapping(&client, of, first.id, before, &[9; 69], "m2")
            .await
            .unwrap()
    };
    assert!(
        !update(&other, &first.wrapped_key).await,
        "another project's"
    );
    assert!(!update(&mine, &[7; 69]).await, "not what was read");
    assert!(update(&mine, &first.wrapped_key).await);
    assert!(!update(&mine, &first.wrapped_key).await, "once");
    let found = data_keys::find(&client, &mine).await.unwrap().unwrap();
    assert_eq!(found.wrapped_key, [9; 69]);
    assert!(
        data_keys::list_not_wrapped_by(&client, "m2", 10)
            .await
            .unwrap()
            .is_empty()
    );
}
