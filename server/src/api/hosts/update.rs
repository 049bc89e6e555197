//! An update of a host's labels, address, overcommit and accepted capacity: which the request
//! names.

use std::collections::BTreeSet;

use crate::model::labels::{self, LabelChange, Labels};
use crate::model::spec::SpecProblem;

/// Most paths of one update.
const MAX_PATHS: usize = 64;

/// What a request names besides labels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NamedFields {
    pub(super) address: bool,
    pub(super) vcpu_overcommit: bool,
    pub(super) memory_overcommit: bool,
    pub(super) accepted: bool,
}

/// What a request with a mask changes: the labels, and which others.
pub(super) fn masked(
    paths: &[String],
    mut given: Labels,
    problems: &mut Vec<SpecProblem>,
) -> (LabelChange, NamedFields) {
    let mut problem = |why: String| problems.push(SpecProblem::new("update_mask", why));
    let (mut whole, mut named) = (false, NamedFields::default());
    let (mut put, mut remove) = (Labels::new(), BTreeSet::new());
    if paths.len() > MAX_PATHS {
        problem(format!("has {} paths; at most {MAX_PATHS} are allowed", paths.len()));
    }
    for path in paths.iter().take(MAX_PATHS) {
        let shown: String = path.chars().take(80).collect();
        match path.as_str() {
            "*" => {
                whole = true;
                named = NamedFields {
                    address: true,
                    vcpu_overcommit: true,
                    memory_overcommit: true,
                    accepted: true,
                };
            }
            "labels" => whole = true,
            "agent_address" => named.address = true,
            "overcommit" => (named.vcpu_overcommit, named.memory_overcommit) = (true, true),
            "overcommit.vcpus" => named.vcpu_overcommit = true,
            "accepted_capacity" => named.accepted = true,
            "overcommit.memory" => named.memory_overcommit = true,
            path => match path.strip_prefix("labels.") {
                None => problem(format!("has {shown:?}, which is no field of a host to change")),
                Some(key) => {
                    let bare = key.strip_prefix('`').and_then(|key| key.strip_suffix('`'));
                    let key = bare.unwrap_or(key);
                    match (labels::check_key(key), given.remove_entry(key)) {
                        (Err(why), _) => {
                            problem(format!("has {shown:?}, which names no label: {why}"));
                        }
                        (Ok(()), Some((key, value))) => {
                            put.insert(key, value);
                        }
                        // NamedFields twice it is given all the same.
                        (Ok(()), None) if put.contains_key(key) => {}
                        (Ok(()), None) => {
                            remove.insert(key.to_owned());
                        }
                    }
                }
            },
        }
    }
    if whole {
        given.append(&mut put);
        return (LabelChange::Whole(given), named);
    }
    (LabelChange::Some { put, remove }, named)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn of(paths: &[&str], given: &[(&str, &str)]) -> (LabelChange, NamedFields, usize) {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let mut problems = Vec::new();
        let (change, named) = masked(&paths, labels(given), &mut problems);
        (change, named, problems.len())
    }

    #[test]
    fn what_a_mask_names_is_changed_and_everything_else_is_kept() {
        let old = labels(&[("rack", "1"), ("gone", "x"), ("kept", "y"), ("example.com/a", "z")]);
        let given = [("rack", "2"), ("ignored", "3")];
        let (change, named, problems) =
            of(&["labels.rack", "labels.rack", "labels.gone", "labels.`example.com/a`"], &given);
        assert_eq!(change.over(&old), labels(&[("rack", "2"), ("kept", "y")]));
        assert_eq!((named, problems), (NamedFields::default(), 0));
        let (change, named, _) = of(&["labels", "labels.rack"], &given);
        assert_eq!((change.over(&old), named), (labels(&given), NamedFields::default()));
        let (change, named, _) = of(&["agent_address"], &given);
        let address = NamedFields { address: true, ..NamedFields::default() };
        assert_eq!((change.over(&old), named), (old.clone(), address));
        let (change, named, _) = of(&["overcommit.memory"], &given);
        let memory = NamedFields { memory_overcommit: true, ..NamedFields::default() };
        assert_eq!((change.over(&old), named), (old, memory));
        let (_, named, _) = of(&["accepted_capacity"], &given);
        assert_eq!(named, NamedFields { accepted: true, ..NamedFields::default() });
        let (_, whole, _) = of(&["overcommit"], &given);
        let (_, parts, _) = of(&["overcommit.memory", "overcommit.vcpus"], &given);
        assert_eq!(whole, parts);
        let (_, _, problems) = of(&["", "name", "labels.", "labels.-", "labels.rack.x"], &given);
        assert_eq!(problems, 4, "a key may have a dot");
        assert_eq!(of(&["labels"; MAX_PATHS + 1], &given).2, 1);
    }
}
