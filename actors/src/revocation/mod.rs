//! Revocation notices: from the outbox to RabbitMQ, webhook, ZeroMQ and agents, at least once each.
//!
//! A notice is a row that was committed together with the verdict it tells of. Each notifier has its own queue that reads
//! the oldest rows still waiting for it, keeps the order per agent, and marks a row only after the notifier confirmed. A
//! notifier that is away delays neither attestation nor the other notifiers, and after a crash the rows are still there.
//!
//! | module | part |
//! |---|---|
//! | [`message`] | writes and signs a notice |
//! | [`composer`] | what the verifier's actors call to get one |
//! | [`routing`] | where a notice goes on a topic exchange, and its CloudEvents headers |
//! | [`outbox_publisher`] | starts, supervises and stops the queues |
//! | [`amqp`], [`webhook`], [`zeromq`], [`agent_notices`] | the notifiers |

pub mod agent_notices;
pub mod amqp;
pub mod composer;
pub mod message;
pub mod notifier;
pub mod outbox_publisher;
pub mod routing;
pub mod webhook;
pub mod zeromq;

mod back_off;
mod broker_connection;
mod delivery_queue;
mod delivery_window;
mod notice_log;

pub use notifier::{Delivery, Notifier};
pub use outbox_publisher::{NotifierHealth, NotifierState, PublisherOptions, RevocationHandle, RevocationPublisher};
