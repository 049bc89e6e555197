use super::*;

fn users() -> (tempfile::TempDir, Users) {
    let etc = tempfile::tempdir().expect("a directory can be made");
    let passwd = "root:x:0:0:root:/root:/bin/bash\nweb:x:1001:1002:,,,:/srv:\nbroken:x\n\
                  7:x:1007:7::/:/bin/sh\n";
    std::fs::write(etc.path().join("passwd"), passwd).expect("it can be written");
    let group = "root:x:0:\ndisk:x:6:web,root\nweb:x:1002:\nlogs:x:9:other,web\n";
    std::fs::write(etc.path().join("group"), group).expect("it can be written");
    let users = Users::of(etc.path().to_owned());
    (etc, users)
}

#[test]
fn a_user_is_found_by_name_and_by_number_with_its_groups() {
    let (_etc, users) = users();
    let web = users.find("web").expect("it is there");
    assert_eq!((web.uid, web.gid, &web.groups[..]), (1001, 1002, &[6, 9][..]));
    assert_eq!(
        (web.home.as_path(), web.shell.as_path()),
        (Path::new("/srv"), Path::new("/bin/sh"))
    );
    assert_eq!(users.find("1001").expect("it is there"), web);
    assert_eq!(users.find("").expect("root is there").shell, Path::new("/bin/bash"));
    assert_eq!(users.find("7").expect("it is there").uid, 1007);
}

#[test]
fn who_is_not_in_the_file_is_not_found_but_for_root() {
    let (_etc, users) = users();
    for nobody in ["broken", "1234", "roo", "web:web"] {
        assert_eq!(users.find(nobody).expect_err(nobody).code(), tonic::Code::NotFound);
    }
    let none = Users::of(PathBuf::from("/nonexistent"));
    assert_eq!(none.find("").expect("root needs no file").uid, 0);
    assert_eq!(none.find("0").expect("root needs no file").uid, 0);
    none.find("web").expect_err("it is not there");
}

#[test]
fn an_image_may_name_a_number_and_a_group_that_nobody_has() {
    let (_etc, users) = users();
    let ids = |wanted: &str| users.find_for_image(wanted).map(|user| (user.uid, user.gid)).ok();
    assert_eq!(ids("web"), Some((1001, 1002)));
    assert_eq!(ids("web:disk"), Some((1001, 6)));
    assert_eq!(ids("4000:4001"), Some((4000, 4001)));
    assert_eq!(ids("4000"), Some((4000, 0)));
    assert_eq!(ids(""), Some((0, 0)));
    assert_eq!((ids("nobody"), ids("web:none")), (None, None));
}
