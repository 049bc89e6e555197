use super::*;

#[test]
fn a_mistyped_name_has_the_nearest_first_and_a_strange_one_nothing() {
    let names: Vec<String> =
        ["web", "web-1", "worker", "db", "Database"].map(str::to_owned).to_vec();
    assert_eq!(near("wbe", &names), ["web"]);
    assert_eq!(near("web-", &names)[..2], ["web", "web-1"]);
    assert_eq!(near("wrker", &names), ["worker"]);
    assert_eq!(near("database", &names), ["Database"]);
    assert_eq!(near("work", &names), ["worker"]);
    assert!(near("zzz", &names).is_empty());
    assert!(near("", &names).is_empty());
    assert!(near("web", &[]).is_empty());
}
