//! Which shard an agent belongs to; the same in every process and release.

use keylime_engine::ids::AgentId;
use keylime_engine::lifecycle::deadline::stable_hash;
use std::num::NonZeroUsize;

/// Maps agents to shards.
#[derive(Debug, Clone, Copy)]
pub struct ShardMap(NonZeroUsize);

impl ShardMap {
    /// A map onto `shards` shards.
    #[must_use]
    pub fn new(shards: NonZeroUsize) -> Self {
        Self(shards)
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.0.get()
    }

    /// The shard of an agent.
    #[must_use]
    pub fn shard_of(&self, agent_id: &AgentId) -> usize {
        // The lower bits: the splay of first deadlines uses the upper ones.
        usize::try_from(stable_hash(agent_id.as_str()) & 0xffff_ffff).unwrap_or(0) % self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_spread_over_the_shards() {
        let map = ShardMap::new(NonZeroUsize::new(4).unwrap());
        let mut counts = [0; 4];
        for n in 0..4000 {
            counts[map.shard_of(&AgentId::parse(&format!("agent-{n}")).unwrap())] += 1;
        }
        assert!(counts.iter().all(|&n| (850..1150).contains(&n)), "{counts:?}");
    }
}
