//! The queue of one notifier: reads the oldest rows that wait for it, delivers them, marks them in the store.
//!
//! Woken by a poke *and* by a period; both do the same, so that what a crash or a lost poke left behind is found.

use super::back_off::BackOff;
use super::delivery_window::DeliveryWindow;
use super::notifier::{Delivery, Notifier};
use super::outbox_publisher::{NotifierHealth, NotifierState};
use crate::ports::{OutboxRow, StoreError, VerifierStore, VerifierWrite};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use uuid::Uuid;

/// One notifier's queue.
#[derive(Clone)]
pub(super) struct DeliveryQueue {
    pub(super) store: Arc<dyn VerifierStore>,
    pub(super) notifier: Arc<dyn Notifier>,
    pub(super) health: Arc<Mutex<NotifierHealth>>,
    pub(super) poke: Arc<Notify>,
    pub(super) stop: watch::Receiver<bool>,
    /// Longest time between two looks into the outbox.
    pub(super) period: Duration,
}

type Deliveries = FuturesUnordered<BoxFuture<'static, (OutboxRow, Delivery)>>;
type Marking = BoxFuture<'static, (Vec<Uuid>, Result<(), StoreError>)>;

/// What the queue knows between two events.
#[derive(Default)]
struct Progress {
    window: DeliveryWindow,
    deliveries: Deliveries,
    /// Read and not started yet.
    rows: VecDeque<OutboxRow>,
    confirmed: Vec<Uuid>,
    marking: Option<Marking>,
    /// No mark is written before, after a failed one.
    mark_after: Option<Instant>,
    /// The outbox is to be read.
    look: bool,
    /// The last page did not show everything that waits.
    more: bool,
    /// How many rows a page has beyond those known; grows while a page holds nothing that may start.
    page: u64,
    /// Failures of the notifier or the store in a row.
    failures: u32,
    /// Nothing starts before, after such a failure.
    resume_at: Option<Instant>,
}

impl DeliveryQueue {
    /// Runs until stopped and everything under way is finished and marked.
    pub(super) async fn run(mut self) {
        let mut progress = Progress { look: true, page: PAGE, ..Progress::default() };
        loop {
            let stopping = *self.stop.borrow();
            if stopping && progress.deliveries.is_empty() && progress.confirmed.is_empty() && progress.marking.is_none()
            {
                return;
            }
            if !stopping {
                self.look(&mut progress).await;
            }
            self.mark(&mut progress);
            self.report(&progress);
            self.wait(&mut progress, stopping).await;
        }
    }

    /// Starts what may start, and reads more when that leaves room.
    async fn look(&self, progress: &mut Progress) {
        let now = Instant::now();
        if progress.window.release_due(now) {
            // The released rows are older than what was read after them.
            progress.rows.clear();
            progress.look = true;
        }
        if progress.resume_at.is_some_and(|at| at > now) {
            return;
        }
        // While the notifier is away a single notice probes it.
        let window = if progress.failures > 0 { 1 } else { self.notifier.window().max(1) };
        self.start(progress, window);
        if !progress.look || progress.window.in_flight() > window / 2 {
            return;
        }
        progress.look = false;
        let limit = progress.window.known() as u64 + progress.page;
        let page = match self.store.outbox_pending_for(self.notifier.name(), limit).await {
            Ok(page) => page,
            Err(error) => {
                self.away(progress, &format!("outbox cannot be read: {error}"));
                return;
            }
        };
        self.report_age(page.first());
        let full = page.len() as u64 >= limit;
        progress.rows = page.into_iter().filter(|row| !progress.window.knows(row)).collect();
        let started = self.start(progress, window);
        progress.more = full || !progress.rows.is_empty();
        // A page full of rows that must wait says nothing about those behind it.
        progress.look = started == 0 && full && progress.page < LARGEST_PAGE;
        progress.page = if progress.look { (progress.page * 2).min(LARGEST_PAGE) } else { PAGE };
    }

    /// Starts deliveries of rows that were read, up to the window; answers how many.
    fn start(&self, progress: &mut Progress, window: usize) -> usize {
        let room = window.saturating_sub(progress.window.in_flight());
        let rows = progress.window.admit(&mut progress.rows, room);
        let started = rows.len();
        for row in rows {
            let notifier = Arc::clone(&self.notifier);
            progress.deliveries.push(Box::pin(async move {
                let outcome = notifier.deliver(&row).await;
                (row, outcome)
            }));
        }
        started
    }

    /// Writes the marks of confirmed rows, one batch at a time.
    fn mark(&self, progress: &mut Progress) {
        let due = progress.mark_after.is_none_or(|at| at <= Instant::now());
        if progress.marking.is_some() || progress.confirmed.is_empty() || !due {
            return;
        }
        let rest = progress.confirmed.split_off(progress.confirmed.len().min(MARKS));
        let ids = std::mem::replace(&mut progress.confirmed, rest);
        let (store, notifier) = (Arc::clone(&self.store), self.notifier.name());
        progress.marking = Some(Box::pin(async move {
            let batch = ids.iter().map(|id| VerifierWrite::OutboxDelivered { id: *id, notifier }).collect();
            let outcome = store.write(batch).await.map(|_| ());
            (ids, outcome)
        }));
    }

    /// Waits for the next event and takes it in.
    async fn wait(&mut self, progress: &mut Progress, stopping: bool) {
        let now = Instant::now();
        let deadline = [progress.resume_at, progress.mark_after, progress.window.next_due()]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .fold(now + self.period, Instant::min);
        let idle = progress.window.in_flight() == 0 && progress.resume_at.is_none_or(|at| at <= now);
        if progress.look && idle && !stopping {
            return;
        }
        let marking = progress.marking.as_mut();
        tokio::select! {
            Some((row, outcome)) = progress.deliveries.next() => self.finished(progress, &row, outcome),
            (ids, outcome) = async { match marking { Some(marking) => marking.await, None => std::future::pending().await } } => {
                progress.marking = None;
                self.marked(progress, ids, outcome);
            }
            () = self.poke.notified() => progress.look = true,
            () = tokio::time::sleep_until(deadline) => progress.look = true,
            _ = self.stop.changed(), if !stopping => {}
        }
    }

    fn finished(&self, progress: &mut Progress, row: &OutboxRow, outcome: Delivery) {
        let name = self.notifier.name();
        match outcome {
            Delivery::Confirmed => {
                metrics::counter!("revocation_delivered_total", "notifier" => name).increment(1);
                progress.window.confirmed(row);
                progress.confirmed.push(row.id);
                if progress.failures > 0 {
                    tracing::info!(target: "keylime.revocation", notifier = name, "notifier is back");
                    progress.failures = 0;
                    progress.resume_at = None;
                    progress.look = true;
                }
            }
            Delivery::Refused(reason) if progress.window.parked() >= MAX_PARKED => {
                progress.window.returned(row);
                self.away(progress, &format!("{MAX_PARKED} notices were refused already: {reason}"));
            }
            Delivery::Refused(reason) => self.refused(progress, row, &reason),
            Delivery::Away(reason) => {
                // One notice that brings its notifier down every time must not hold up all the others for ever.
                if progress.failures > 0 && progress.failures.is_multiple_of(POISON_FAILURES) {
                    self.refused(progress, row, &reason);
                } else {
                    progress.window.returned(row);
                }
                self.away(progress, &reason);
            }
        }
        progress.look |= progress.more;
    }

    fn refused(&self, progress: &mut Progress, row: &OutboxRow, reason: &str) {
        let name = self.notifier.name();
        let attempts = progress.window.refused(row, Instant::now());
        metrics::counter!("revocation_refused_total", "notifier" => name).increment(1);
        tracing::error!(
            target: "keylime.revocation", notifier = name, event = %row.id, agent_id = %row.agent_id, attempts, reason,
            "notice was not taken and stays in the outbox"
        );
    }

    fn away(&self, progress: &mut Progress, reason: &str) {
        progress.look = true;
        // What was returned is older than what was read after it.
        progress.rows.clear();
        let now = Instant::now();
        if progress.resume_at.is_some_and(|at| at > now) {
            return;
        }
        progress.failures = progress.failures.saturating_add(1);
        let delay = AWAY.after(progress.failures);
        progress.resume_at = Some(now + delay);
        metrics::counter!("revocation_notifier_failures_total", "notifier" => self.notifier.name()).increment(1);
        tracing::warn!(
            target: "keylime.revocation", notifier = self.notifier.name(), failures = progress.failures, reason,
            retry_milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), "notifier is away; notices wait"
        );
        self.health.lock().state = NotifierState::Away(reason.to_owned());
    }

    fn marked(&self, progress: &mut Progress, ids: Vec<Uuid>, outcome: Result<(), StoreError>) {
        match outcome {
            Ok(()) => {
                progress.mark_after = None;
                progress.window.marked(&ids);
            }
            Err(error) => {
                tracing::warn!(
                    target: "keylime.revocation", notifier = self.notifier.name(), reason = %error,
                    "confirmed notices could not be marked; marking is tried again"
                );
                progress.confirmed.extend(ids);
                progress.mark_after = Some(Instant::now() + MARK_AGAIN);
            }
        }
    }

    fn report(&self, progress: &Progress) {
        let mut health = self.health.lock();
        if progress.failures == 0 {
            health.state = NotifierState::Up;
        }
        health.in_flight = progress.window.in_flight();
        health.parked = progress.window.parked();
        let parked = f64::from(u32::try_from(health.parked).unwrap_or(u32::MAX));
        metrics::gauge!("revocation_parked", "notifier" => self.notifier.name()).set(parked);
    }

    fn report_age(&self, oldest: Option<&OutboxRow>) {
        let age = oldest.map_or(Duration::ZERO, |row| {
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000;
            Duration::from_micros(u64::try_from(now - i128::from(row.created_us)).unwrap_or(0))
        });
        self.health.lock().oldest = age;
        metrics::gauge!("revocation_outbox_age_seconds", "notifier" => self.notifier.name()).set(age.as_secs_f64());
    }
}

/// Rows that a page has beyond those known.
const PAGE: u64 = 1024;
const LARGEST_PAGE: u64 = 4096;
/// Refused notices that are kept apart; with more of them the notifier as a whole counts as away.
const MAX_PARKED: usize = 4096;
/// Marks in one transaction.
const MARKS: usize = 512;
const MARK_AGAIN: Duration = Duration::from_secs(1);
const AWAY: BackOff = BackOff { first: Duration::from_millis(200), longest: Duration::from_secs(30) };
/// After so many failures in a row the probing notice steps aside.
const POISON_FAILURES: u32 = 8;
