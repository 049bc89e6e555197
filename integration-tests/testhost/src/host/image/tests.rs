use super::*;

#[test]
fn the_mirror_is_read_from_both_forms_of_sources() {
    let deb822 = "Types: deb\n# URIs: http://old.example/debian\nURIs: http://mirror.example/debian/\nSuites: bookworm\n";
    assert_eq!(mirror_in(deb822).as_deref(), Some("http://mirror.example/debian"));
    let one_line = "# deb http://old.example/debian bookworm main\n\
                    deb [signed-by=/x.gpg] https://mirror.example/debian bookworm main\n";
    assert_eq!(mirror_in(one_line).as_deref(), Some("https://mirror.example/debian"));
}

#[test]
fn an_archive_of_security_updates_is_no_mirror() {
    let sources = "URIs: http://mirror.example/debian-security\n\
                   URIs: http://mirror.example/debian\n";
    assert_eq!(mirror_in(sources).as_deref(), Some("http://mirror.example/debian"));
    assert_eq!(mirror_in("Types: deb\n"), None);
}

#[test]
fn the_scripts_of_the_image_are_shell() {
    for script in [HOST_INIT, HOST_INITRAMFS, include_str!("../../../guest-init")] {
        assert!(script.starts_with("#!/bin/sh\n"));
        let checked = Tool::new("sh").args(["-n", "-c", script]).run();
        assert!(checked.is_ok(), "{checked:?}");
    }
}
