use super::*;

#[test]
fn what_has_a_colon_before_its_first_slash_is_in_a_guest() {
    let guest = |vm: &str, path: &str| Place::Guest { vm: vm.to_owned(), path: path.to_owned() };
    assert_eq!(place("web:/etc/motd"), guest("web", "/etc/motd"));
    assert_eq!(place("./a:b"), Place::Here("./a:b".into()));
    assert_eq!(place("/a:b"), Place::Here("/a:b".into()));
    assert_eq!(place("plain"), Place::Here("plain".into()));
    assert_eq!(place(":/x"), Place::Here(":/x".into()));
}

#[test]
fn a_path_of_a_guest_is_its_directory_and_a_name_or_none() {
    let split = |path: &str| split(path).ok();
    let some = |directory: &str, name: &str| {
        Some((directory.to_owned(), (!name.is_empty()).then(|| name.to_owned())))
    };
    assert_eq!(split("/etc/motd"), some("/etc", "motd"));
    assert_eq!(split("/motd"), some("/", "motd"));
    assert_eq!(split("/srv/"), some("/srv", ""));
    assert_eq!(split("/"), some("/", ""));
    for wrong in ["etc", "", "~/x", "/etc/..", "/."] {
        assert_eq!(split(wrong), None, "{wrong:?}");
    }
}

#[test]
fn what_follows_the_end_of_an_archive_is_read_up_to_a_bound() {
    read_out(&mut io::repeat(0).take(AFTER_END)).unwrap();
    let mut endless = io::repeat(0).take(4 * AFTER_END);
    let error = read_out(&mut endless).unwrap_err();
    assert!(error.to_string().contains("after the end"), "{error}");
    assert!(endless.limit() > 2 * AFTER_END, "it was read on");
}
