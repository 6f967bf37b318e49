//! Which agent is told of which notice next. Pure bookkeeping: a log of notices and, per agent, how far it got.
//!
//! N failures among M agents are N × M notices. They are never all in memory or under way: the log keeps each notice once,
//! each agent has at most one request under way, and an agent that lags more than its share of the backlog skips to the
//! newest notices.

use crate::ports::AgentEndpoint;
use bytes::Bytes;
use hashbrown::HashMap;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::api_version::ApiVersion;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// An agent to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeTarget {
    /// Its id.
    pub agent_id: AgentId,
    /// Where it listens.
    pub endpoint: Arc<AgentEndpoint>,
    /// API version to speak.
    pub version: ApiVersion,
}

/// A request to make.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    pub(super) target: Arc<NoticeTarget>,
    pub(super) sequence: u64,
    pub(super) body: Bytes,
}

/// The log; `T` is what its owner wants back when everyone has passed a notice.
pub(super) struct NoticeLog<T> {
    entries: VecDeque<Entry<T>>,
    /// Sequence number of the first entry.
    first: u64,
    targets: HashMap<AgentId, Lane>,
    /// Agents that have seen everything.
    idle: Vec<AgentId>,
    /// Agents with something to see, in turn.
    ready: VecDeque<AgentId>,
    /// How many ready agents stand at a sequence number.
    waiting_at: BTreeMap<u64, usize>,
    /// How many requests of a sequence number are under way.
    under_way_at: BTreeMap<u64, usize>,
    backlog: usize,
}

struct Entry<T> {
    about: AgentId,
    body: Bytes,
    token: T,
}

struct Lane {
    target: Arc<NoticeTarget>,
    /// The next notice to look at.
    cursor: u64,
    /// The round of [`NoticeLog::set_targets`] that last named the agent.
    round: u64,
}

impl<T> NoticeLog<T> {
    /// An empty log that keeps at most about `backlog` notices times agents waiting.
    pub(super) fn new(backlog: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            first: 0,
            targets: HashMap::new(),
            idle: Vec::new(),
            ready: VecDeque::new(),
            waiting_at: BTreeMap::new(),
            under_way_at: BTreeMap::new(),
            backlog,
        }
    }

    /// Replaces the agents to tell. Newcomers hear of later notices only; those that left are asked no more.
    pub(super) fn set_targets(&mut self, targets: Vec<NoticeTarget>, round: u64) {
        let end = self.end();
        for target in targets {
            let id = target.agent_id.clone();
            match self.targets.get_mut(&id) {
                Some(lane) => {
                    lane.target = Arc::new(target);
                    lane.round = round;
                }
                None => {
                    self.targets.insert(id.clone(), Lane { target: Arc::new(target), cursor: end, round });
                    self.idle.push(id);
                }
            }
        }
        let gone: Vec<AgentId> =
            self.targets.iter().filter(|(_, lane)| lane.round != round).map(|(id, _)| id.clone()).collect();
        for id in &gone {
            self.targets.remove(id);
        }
        if !gone.is_empty() {
            self.idle.retain(|id| self.targets.contains_key(id));
            self.ready.retain(|id| self.targets.contains_key(id));
            self.waiting_at.clear();
            for id in &self.ready {
                if let Some(lane) = self.targets.get(id) {
                    *self.waiting_at.entry(lane.cursor).or_insert(0) += 1;
                }
            }
        }
    }

    /// Adds a notice.
    pub(super) fn append(&mut self, about: AgentId, body: Bytes, token: T) {
        let position = self.end();
        self.entries.push_back(Entry { about, body, token });
        for id in std::mem::take(&mut self.idle) {
            if let Some(lane) = self.targets.get_mut(&id) {
                lane.cursor = position;
                *self.waiting_at.entry(position).or_insert(0) += 1;
                self.ready.push_back(id);
            }
        }
    }

    /// The next request to make, if any.
    pub(super) fn next(&mut self) -> Option<Assignment> {
        let (end, oldest) = (self.end(), self.oldest_shown());
        while let Some(id) = self.ready.pop_front() {
            let Some(lane) = self.targets.get_mut(&id) else { continue };
            leave(&mut self.waiting_at, lane.cursor);
            let mut sequence = lane.cursor.max(oldest);
            if sequence > lane.cursor {
                metrics::counter!("revocation_agent_notices_skipped_total").increment(sequence - lane.cursor);
            }
            // The failing agent itself is not told.
            while sequence < end && self.entries[index(sequence, self.first)].about == id {
                sequence += 1;
            }
            if sequence >= end {
                lane.cursor = end;
                self.idle.push(id);
                continue;
            }
            lane.cursor = sequence + 1;
            *self.under_way_at.entry(sequence).or_insert(0) += 1;
            let body = self.entries[index(sequence, self.first)].body.clone();
            return Some(Assignment { target: Arc::clone(&lane.target), sequence, body });
        }
        None
    }

    /// A request has ended, well or badly.
    pub(super) fn finished(&mut self, agent_id: &AgentId, sequence: u64) {
        leave(&mut self.under_way_at, sequence);
        let end = self.end();
        let Some(lane) = self.targets.get(agent_id) else { return };
        if lane.cursor < end {
            *self.waiting_at.entry(lane.cursor).or_insert(0) += 1;
            self.ready.push_back(agent_id.clone());
        } else {
            self.idle.push(agent_id.clone());
        }
    }

    /// Takes out the notices that every agent has passed, oldest first.
    pub(super) fn passed(&mut self) -> Vec<T> {
        let mut lowest = self.end();
        if let Some((waiting, _)) = self.waiting_at.first_key_value() {
            lowest = lowest.min((*waiting).max(self.oldest_shown()));
        }
        if let Some((under_way, _)) = self.under_way_at.first_key_value() {
            lowest = lowest.min(*under_way);
        }
        let count = index(lowest, self.first);
        self.first += count as u64;
        self.entries.drain(..count).map(|entry| entry.token).collect()
    }

    fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Older notices are skipped: each agent's share of the backlog, at least one notice.
    fn oldest_shown(&self) -> u64 {
        let share = (self.backlog / self.targets.len().max(1)).max(1);
        self.end().saturating_sub(share as u64).max(self.first)
    }
}

fn index(sequence: u64, first: u64) -> usize {
    usize::try_from(sequence.saturating_sub(first)).unwrap_or(usize::MAX)
}

fn leave(positions: &mut BTreeMap<u64, usize>, at: u64) {
    if let Some(count) = positions.get_mut(&at) {
        *count -= 1;
        if *count == 0 {
            positions.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::AgentTrust;
    use proptest::prelude::*;

    fn target(n: usize) -> NoticeTarget {
        NoticeTarget {
            agent_id: AgentId::parse(&format!("agent-{n}")).unwrap(),
            endpoint: Arc::new(AgentEndpoint { host: "127.0.0.1".into(), port: 9002, trust: AgentTrust::Plain }),
            version: ApiVersion::NEWEST_PULL,
        }
    }

    fn log(targets: usize, backlog: usize) -> NoticeLog<usize> {
        let mut log = NoticeLog::new(backlog);
        log.set_targets((0..targets).map(target).collect(), 1);
        log
    }

    #[test]
    fn everyone_but_the_failing_agent_hears_of_it_once() {
        let mut log = log(3, 100);
        log.append(target(1).agent_id, Bytes::from_static(b"x"), 7);
        let first = log.next().unwrap();
        let second = log.next().unwrap();
        assert!(log.next().is_none());
        assert!(log.passed().is_empty());
        let mut told = [first.target.agent_id.to_string(), second.target.agent_id.to_string()];
        told.sort();
        assert_eq!(told, ["agent-0", "agent-2"]);
        log.finished(&first.target.agent_id, first.sequence);
        assert!(log.passed().is_empty());
        log.finished(&second.target.agent_id, second.sequence);
        assert_eq!(log.passed(), [7]);
        assert!(log.next().is_none());
    }

    #[test]
    fn a_lagging_agent_skips_to_the_newest_of_its_share() {
        let mut log = log(2, 4);
        for n in 0..10 {
            log.append(AgentId::parse("failing").unwrap(), Bytes::from(n.to_string()), n);
        }
        assert_eq!(log.next().unwrap().sequence, 8);
        assert_eq!(log.passed(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn an_agent_that_leaves_holds_nothing_up() {
        let mut log = log(2, 100);
        log.append(AgentId::parse("failing").unwrap(), Bytes::new(), 0);
        let kept = log.next().unwrap();
        log.set_targets(vec![(*kept.target).clone()], 2);
        log.finished(&kept.target.agent_id, kept.sequence);
        assert_eq!(log.passed(), [0]);
    }

    proptest! {
        /// Every notice is passed in the end, never twice, in order, and no agent has two requests under way.
        #[test]
        fn everything_is_passed_once(
            steps in prop::collection::vec((0..4_u8, 0..6_usize), 1..300), targets in 1..6_usize, backlog in 1..20_usize,
        ) {
            let mut log = log(targets, backlog);
            let mut under_way: Vec<Assignment> = Vec::new();
            let (mut appended, mut passed, mut round) = (0_usize, Vec::new(), 1);
            for (step, n) in steps {
                match step {
                    0 => {
                        log.append(target(n).agent_id, Bytes::new(), appended);
                        appended += 1;
                    }
                    1 => under_way.extend(log.next()),
                    2 if !under_way.is_empty() => {
                        let done = under_way.remove(n % under_way.len());
                        log.finished(&done.target.agent_id, done.sequence);
                    }
                    2 => {}
                    _ if under_way.is_empty() => {
                        round += 1;
                        log.set_targets((0..=n).map(target).collect(), round);
                    }
                    _ => {}
                }
                let mut ids: Vec<String> = under_way.iter().map(|a| a.target.agent_id.to_string()).collect();
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), under_way.len());
                passed.extend(log.passed());
            }
            while let Some(assignment) = under_way.pop().or_else(|| log.next()) {
                log.finished(&assignment.target.agent_id, assignment.sequence);
            }
            passed.extend(log.passed());
            prop_assert_eq!(passed, (0..appended).collect::<Vec<_>>());
        }
    }
}
