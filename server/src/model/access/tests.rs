use super::*;

const RESOURCES: [Resource; 9] = [
    Resource::Door,
    Resource::Vm,
    Resource::Metadata,
    Resource::Guest,
    Resource::Host,
    Resource::Image,
    Resource::Token,
    Resource::Audit,
    Resource::Unlisted,
];

fn caller(grants: Grants) -> Caller {
    Caller { actor: "eve".into(), grants, ..crate::model::fixtures::caller() }
}

#[test]
fn a_role_may_all_that_a_lesser_one_may() {
    for resource in RESOURCES {
        for action in [Action::Read, Action::Change] {
            let may = Role::ALL
                .map(|role| authorize(&caller(Grants::Role(role)), action, resource).is_ok());
            assert!(may.is_sorted(), "{action:?} {resource:?}: {may:?}");
            let stranger = authorize(&caller(Grants::Open), action, resource);
            assert_eq!(stranger.is_ok(), resource == Resource::Door, "{action:?} {resource:?}");
        }
    }
}

#[test]
fn a_viewer_changes_nothing_and_sees_no_secret() {
    let viewer = caller(Grants::Role(Role::Viewer));
    for resource in RESOURCES.into_iter().filter(|resource| *resource != Resource::Door) {
        let refused = authorize(&viewer, Action::Change, resource);
        assert!(matches!(refused, Err(Refused::Role { .. })), "{resource:?}: {refused:?}");
    }
    for secret in [Resource::Metadata, Resource::Guest] {
        assert!(authorize(&viewer, Action::Read, secret).is_err(), "{secret:?}");
    }
    assert_eq!(Secrets::for_caller(&viewer), Secrets::Hidden);
    assert_eq!(Secrets::for_caller(&caller(Grants::Open)), Secrets::Hidden);
    assert_eq!(Secrets::for_caller(&caller(Grants::Role(Role::Operator))), Secrets::Shown);
}

#[test]
fn a_refusal_names_who_was_refused_and_the_role_that_would_do() {
    let viewer = caller(Grants::Role(Role::Viewer));
    let refused = authorize(&viewer, Action::Change, Resource::Vm).expect_err("refused");
    assert_eq!(refused.to_string(), "eve is viewer; this needs the role operator");
}
