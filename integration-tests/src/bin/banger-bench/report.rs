//! What a run says: a table for people, a file for comparing with another run.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::pairs::{Line, Ratio, Samples};

fn side(samples: &Samples) -> String {
    let spread = samples.spread() * 100.0;
    format!("{} ({spread:.0} %)", number(samples.median()))
}

/// As many digits as say something.
fn number(value: f64) -> String {
    match value {
        v if v >= 1000.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.3}"),
    }
}

fn ratio(ours: &Samples, other: &Samples) -> String {
    match Ratio::of(ours, other) {
        Some(Ratio { median, smallest, largest }) => {
            format!("{median:.2} ({smallest:.2} to {largest:.2})")
        }
        None => format!("none: {} pairs are too few", ours.len().min(other.len())),
    }
}

/// The table of docs/BENCHMARKS.md: medians, in brackets (largest - smallest) / median; the ratio
/// is the median of the pairs, in brackets the smallest and the largest.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut out = "| line | banger | peer | ratio |\n|---|---|---|---|\n".to_owned();
    for line in lines {
        let (peer, ratio) = match &line.peer {
            Some((name, samples)) if samples.len() > 0 => {
                (format!("{name} {}", side(samples)), ratio(&line.ours, samples))
            }
            _ => (String::new(), String::new()),
        };
        let _ = writeln!(out, "| {} | {} | {peer} | {ratio} |", line.what, side(&line.ours));
    }
    out
}

/// Keeps the lines in a file; its samples are added to, if it is there, so that several short runs
/// make one report.
pub(crate) fn add_to(path: &Path, lines: Vec<Line>) -> anyhow::Result<Vec<Line>> {
    let mut all = if path.exists() { read(path)? } else { Vec::new() };
    for line in lines {
        match all.iter_mut().find(|known| known.what == line.what) {
            None => all.push(line),
            Some(known) => {
                known.ours.extend(&line.ours);
                if let (Some((_, known)), Some((_, more))) = (&mut known.peer, &line.peer) {
                    known.extend(more);
                }
            }
        }
    }
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(path, serde_json::to_vec_pretty(&all)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(all)
}

fn read(path: &Path) -> anyhow::Result<Vec<Line>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is no report", path.display()))
}

/// Two reports of the same machine, side by side: the second over the first.
pub(crate) fn compare(before: &Path, after: &Path) -> anyhow::Result<String> {
    let (before, after) = (read(before)?, read(after)?);
    let mut out = "| line | before | after | after / before |\n|---|---|---|---|\n".to_owned();
    for line in &after {
        let Some(old) = before.iter().find(|old| old.what == line.what) else { continue };
        let ratio = ratio(&line.ours, &old.ours);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {ratio} |",
            line.what,
            side(&old.ours),
            side(&line.ours)
        );
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(ours: f64) -> Line {
        let mut samples = Samples::default();
        samples.push(ours);
        let peer = Some(("etcd".to_owned(), samples.clone()));
        Line { what: "a. creates/s".to_owned(), ours: samples, peer }
    }

    #[test]
    fn short_runs_add_up_to_one_report_and_two_reports_compare() {
        let dir = tempfile::tempdir().expect("a directory");
        let (before, after) = (dir.path().join("x/before.json"), dir.path().join("after.json"));
        for n in 0..5 {
            add_to(&before, vec![line(100.0 + f64::from(n))]).expect("kept");
            add_to(&after, vec![line(200.0 + 2.0 * f64::from(n))]).expect("kept");
        }
        let all = add_to(&after, Vec::new()).expect("read");
        assert_eq!((all.len(), all[0].ours.len()), (1, 5));
        assert!(
            table(&all).contains(
                "| a. creates/s | 204.0 (4 %) | etcd 204.0 (4 %) | 1.00 (1.00 to 1.00) |"
            ),
            "{}",
            table(&all)
        );
        let compared = compare(&before, &after).expect("compared");
        assert!(
            compared.contains("| 102.0 (4 %) | 204.0 (4 %) | 2.00 (2.00 to 2.00) |"),
            "{compared}"
        );
    }

    #[test]
    fn what_is_no_report_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("report.json");
        std::fs::write(&path, "[1]").expect("written");
        let error = add_to(&path, Vec::new()).expect_err("is none").to_string();
        assert!(error.contains("is no report"), "{error}");
    }
}
