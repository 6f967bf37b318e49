//! Sources of randomness.

use crate::ports::Entropy;
use parking_lot::Mutex;

/// The cryptographic generator of the operating system, through aws-lc.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the operating system has no randomness; nothing may be decided without it.
    fn fill(&self, buffer: &mut [u8]) {
        assert!(aws_lc_rs::rand::fill(buffer).is_ok(), "the operating system provides no randomness");
    }
}

/// A reproducible sequence (xorshift64*); for tests and simulations only.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed | 1))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut state = self.0.lock();
        for chunk in buffer.chunks_mut(8) {
            *state ^= *state >> 12;
            *state ^= *state << 25;
            *state ^= *state >> 27;
            let word = state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keylime_engine::lifecycle::Entropy as NonceEntropy;
    use std::collections::HashSet;

    #[test]
    fn cve_2026_6420_nonces_never_repeat() {
        let nonces: HashSet<String> = (0..100_000)
            .map(|_| {
                let mut bytes = [0; NonceEntropy::LEN];
                SystemEntropy.fill(&mut bytes);
                NonceEntropy(bytes).quote_nonce().as_str().to_owned()
            })
            .collect();
        assert_eq!(nonces.len(), 100_000);
    }
}
