//! Alternating runs of two sides, and what may be said about them.
//!
//! A speed is only quoted as a ratio to a peer measured in the same run, one side after the other.
//! The ratio is the median of the ratios of each pair, with the smallest and the largest: what
//! slows the machine for a while slows both halves of a pair, so a noisy run of the peer hides
//! nothing. From five pairs on it is printed.

use serde::{Deserialize, Serialize};

/// Fewer pairs than this make no ratio.
const FEWEST_PAIRS: usize = 5;

/// What one side's runs gave, in the order they were made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds the result of one run.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// Adds the results of more runs.
    pub(crate) fn extend(&mut self, more: &Self) {
        self.0.extend(&more.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The middle one, or NaN without any.
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.0, 0.5)
    }

    /// (largest - smallest) / median.
    pub(crate) fn spread(&self) -> f64 {
        (quantile(&self.0, 1.0) - quantile(&self.0, 0.0)) / self.median()
    }
}

/// The ratio of two sides: the median of the pairs, and the smallest and the largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) smallest: f64,
    pub(crate) largest: f64,
}

impl Ratio {
    /// Ours over the other's, pair by pair; `None` with fewer than five pairs.
    pub(crate) fn of(ours: &Samples, other: &Samples) -> Option<Self> {
        let ratios: Vec<f64> = ours.0.iter().zip(&other.0).map(|(a, b)| a / b).collect();
        (ratios.len() >= FEWEST_PAIRS).then(|| Self {
            median: quantile(&ratios, 0.5),
            smallest: quantile(&ratios, 0.0),
            largest: quantile(&ratios, 1.0),
        })
    }
}

/// A quantile of unsorted values, the nearest one; NaN without any.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return f64::NAN;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts of samples are small")]
    let at = (q * (sorted.len() - 1) as f64).round();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= at < len")]
    let at = at as usize;
    sorted[at]
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// What was measured, and in which unit.
    pub(crate) what: String,
    pub(crate) ours: Samples,
    /// The peer's name and its samples.
    pub(crate) peer: Option<(String, Samples)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(values: &[f64]) -> Samples {
        Samples(values.to_vec())
    }

    #[test]
    fn a_noisy_pair_moves_the_ratio_less_than_the_medians() {
        let ours = samples(&[10.0, 5.0, 10.0, 10.0, 10.0]);
        let peer = samples(&[20.0, 10.0, 20.0, 4.0, 20.0]);
        let ratio = Ratio::of(&ours, &peer).expect("five pairs");
        assert_eq!((ratio.smallest, ratio.median, ratio.largest), (0.5, 0.5, 2.5));
    }

    #[test]
    fn four_pairs_make_no_ratio() {
        let four = samples(&[1.0, 1.0, 1.0, 1.0]);
        assert_eq!(Ratio::of(&four, &four), None);
    }
}
