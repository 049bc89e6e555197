//! Alternating runs of two sides, and what may be said about them.
//!
//! A speed is only quoted as a ratio to a peer measured in the same run: at least five pairs, one
//! side after the other, medians with their spread. When either side's spread passes a fifth of
//! its median, the machine was not quiet enough and no ratio is printed.

use std::fmt;

/// Beyond this spread no ratio is printed.
const MAX_SPREAD: f64 = 0.20;

/// What one side's runs gave, in the order they were made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// Adds the result of one run.
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The middle one, or NaN without any.
    pub(crate) fn median(&self) -> f64 {
        quantile(&self.0, 0.5)
    }

    /// (largest - smallest) / median.
    pub(crate) fn spread(&self) -> f64 {
        let low = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (high - low) / self.median()
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
#[derive(Debug)]
pub(crate) struct Line {
    /// What was measured, and in which unit.
    pub(crate) what: String,
    /// Ours.
    pub(crate) ours: Samples,
    /// The peer's name and its samples.
    pub(crate) peer: Option<(&'static str, Samples)>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |name: &str, samples: &Samples| {
            format!(
                "{name} {:.4} (spread {:.0} %, n={})",
                samples.median(),
                samples.spread() * 100.0,
                samples.0.len()
            )
        };
        write!(f, "{}: {}", self.what, side("banger", &self.ours))?;
        let Some((name, peer)) = &self.peer else { return Ok(()) };
        write!(f, ", {}", side(name, peer))?;
        if self.ours.0.len() < 5 || peer.0.len() < 5 {
            write!(f, ", no ratio: fewer than five pairs")
        } else if self.ours.spread() > MAX_SPREAD || peer.spread() > MAX_SPREAD {
            write!(f, ", no ratio: a spread passes {:.0} %", MAX_SPREAD * 100.0)
        } else {
            write!(f, ", ratio {:.2}", self.ours.median() / peer.median())
        }
    }
}
