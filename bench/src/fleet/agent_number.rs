//! Number, address and id of an agent.

use std::fmt;
use std::net::Ipv4Addr;

/// Address of agent 0. All of 127.0.0.0/8 is local; 127.0.0.1 and its neighbours are left to other programs.
const FIRST_ADDRESS: u32 = u32::from_be_bytes([127, 16, 0, 1]);

/// An agent's place in the fleet, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentNumber(pub u32);

impl AgentNumber {
    /// More agents have no room between 127.16.0.1 and the end of the network.
    pub const LIMIT: u32 = 10_000_000;

    /// The address it listens at.
    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::from(FIRST_ADDRESS + self.0)
    }

    /// The agent that listens at an address.
    #[must_use]
    pub fn at(address: Ipv4Addr) -> Option<Self> {
        u32::from(address).checked_sub(FIRST_ADDRESS).filter(|number| *number < Self::LIMIT).map(Self)
    }

    /// The agent with an id, as [`fmt::Display`] writes it.
    #[must_use]
    pub fn of_id(id: &str) -> Option<Self> {
        id.strip_prefix(PREFIX)?.parse().ok().map(Self)
    }

    /// Its index in a list of all agents.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

const PREFIX: &str = "5f1ee700-0000-4000-8000-";

impl fmt::Display for AgentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:012}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_addresses_and_ids_belong_together() {
        for number in [0, 254, 255, 19_999, AgentNumber::LIMIT - 1].map(AgentNumber) {
            assert_eq!(AgentNumber::at(number.address()), Some(number));
            assert_eq!(AgentNumber::of_id(&number.to_string()), Some(number));
            assert!(number.address().is_loopback());
        }
        assert_eq!(AgentNumber::at(Ipv4Addr::LOCALHOST), None);
        assert_eq!(AgentNumber::of_id("another agent"), None);
    }
}
