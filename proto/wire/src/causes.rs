//! An error and its causes joined into one line.

use std::error::Error;

/// An error and all its causes in one line, the outermost first: `could not open the database: disk
/// I/O error: Input/output error`. For messages and log fields; banger's errors do not repeat their
/// source in their own text.
#[must_use]
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(error.source(), |cause| (*cause).source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn every_cause_is_named_once_the_outermost_first() {
        let inner = Layer("no space", None);
        let middle = Layer("could not write", Some(Box::new(inner)));
        let outer = Layer("the record was not kept", Some(Box::new(middle)));
        assert_eq!(with_causes(&outer), "the record was not kept: could not write: no space");
        assert_eq!(with_causes(&Layer("alone", None)), "alone");
    }
}
