//! The stores on SQLite, PostgreSQL and MariaDB, and databases that Keylime made.

mod amendment_suite;
mod bad_rows;
mod engines;
mod head_schema;
mod outage;
mod peer_databases;
mod peer_opens_ours;
mod push_suite;
mod registrar_suite;
mod speed;
mod verifier_suite;

/// Runs each scenario, an async function of the service and an open [`engines::TestDatabase`], on every engine.
macro_rules! on_every_engine {
    ($service:ident; $($scenario:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::engines::TestDatabase::sqlite(keylime_schema::database::Service::$service).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::engines::TestDatabase::postgres(keylime_schema::database::Service::$service).await).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(crate::engines::TestDatabase::mariadb(keylime_schema::database::Service::$service).await).await;
            })+
        }
    };
}
pub(crate) use on_every_engine;
