//! The rate limits of opening sessions, for each address, each agent and all together.
//!
//! The reference's limit for each address refuses a fleet behind one router: its 51st machine of a minute waits at least
//! another. Here an enrolled agent whose address has no place left takes one of a budget for the whole verifier; and who
//! proves to hold its TPM's key gives the place back, so that machines that are what they say never use the limits up.
//! Who only knows agents' ids drains the budget, at the rate for each agent, and is then refused as in the reference.

use hashbrown::HashMap;
use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::rate_limit::{Rate, RateLimit, RetryAfter, SlidingWindow};
use keylime_engine::time::Timestamp;
use parking_lot::Mutex;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Most addresses, and most agents, whose requests are counted at one time.
const MAX_KEYS: usize = 65_536;
/// Bits of an IPv6 address that one customer has; the others cost nothing to change.
const IPV6_PREFIX_BITS: u32 = 64;

/// How many sessions may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// `session_create_rate_limit_per_ip`, `session_create_rate_limit_window_ip`.
    pub per_address: Rate,
    /// `session_create_rate_limit_per_agent`, `session_create_rate_limit_window_agent`.
    pub per_agent: Rate,
    /// `session_create_rate_limit_global`, `session_create_rate_limit_window_global`: sessions of enrolled agents without
    /// a proof yet, beyond the limit of their address. Zero leaves only the limits of the reference.
    pub budget: Rate,
}

impl Default for SessionLimits {
    fn default() -> Self {
        let a_minute = |limit| Rate { limit, window: Duration::from_mins(1) };
        Self { per_address: a_minute(50), per_agent: a_minute(15), budget: a_minute(10_000) }
    }
}

/// Where the place of a session came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// From the limit of this address.
    Address(IpAddr),
    /// From the budget.
    Budget,
}

/// What was counted so far.
pub(super) struct Counters {
    limits: SessionLimits,
    addresses: Mutex<Keyed<IpAddr>>,
    agents: Mutex<Keyed<AgentId>>,
    budget: Mutex<SlidingWindow>,
}

impl Counters {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self { limits, addresses: Mutex::default(), agents: Mutex::default(), budget: Mutex::default() }
    }

    /// Takes a place of the address.
    pub(super) fn of_address(&self, address: IpAddr, now: Timestamp) -> Result<Place, RetryAfter> {
        let key = one_customer(address);
        self.addresses.lock().admit(key, self.limits.per_address, now).map(|()| Place::Address(key))
    }

    /// Takes a place of the budget; for enrolled agents only.
    pub(super) fn of_budget(&self, now: Timestamp) -> Option<Place> {
        self.budget.lock().take(self.limits.budget, now).then_some(Place::Budget)
    }

    /// Takes a place of the agent.
    pub(super) fn of_agent(&self, agent: &AgentId, now: Timestamp) -> Result<(), RetryAfter> {
        self.agents.lock().admit(agent.clone(), self.limits.per_agent, now)
    }

    /// Gives a place back that was taken at this moment.
    pub(super) fn give_back(&self, place: Place, taken: Timestamp) {
        match place {
            Place::Address(address) => self.addresses.lock().give_back(&address, taken),
            Place::Budget => self.budget.lock().give_back(taken),
        }
    }

    /// Whether the budget can have a place at all.
    pub(super) fn has_budget(&self) -> bool {
        self.limits.budget.limit > 0
    }
}

/// Limits by key, in bounded memory.
struct Keyed<K> {
    limits: HashMap<K, RateLimit>,
    swept: Timestamp,
}

impl<K> Default for Keyed<K> {
    fn default() -> Self {
        Self { limits: HashMap::new(), swept: Timestamp(0) }
    }
}

impl<K: Eq + Hash + Clone> Keyed<K> {
    fn admit(&mut self, key: K, rate: Rate, now: Timestamp) -> Result<(), RetryAfter> {
        if self.limits.len() >= MAX_KEYS && !self.limits.contains_key(&key) {
            self.make_room(rate, now);
        }
        self.limits.entry(key).or_default().admit(rate, now)
    }

    fn give_back(&mut self, key: &K, taken: Timestamp) {
        if let Some(limit) = self.limits.get_mut(key) {
            limit.give_back(taken);
        }
    }

    /// Forgets whoever has not asked for a window; if nobody has, somebody.
    fn make_room(&mut self, rate: Rate, now: Timestamp) {
        if now.since(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.limits.retain(|_, limit| !limit.is_idle(rate, now));
        }
        if self.limits.len() >= MAX_KEYS
            && let Some(somebody) = self.limits.keys().next().cloned()
        {
            self.limits.remove(&somebody);
        }
    }
}

/// The address that requests are counted under: IPv4 as it is, IPv6 without the bits that its owner chooses.
fn one_customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mask = u128::MAX << (128 - IPV6_PREFIX_BITS);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_has_one_counter() {
        let counted = |text: &str| one_customer(text.parse().unwrap()).to_string();
        assert_eq!(counted("192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(counted("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[test]
    fn memory_is_bounded_and_whoever_is_blocked_is_kept() {
        let mut keyed: Keyed<u32> = Keyed::default();
        let rate = Rate { limit: 1, window: Duration::from_secs(1) };
        assert!(keyed.admit(0, rate, Timestamp(0)).is_ok());
        assert!(keyed.admit(0, rate, Timestamp(0)).is_err());
        for key in 1..u32::try_from(MAX_KEYS).unwrap() {
            assert!(keyed.admit(key, rate, Timestamp(0)).is_ok());
        }
        assert!(keyed.admit(u32::MAX, rate, Timestamp(2000)).is_ok());
        assert_eq!(keyed.limits.len(), 2);
        assert!(keyed.admit(0, rate, Timestamp(2000)).is_err());
    }
}
