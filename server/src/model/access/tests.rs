use super::*;

const RESOURCES: [Resource; 12] = [
    Resource::Door,
    Resource::Vm,
    Resource::Metadata,
    Resource::Guest,
    Resource::Host,
    Resource::Image,
    Resource::PublicImage,
    Resource::ImportSource,
    Resource::Token,
    Resource::Project,
    Resource::Audit,
    Resource::Unlisted,
];

fn caller(grants: Grants) -> Caller {
    Caller { actor: "eve".into(), grants, ..crate::model::fixtures::caller() }
}

fn shop() -> ProjectName {
    ProjectName::parse("shop").expect("a label")
}

fn of_shop(role: ProjectRole) -> Caller {
    caller(Grants::To(Rights::Project(shop(), role)))
}

fn may(caller: &Caller, action: Action, resource: Resource) -> Result<(), Refused> {
    authorize(caller, action, resource, Of::Any)
}

#[test]
fn a_role_may_all_that_a_lesser_one_may() {
    for resource in RESOURCES {
        for action in [Action::Read, Action::Change] {
            let of_fleet =
                Role::ALL.map(|role| may(&caller(Grants::fleet(role)), action, resource).is_ok());
            assert!(of_fleet.is_sorted(), "{action:?} {resource:?}: {of_fleet:?}");
            let of_project =
                ProjectRole::ALL.map(|role| may(&of_shop(role), action, resource).is_ok());
            assert!(of_project.is_sorted(), "{action:?} {resource:?}: {of_project:?}");
            let stranger = may(&caller(Grants::Open), action, resource);
            assert_eq!(stranger.is_ok(), resource == Resource::Door, "{action:?} {resource:?}");
        }
    }
}

#[test]
fn a_viewer_changes_nothing_and_sees_no_secret() {
    for viewer in [caller(Grants::fleet(Role::Viewer)), of_shop(ProjectRole::Viewer)] {
        for resource in RESOURCES.into_iter().filter(|resource| *resource != Resource::Door) {
            let refused = may(&viewer, Action::Change, resource);
            assert!(matches!(refused, Err(Refused::Role { .. })), "{resource:?}: {refused:?}");
        }
        for secret in [Resource::Metadata, Resource::Guest] {
            assert!(may(&viewer, Action::Read, secret).is_err(), "{secret:?}");
        }
        assert_eq!(Secrets::for_caller(&viewer), Secrets::Hidden);
    }
    assert_eq!(Secrets::for_caller(&caller(Grants::Open)), Secrets::Hidden);
    for operator in [caller(Grants::fleet(Role::Operator)), of_shop(ProjectRole::Developer)] {
        assert_eq!(Secrets::for_caller(&operator), Secrets::Shown);
    }
}

/// Whatever the role and the kind, what is another project's is not there, also where the role
/// would not do for what is one's own: the two refusals would tell that it exists.
#[test]
fn nothing_of_another_project_is_there() {
    let lab = ProjectName::parse("lab").expect("a label");
    for role in ProjectRole::ALL {
        let caller = of_shop(role);
        for other in [&lab, &ProjectName::default()] {
            assert!(!caller.sees(other));
            for resource in RESOURCES.into_iter().filter(|resource| *resource != Resource::Door) {
                for action in [Action::Read, Action::Change] {
                    let refused = authorize(&caller, action, resource, Of::Project(other));
                    assert_eq!(refused, Err(Refused::NotThere), "{role} {action:?} {resource:?}");
                }
            }
        }
        assert!(caller.sees(&shop()) && caller.home() == shop());
        assert!(!caller.sees_hosts());
    }
    let fleet = caller(Grants::fleet(Role::Viewer));
    assert!(fleet.sees(&lab) && fleet.sees_hosts() && fleet.home().is_default());
    assert!(!caller(Grants::Open).sees(&ProjectName::default()), "a stranger sees nothing");
}

#[test]
fn a_refusal_names_who_was_refused_and_the_role_that_would_do() {
    let viewer = caller(Grants::fleet(Role::Viewer));
    let refused = may(&viewer, Action::Change, Resource::Vm).expect_err("refused");
    assert_eq!(refused.to_string(), "eve is viewer; this needs the role operator");
    let viewer = of_shop(ProjectRole::Viewer);
    let refused = may(&viewer, Action::Change, Resource::Vm).expect_err("refused");
    let words = "eve is viewer of project shop; this needs the role developer";
    assert_eq!(refused.to_string(), words);
    let refused = may(&viewer, Action::Read, Resource::Host).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "eve is viewer of project shop; this needs the role viewer of the whole fleet"
    );
}

#[test]
fn all_of_a_project_are_one_party_and_each_of_the_fleet_is_one() {
    let named = |actor: &str, caller: &Caller| Caller { actor: actor.into(), ..caller.clone() };
    let of_shop = of_shop(ProjectRole::Developer);
    let (ann, bob) = (named("shop/ann", &of_shop), named("shop/bob", &of_shop));
    assert_eq!(ann.party(), bob.party());
    // Nobody of the fleet is called so: their names have no slash.
    let operator = caller(Grants::fleet(Role::Operator));
    let (shop, ci) = (named("shop", &operator), named("ci", &operator));
    assert_eq!((shop.party(), ci.party()), ("shop".to_owned(), "ci".to_owned()));
    assert_eq!(ann.party(), "shop/");
}

#[test]
fn who_may_take_back_tokens_is_on_no_account_that_others_can_fill() {
    let accounts = [ProjectRole::Viewer, ProjectRole::Developer, ProjectRole::Admin]
        .map(|role| of_shop(role).account());
    assert_eq!(accounts, ["shop/", "shop/", "shop/ admins"]);
    let of_fleet = |role| Caller { actor: "ops".into(), ..caller(Grants::fleet(role)) }.account();
    assert_eq!([of_fleet(Role::Operator), of_fleet(Role::Admin)], ["ops", "ops admins"]);
}
