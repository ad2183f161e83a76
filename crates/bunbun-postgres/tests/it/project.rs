//! Tests of `project`: what a project's database lacks is made, what it has stays.

use bunbun_postgres::project;
use bunbun_test::TestDb;

use crate::pool;

#[tokio::test]
async fn an_owner_who_is_no_superuser_prepares_twice() {
    let Some(database) = TestDb::create().await else {
        return;
    };
    let pool = pool(&database, 2);
    project::prepare(&pool).await.expect("it is prepared");
    let client = pool.get().await.expect("a connection");
    // An owner's own choices stay.
    client
        .batch_execute(
            "alter default privileges in schema public revoke all on tables from anon;
             create or replace function auth.role() returns text language sql stable
               return 'mine';",
        )
        .await
        .expect("the owner may");
    project::prepare(&pool).await.expect("it is prepared");
    client
        .batch_execute("create table t (n int)")
        .await
        .expect("made");
    let row = client
        .query_one(
            "select auth.role(), has_table_privilege('anon', 't', 'select'),
                    has_table_privilege('authenticated', 't', 'select, insert, update, delete'),
                    has_schema_privilege('anon', 'auth', 'usage'),
                    has_schema_privilege('anon', 'auth', 'create'),
                    has_schema_privilege('anon', 'storage', 'usage'),
                    has_schema_privilege('anon', 'extensions', 'usage')",
            &[],
        )
        .await
        .expect("an answer");
    assert_eq!(row.get::<_, &str>(0), "mine");
    let rights: Vec<bool> = (1..7).map(|at| row.get(at)).collect();
    assert_eq!(rights, [false, true, true, false, true, true]);
}
