//! Heads.

use crate::support::{Gateway, Origin};

#[test]
fn smoke() {
    let origin = Origin::echo();
    let gateway = Gateway::builder().all_slots(origin.url()).start();
    let answer = gateway.get("/rest/v1/todos?a=1", &[("apikey", &gateway.keys.anon)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(origin.only().target, "/todos?a=1");
}
