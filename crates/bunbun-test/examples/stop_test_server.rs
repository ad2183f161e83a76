//! Stops the PostgreSQL that tests share: `cargo run -p bunbun-test --example stop_test_server`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), bunbun_databases::postgres::cluster::ClusterError> {
    bunbun_test::TestServer::stop().await
}
