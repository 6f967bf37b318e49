//! Bounds the TLS handshakes that are going on.
//!
//! When there are too many, the oldest gives way: a genuine handshake is over within milliseconds, so the oldest one is
//! the one that stalls, and somebody who opens connections without speaking only displaces himself.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many handshakes may go on.
#[derive(Debug, Clone, Copy)]
pub struct HalfOpenLimits {
    /// From one address.
    pub per_address: usize,
    /// In total.
    pub total: usize,
}

impl Default for HalfOpenLimits {
    fn default() -> Self {
        Self { per_address: 256, total: 4096 }
    }
}

/// The handshakes that are going on.
pub struct HalfOpen {
    limits: HalfOpenLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By age, oldest first.
    going_on: BTreeMap<u64, (IpAddr, oneshot::Sender<()>)>,
    by_address: HashMap<IpAddr, BTreeMap<u64, ()>>,
}

/// One handshake's place; gives it back when dropped.
pub struct Place {
    registry: Arc<HalfOpen>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl HalfOpen {
    /// A registry with these limits.
    #[must_use]
    pub fn new(limits: HalfOpenLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// Takes a place, from the oldest handshake if there is none left.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Place {
        let (displace, displaced) = oneshot::channel();
        let mut state = self.state.lock();
        let of_address = state.by_address.get(&address);
        let oldest_of_address = of_address.and_then(|places| {
            (places.len() >= self.limits.per_address).then(|| places.keys().next().copied()).flatten()
        });
        let oldest =
            (state.going_on.len() >= self.limits.total).then(|| state.going_on.keys().next().copied()).flatten();
        if let Some(number) = oldest_of_address.or(oldest) {
            metrics::counter!("keylime_handshakes_displaced").increment(1);
            if let Some(displace) = state.remove(number) {
                let _ = displace.send(());
            }
        }
        let number = state.next;
        state.next += 1;
        state.going_on.insert(number, (address, displace));
        state.by_address.entry(address).or_default().insert(number, ());
        Place { registry: Arc::clone(self), number, displaced }
    }

    /// Handshakes going on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.lock().going_on.len()
    }

    /// Whether no handshake is going on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn remove(&mut self, number: u64) -> Option<oneshot::Sender<()>> {
        let (address, displace) = self.going_on.remove(&number)?;
        if let Some(places) = self.by_address.get_mut(&address) {
            places.remove(&number);
            if places.is_empty() {
                self.by_address.remove(&address);
            }
        }
        Some(displace)
    }
}

impl Place {
    /// Resolves when the place has gone to somebody else.
    pub async fn displaced(&mut self) {
        // An error means that the sender was dropped, which happens only when the place is removed.
        let _ = (&mut self.displaced).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.state.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(per_address: usize, total: usize) -> Arc<HalfOpen> {
        Arc::new(HalfOpen::new(HalfOpenLimits { per_address, total }))
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[actix_rt::test]
    async fn the_oldest_of_an_address_gives_way() {
        let registry = registry(2, 100);
        let mut oldest = registry.enter(address(1));
        let mut other = registry.enter(address(2));
        let mut second = registry.enter(address(1));
        let _third = registry.enter(address(1));
        oldest.displaced().await;
        assert!(second.displaced.try_recv().is_err() && other.displaced.try_recv().is_err());
        assert_eq!(registry.len(), 3);
    }

    #[actix_rt::test]
    async fn the_oldest_of_all_gives_way() {
        let registry = registry(10, 2);
        let mut oldest = registry.enter(address(1));
        let _second = registry.enter(address(2));
        let _third = registry.enter(address(3));
        oldest.displaced().await;
        assert_eq!(registry.len(), 2);
    }

    #[test]
    fn places_are_given_back() {
        let registry = registry(2, 2);
        for _ in 0..10 {
            drop(registry.enter(address(1)));
        }
        assert!(registry.is_empty());
        assert!(registry.state.lock().by_address.is_empty());
    }
}
