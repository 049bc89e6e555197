//! The table, and the recipe that it is.

use std::collections::BTreeSet;

use super::*;

#[test]
fn every_effect_that_makes_a_thing_has_an_opposite_on_the_same_part() {
    for kind in EffectKind::ALL {
        let row = kind.row();
        if let Some(undo) = row.undo {
            assert!(!kind.is_forward() || !undo.is_forward(), "{kind:?}");
            assert_eq!(undo.row().part, row.part, "{kind:?}");
        }
        assert!(row.deadline >= Duration::from_secs(10), "{kind:?}");
    }
    let names: BTreeSet<&str> = EffectKind::ALL.iter().map(|kind| kind.row().name).collect();
    assert_eq!(names.len(), EffectKind::ALL.len());
}

#[test]
fn nothing_is_removed_before_what_stands_on_it() {
    let order: Vec<Part> = removals().map(|(_, part)| part).collect();
    let place = |part: Part| order.iter().position(|other| *other == part).expect("is removed");
    for part in &order {
        for under in part.stands_on() {
            assert!(place(*part) < place(*under), "{part:?} stands on {under:?}");
        }
    }
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), order.len(), "each once");
}

#[test]
fn a_teardown_is_the_recipe_backwards_and_then_the_files() {
    use EffectKind as K;
    let order: Vec<EffectKind> = removals().map(|(effect, _)| effect.kind()).collect();
    assert_eq!(
        order,
        [
            K::StopOutputs,
            K::RemoveJail,
            K::RemoveRules,
            K::UnpinAddress,
            K::RemoveTap,
            K::RemoveSnapshot,
            K::DetachCow,
            K::ReleaseBase,
            K::RemoveCowFile,
            K::RemoveRootCopy,
            K::RemoveWorkDisk,
        ]
    );
}
