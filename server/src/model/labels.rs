//! Labels and selectors, with the syntax of Kubernetes.
//!
//! A [`Selector`] is parsed once at the edge and asked many times by list and watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Labels of a VM or a host.
pub type Labels = BTreeMap<String, String>;

/// Most labels on one VM, on one host, or in one placement.
pub const MAX_LABELS: usize = 32;

/// Most terms of one selector.
pub const MAX_TERMS: usize = 16;

/// Most values of one term.
pub const MAX_VALUES: usize = 64;

/// Greatest length of a selector, in bytes: it is kept as it was written.
pub const MAX_SELECTOR_LEN: usize = 4096;

const MAX_PART_LEN: usize = 63;
const MAX_PREFIX_LEN: usize = 253;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelChange {
    /// The whole new set.
    Whole(Labels),
    /// These get new values and those go; all others stay.
    Some {
        /// New values.
        put: Labels,
        /// Keys that go.
        remove: BTreeSet<String>,
    },
}

impl LabelChange {
    /// The labels after it.
    pub fn over(&self, old: &Labels) -> Labels {
        match self {
            Self::Whole(new) => new.clone(),
            Self::Some { put, remove } => {
                let kept = old.iter().filter(|(key, _)| !remove.contains(*key));
                kept.chain(put).map(|(key, value)| (key.clone(), value.clone())).collect()
            }
        }
    }
}

/// Checks a label key: a name of at most 63 characters, optionally after a DNS prefix and '/'.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    let name = match key.split_once('/') {
        None => key,
        Some((prefix, name)) => {
            if prefix.is_empty() || prefix.len() > MAX_PREFIX_LEN {
                return Err("the prefix of the key must have 1 to 253 characters");
            }
            if !prefix.split('.').all(is_dns_part) {
                return Err("the prefix of the key must be a DNS name in lower case");
            }
            name
        }
    };
    if name.is_empty() || name.len() > MAX_PART_LEN {
        return Err("the key must have 1 to 63 characters");
    }
    if !is_qualified(name) {
        return Err(
            "the key must have only letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
        );
    }
    Ok(())
}

/// Checks a label value: at most 63 characters, may be empty.
///
/// # Errors
/// The rule that the text breaks.
pub fn check_value(value: &str) -> Result<(), &'static str> {
    if value.len() > MAX_PART_LEN {
        return Err("the value must have at most 63 characters");
    }
    if !value.is_empty() && !is_qualified(value) {
        return Err(
            "the value must have only letters, digits, '-', '_' and '.', and begin and end with a letter or digit",
        );
    }
    Ok(())
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_dns_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= MAX_PART_LEN
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

/// Checks a whole set of labels and appends each problem as (path, description).
pub fn check_all(labels: &Labels, path: &str, problems: &mut Vec<(String, String)>) {
    if labels.len() > MAX_LABELS {
        problems.push((
            path.to_owned(),
            format!("has {} labels; at most {MAX_LABELS} are allowed", labels.len()),
        ));
        return;
    }
    for (key, value) in labels {
        // Debug form: what is wrong with a hostile key must not reach a terminal raw.
        let shown: String = key.chars().take(MAX_PART_LEN).collect();
        let field = format!("{path}[{shown:?}]");
        if let Err(why) = check_key(key) {
            problems.push((field, why.to_owned()));
        } else if let Err(why) = check_value(value) {
            problems.push((field, why.to_owned()));
        }
    }
}

/// One term of a selector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Term {
    Equals(String, String),
    Differs(String, String),
    In(String, BTreeSet<String>),
    /// As `Differs`: what has no such label matches.
    NotIn(String, BTreeSet<String>),
    Has(String),
    Lacks(String),
}

/// A label selector: every term must match. The empty selector matches everything. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    terms: Arc<[Term]>,
    text: Arc<str>,
}

impl Selector {
    /// Parses `key=value,key!=value,key in (a,b),key notin (a,b),key,!key`; `==` is taken as `=`.
    /// The empty text selects all.
    ///
    /// # Errors
    /// A sentence that says which term is wrong and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SELECTOR_LEN {
            let len = text.len();
            return Err(format!("has {len} bytes; at most {MAX_SELECTOR_LEN} are allowed"));
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let parts = split_terms(text);
        if parts.len() > MAX_TERMS {
            return Err(format!("has {} terms; at most {MAX_TERMS} are allowed", parts.len()));
        }
        let terms = parts
            .into_iter()
            .enumerate()
            .map(|(index, part)| {
                parse_term(part.trim()).map_err(|why| format!("term {}: {why}", index + 1))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { terms, text: text.trim().into() })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same, to be kept.
    pub fn shared_text(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// A label that everything that matches has, with the values that it may have: what to look up.
    /// `None` when no term names one.
    pub fn anchor(&self) -> Option<(&str, Vec<&str>)> {
        self.terms.iter().find_map(|term| match term {
            Term::Equals(key, value) => Some((key.as_str(), vec![value.as_str()])),
            Term::In(key, values) => {
                Some((key.as_str(), values.iter().map(String::as_str).collect()))
            }
            Term::Differs(..) | Term::NotIn(..) | Term::Has(_) | Term::Lacks(_) => None,
        })
    }

    /// Whether every term matches.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.terms.iter().all(|term| match term {
            Term::Equals(key, value) => labels.get(key) == Some(value),
            Term::Differs(key, value) => labels.get(key) != Some(value),
            Term::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Term::NotIn(key, values) => {
                !labels.get(key).is_some_and(|value| values.contains(value))
            }
            Term::Has(key) => labels.contains_key(key),
            Term::Lacks(key) => !labels.contains_key(key),
        })
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

/// The terms of a selector: parted by the commas that are in no parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        c == ',' && !inside
    })
    .collect()
}

/// `key in (a,b)` or `key notin (a,b)`.
fn parse_set(head: &str, values: &str) -> Result<Term, &'static str> {
    let values = values.strip_suffix(')').ok_or("the parenthesis must end the term")?;
    let (key, word) =
        head.trim().rsplit_once(char::is_whitespace).ok_or("parentheses come after in or notin")?;
    let key = key.trim();
    check_key(key)?;
    let values: BTreeSet<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if values.len() > MAX_VALUES {
        return Err("has more than 64 values");
    }
    for value in &values {
        check_value(value)?;
    }
    match word {
        "in" => Ok(Term::In(key.to_owned(), values)),
        "notin" => Ok(Term::NotIn(key.to_owned(), values)),
        _ => Err("parentheses come after in or notin"),
    }
}

fn parse_term(text: &str) -> Result<Term, &'static str> {
    if let Some((head, values)) = text.split_once('(') {
        return parse_set(head, values);
    }
    let checked = |key: &str, value: &str| {
        let (key, value) = (key.trim(), value.trim());
        check_key(key)?;
        check_value(value)?;
        Ok((key.to_owned(), value.to_owned()))
    };
    if let Some((key, value)) = text.split_once("!=") {
        return checked(key, value).map(|(key, value)| Term::Differs(key, value));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return checked(key, value).map(|(key, value)| Term::Equals(key, value));
    }
    if let Some(key) = text.strip_prefix('!') {
        return checked(key, "").map(|(key, _)| Term::Lacks(key));
    }
    checked(text, "").map(|(key, _)| Term::Has(key))
}

#[cfg(test)]
mod tests;
