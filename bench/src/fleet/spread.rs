//! Percentiles.

use serde_json::{Value, json};

/// Sorted samples.
#[derive(Debug, Clone)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// Sorts samples.
    #[must_use]
    pub fn new(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self(samples)
    }

    /// The smallest sample that a share of all samples does not exceed; `None` without samples.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let rank = (share.clamp(0.0, 1.0) * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// Number, median, 99th percentile and largest sample; null without samples.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "samples": self.0.len(),
            "p50": self.quantile(0.5).map(rounded),
            "p99": self.quantile(0.99).map(rounded),
            "max": self.0.last().copied().map(rounded),
        })
    }
}

/// Four decimals are more than any of these measurements is good for.
#[must_use]
pub fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let spread = Spread::new((1..=200).rev().map(f64::from).collect());
        assert_eq!(spread.quantile(0.5), Some(100.0));
        assert_eq!(spread.quantile(0.99), Some(198.0));
        assert_eq!(spread.quantile(0.0), Some(1.0));
        assert_eq!(Spread::new(Vec::new()).quantile(0.5), None);
    }
}
