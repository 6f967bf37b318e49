//! Which rows may be under way: the order per agent, what is known, and what waits for another attempt. Pure bookkeeping.

use super::back_off::BackOff;
use crate::ports::OutboxRow;
use hashbrown::{HashMap, HashSet};
use keylime_engine::ids::AgentId;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// The rows of one notifier that this process knows of.
#[derive(Default)]
pub(super) struct DeliveryWindow {
    /// Under way, parked, or confirmed and not yet marked in the store.
    known: HashSet<Uuid>,
    /// Agents with a row under way or parked: a later row of theirs must wait.
    busy: HashSet<AgentId>,
    in_flight: usize,
    /// Refused rows by the time of their next attempt.
    parked: BTreeSet<(Instant, Uuid, AgentId)>,
    /// Failed attempts of rows that are not confirmed.
    attempts: HashMap<Uuid, u32>,
}

impl DeliveryWindow {
    /// Takes out of `rows`, oldest first, those that may start: at most `room`. The others stay, in order.
    pub(super) fn admit(&mut self, rows: &mut VecDeque<OutboxRow>, room: usize) -> Vec<OutboxRow> {
        let mut started = Vec::new();
        let mut left = VecDeque::new();
        // A row that must wait holds back later rows of its agent too.
        let mut waiting: HashSet<AgentId> = HashSet::new();
        while started.len() < room
            && let Some(row) = rows.pop_front()
        {
            if self.busy.contains(&row.agent_id) || waiting.contains(&row.agent_id) {
                waiting.insert(row.agent_id.clone());
                left.push_back(row);
                continue;
            }
            self.known.insert(row.id);
            self.busy.insert(row.agent_id.clone());
            self.in_flight += 1;
            started.push(row);
        }
        left.append(rows);
        *rows = left;
        started
    }

    /// Whether a row is under way, parked, or confirmed and not yet marked.
    pub(super) fn knows(&self, row: &OutboxRow) -> bool {
        self.known.contains(&row.id)
    }

    /// A row was confirmed; it stays known until [`Self::marked`].
    pub(super) fn confirmed(&mut self, row: &OutboxRow) {
        self.in_flight -= 1;
        self.busy.remove(&row.agent_id);
        self.attempts.remove(&row.id);
    }

    /// A row failed together with its notifier; it is forgotten and will be read again.
    pub(super) fn returned(&mut self, row: &OutboxRow) {
        self.in_flight -= 1;
        self.busy.remove(&row.agent_id);
        self.known.remove(&row.id);
    }

    /// A row was refused; it waits, and the agent's later rows behind it. Answers how often it has failed.
    pub(super) fn refused(&mut self, row: &OutboxRow, now: Instant) -> u32 {
        self.in_flight -= 1;
        let attempts = self.attempts.entry(row.id).or_insert(0);
        *attempts = attempts.saturating_add(1);
        self.parked.insert((now + PARK.after(*attempts), row.id, row.agent_id.clone()));
        *attempts
    }

    /// Rows whose marks are committed.
    pub(super) fn marked(&mut self, ids: &[Uuid]) {
        for id in ids {
            self.known.remove(id);
        }
    }

    /// Releases the parked rows that are due; they will be read again. Answers whether there were any.
    pub(super) fn release_due(&mut self, now: Instant) -> bool {
        let mut released = false;
        while let Some((due, id, agent_id)) = self.parked.pop_first() {
            if due > now {
                self.parked.insert((due, id, agent_id));
                break;
            }
            self.known.remove(&id);
            self.busy.remove(&agent_id);
            released = true;
        }
        released
    }

    /// When the next parked row is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.parked.first().map(|(due, _, _)| *due)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    pub(super) fn parked(&self) -> usize {
        self.parked.len()
    }
}

const PARK: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(id: u128, agent: &str) -> OutboxRow {
        OutboxRow {
            id: Uuid::from_u128(id),
            agent_id: AgentId::parse(agent).unwrap(),
            kind: "revocation".to_owned(),
            severity_label: "emergency".to_owned(),
            body: String::new(),
            created_us: 0,
            pending: Vec::new(),
        }
    }

    fn ids(rows: &[OutboxRow]) -> Vec<u128> {
        rows.iter().map(|row| row.id.as_u128()).collect()
    }

    /// What a fresh look into the store would start.
    fn look(window: &mut DeliveryWindow, stored: &[OutboxRow], room: usize) -> Vec<OutboxRow> {
        let mut page = stored.iter().filter(|row| !window.knows(row)).cloned().collect();
        window.admit(&mut page, room)
    }

    #[test]
    fn one_row_of_an_agent_at_a_time_in_order() {
        let mut rows = VecDeque::from([row(1, "a"), row(2, "a"), row(3, "b"), row(4, "a")]);
        let mut window = DeliveryWindow::default();
        let started = window.admit(&mut rows, 10);
        assert_eq!(ids(&started), [1, 3]);
        assert_eq!(ids(rows.make_contiguous()), [2, 4]);
        assert!(window.admit(&mut rows, 10).is_empty());
        window.confirmed(&started[0]);
        assert_eq!(ids(&window.admit(&mut rows, 10)), [2]);
    }

    #[test]
    fn a_full_window_does_not_let_a_later_row_overtake() {
        let mut rows = VecDeque::from([row(1, "a"), row(2, "b"), row(3, "b")]);
        let mut window = DeliveryWindow::default();
        assert_eq!(ids(&window.admit(&mut rows, 1)), [1]);
        assert_eq!(ids(&window.admit(&mut rows, 10)), [2]);
        assert_eq!(ids(rows.make_contiguous()), [3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_row_waits_and_blocks_only_its_agent() {
        let now = Instant::now();
        let mut window = DeliveryWindow::default();
        let started = look(&mut window, &[row(1, "a")], 10);
        assert_eq!(window.refused(&started[0], now), 1);
        let stored = [row(1, "a"), row(2, "a"), row(3, "b")];
        assert_eq!(ids(&look(&mut window, &stored, 10)), [3]);
        assert!(!window.release_due(now));
        assert!(window.release_due(window.next_due().unwrap()));
        assert_eq!(ids(&look(&mut window, &stored, 10)), [1]);
    }

    proptest! {
        /// Whatever is refused, returned or confirmed: no agent has two rows under way, and its rows are confirmed in order.
        #[test]
        fn order_per_agent_holds(outcomes in prop::collection::vec(0..3_u8, 1..200)) {
            let mut stored: Vec<OutboxRow> =
                (0..12).map(|n| row(n, ["a", "b", "c"][usize::try_from(n % 3).unwrap()])).collect();
            let mut window = DeliveryWindow::default();
            let mut under_way: Vec<OutboxRow> = Vec::new();
            let mut last: HashMap<AgentId, u128> = HashMap::new();
            let start = Instant::now();
            for (step, outcome) in outcomes.into_iter().enumerate() {
                window.release_due(start + Duration::from_secs(100 * u64::try_from(step).unwrap()));
                under_way.extend(look(&mut window, &stored, 2));
                prop_assert!(under_way.iter().map(|row| &row.agent_id).collect::<HashSet<_>>().len() == under_way.len());
                let Some(row) = (!under_way.is_empty()).then(|| under_way.remove(0)) else { continue };
                match outcome {
                    0 => {
                        window.confirmed(&row);
                        window.marked(&[row.id]);
                        stored.retain(|kept| kept.id != row.id);
                        let before = last.insert(row.agent_id.clone(), row.id.as_u128());
                        prop_assert!(before.is_none_or(|before| before < row.id.as_u128()));
                    }
                    1 => { window.refused(&row, start + Duration::from_secs(100 * u64::try_from(step).unwrap())); }
                    _ => window.returned(&row),
                }
                prop_assert_eq!(window.in_flight(), under_way.len());
            }
        }
    }
}
