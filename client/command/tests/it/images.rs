//! Claims about `banger image`.

use crate::command::{run, run_in};
use crate::guests::start;
use crate::screen::Screen;
use banger_client::v1::VmState;
use banger_fake_server as fake;

#[test]
fn a_file_is_uploaded_and_imported_by_its_digest() {
    let server = fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("alpine.ext4");
    let content: Vec<u8> = (0..700_001_u32).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &content).unwrap();
    let file = path.to_str().unwrap();
    let flags = ["--kind", "root", "--no-guest-agent", "--root-size", "2G", "--replace"];
    let args = [&["image", "import", "alpine", file][..], &flags].concat();
    let ran = run(&server, &args);
    assert_eq!((ran.code, &*ran.err), (0, ""));
    let state = server.state();
    assert_eq!(state.uploads.len(), 1);
    assert_eq!(state.uploads[0].0, "alpine.ext4");
    assert!(state.uploads[0].1 == content);
    // So that a server that has no room for it says so before it is sent.
    assert_eq!(state.announced, [700_001]);
    let image = &state.images["alpine"];
    assert_eq!(image.origin, format!("{:064}", 1));
    assert!(!image.guest_agent);
    assert_eq!(image.notes, ["root 2048 MiB, replace true"]);
    insta::assert_snapshot!("image_import", ran.out);
}

#[test]
fn an_import_says_how_far_how_fast_and_how_long_on_a_terminal_and_nothing_in_a_pipe() {
    let server = fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.ext4");
    std::fs::write(&path, vec![b'x'; 16 << 20]).unwrap();
    let args = ["image", "import", "disk", path.to_str().unwrap()];
    let slow = ["UploadBlob", "ImportImageWithProgress"];
    server.state().slow.extend(slow);
    let mut screen = Screen::start(&server, &args, 100);
    screen.until_line(&["uploading disk.ext4: ", " of 16M, ", "/s, ", "s left"]);
    server.state().slow.remove("UploadBlob");
    screen.until_line(&["the server makes image disk, pulling: ", " of 16M, ", "/s, ", "s left"]);
    server.state().slow.clear();
    let (code, shown) = screen.end();
    assert_eq!(code, Some(0), "{:?}", String::from_utf8_lossy(&shown));
    // As long as that in a pipe, and nothing is said of it.
    server.state().slow.extend(slow);
    let mut child = start(&server, &args);
    drop(child.stdin.take());
    server.until_waited_for(40);
    server.state().slow.remove("UploadBlob");
    server.until_waited_for(40);
    server.state().slow.clear();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

#[test]
fn who_waits_for_vms_reads_how_far_their_image_is_how_fast_it_comes_and_how_long_it_takes() {
    let server = fake::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.ext4");
    std::fs::write(&path, vec![b'x'; 16 << 20]).unwrap();
    let imported = run(&server, &["image", "import", "disk", path.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    server.state().images.get_mut("disk").unwrap().hosts[0].bytes_present = 0;
    server.state().new_state = Some(VmState::Preparing);
    server.state().slow.insert("GetImage");
    let line = ["; image disk: ", " of 16M, ", "/s, ", "s left"];
    let create = ["vm", "create", "--kernel", "k", "--image", "disk", "--wait"];
    let mut screen = Screen::start(&server, &[&create[..], &["web"]].concat(), 100);
    screen.until_line(&[&["web: PREPARING on b0 (simulated) IMAGE_TRANSFER"], &line[..]].concat());
    let arrives = |names: &[&str]| {
        let mut state = server.state();
        for name in names {
            let status = state.vms.get_mut(*name).unwrap().status.as_mut().unwrap();
            status.set_state(VmState::Running);
            status.reason.clear();
        }
    };
    arrives(&["web"]);
    let (code, shown) = screen.end();
    assert_eq!(code, Some(0), "{:?}", String::from_utf8_lossy(&shown));
    // Several wait for the same.
    let mut screen = Screen::start(&server, &[&create[..], &["a", "b"]].concat(), 100);
    screen.until_line(&[&["2 PREPARING"], &line[..]].concat());
    arrives(&["a", "b"]);
    assert_eq!(screen.end().0, Some(0));
    // Nobody looks: nothing is asked, and nothing is said.
    let asked = || server.state().calls.iter().filter(|(call, _)| *call == "GetImage").count();
    let before = asked();
    let ran = run(&server, &[&create[..], &["--timeout", "1s", "c"]].concat());
    assert_eq!((ran.code, asked() - before), (7, 0), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
}

#[test]
fn a_directory_is_uploaded_as_an_archive_and_standard_input_as_it_is() {
    let server = fake::start();
    let home = tempfile::tempdir().unwrap();
    let tree = home.path().join("tree");
    std::fs::create_dir_all(tree.join("sbin")).unwrap();
    std::fs::write(tree.join("sbin/init"), b"#!/bin/sh\n").unwrap();
    let ran = run(&server, &["image", "import", "tree", tree.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let ran = run_in(home.path(), &server.url(), &["image", "import", "in", "-"], "from a pipe");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let state = server.state();
    assert_eq!(state.uploads[0].0, "tree/");
    let mut archive = tar::Archive::new(state.uploads[0].1.as_slice());
    let has_init = archive
        .entries()
        .unwrap()
        .any(|entry| entry.unwrap().path().unwrap().ends_with("sbin/init"));
    assert!(has_init);
    assert_eq!(state.uploads[1], ("standard input".to_owned(), b"from a pipe".to_vec()));
    assert_eq!(state.announced, [0, 0], "neither has a size before its end");
}

#[test]
fn a_registry_or_a_path_of_the_server_needs_no_upload_and_exactly_one_source_is_given() {
    let server = fake::start();
    let registry = ["image", "import", "a", "--registry", "registry.example/a:1"];
    assert_eq!(run(&server, &registry).code, 0);
    let path = ["image", "import", "b", "--server-path", "/srv/images/b"];
    assert_eq!(run(&server, &path).code, 0);
    let both = ["image", "import", "c", "file", "--registry", "registry.example/a:1"];
    assert_eq!(run(&server, &both).code, 2);
    assert_eq!(run(&server, &["image", "import", "c"]).code, 2);
    let state = server.state();
    assert!(state.uploads.is_empty());
    assert_eq!(state.images["a"].origin, "registry.example/a:1");
    assert_eq!(state.images["b"].origin, "/srv/images/b");
}

#[test]
fn a_platform_is_asked_for_as_it_is_written_and_what_is_none_is_refused_here() {
    let server = fake::start();
    let of = |platform| {
        let registry = "registry.example/a:1";
        run(&server, &["image", "import", "a", "--registry", registry, "--platform", platform])
    };
    assert_eq!(of("linux/arm64/v8").code, 0);
    assert_eq!(server.state().images["a"].notes[1], "for linux/arm64");
    for other in ["arm64", "windows/amd64", ""] {
        let ran = of(other);
        assert_eq!(ran.code, 2, "{other}");
        assert!(ran.err.contains("no platform such as linux/amd64"), "{}", ran.err);
    }
}

#[test]
fn what_cannot_be_read_is_said_and_nothing_is_imported() {
    let server = fake::start();
    let ran = run(&server, &["image", "import", "a", "/nowhere/at/all"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("cannot read /nowhere/at/all"), "{}", ran.err);
    let ran = run(&server, &["image", "import", "a", "/dev/null"]);
    assert_eq!(ran.code, 5);
    assert!(server.state().images.is_empty() && server.state().uploads.is_empty());
}

#[test]
fn images_are_listed_and_removed_by_name() {
    let server = fake::start();
    for name in ["b", "a"] {
        run(&server, &["image", "import", name, "--registry", "registry.example/x"]);
    }
    let ran = run(&server, &["image", "ls"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    insta::assert_snapshot!("image_ls", ran.out);
    assert_eq!(run(&server, &["image", "rm", "a"]).code, 2, "nobody confirmed it");
    assert_eq!(run(&server, &["image", "rm", "a", "b", "--yes"]).code, 0);
    assert_eq!(run(&server, &["image", "rm", "a", "--yes"]).code, 3);
    assert_eq!(run(&server, &["-o", "name", "image", "ls"]).out, "");
}

/// A Debian package with these files.
fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        data.append_data(&mut header, path, *bytes).unwrap();
    }
    let data = data.into_inner().unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    for (name, bytes) in
        [("debian-binary", &b"2.0\n"[..]), ("control.tar", b"none"), ("data.tar", &data)]
    {
        let size = bytes.len();
        deb.extend(
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`\n", 0, 0, 0, 100_644).as_bytes(),
        );
        deb.extend(bytes);
    }
    deb
}

/// The smallest static x86-64 program that says it is one.
fn program() -> Vec<u8> {
    let mut elf = vec![0; 64 + 56];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    // An executable for x86-64, with one program header, which is of a part to be loaded.
    let bytes =
        [(16, 2), (18, 62), (20, 1), (32, 64), (52, 64), (54, 56), (56, 1), (64, 1), (68, 5)];
    bytes.into_iter().for_each(|(at, byte)| elf[at] = byte);
    for at in [24, 80, 88] {
        elf[at..at + 8].copy_from_slice(&0x0100_0000_u64.to_le_bytes());
    }
    let length = elf.len() as u64;
    elf[96..104].copy_from_slice(&length.to_le_bytes());
    elf[104..112].copy_from_slice(&length.to_le_bytes());
    elf
}

#[test]
fn a_demo_guest_that_is_made_says_how_far_it_is_on_a_terminal_and_nothing_in_a_pipe() {
    let server = fake::start();
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("packages");
    std::fs::create_dir(&dir).unwrap();
    let kernel = package(&[
        ("boot/vmlinuz-6.1.0", &program()),
        ("lib/modules/6.1.0/modules.builtin", b"kernel/drivers/virtio/virtio_blk.ko\n"),
    ]);
    std::fs::write(dir.join("linux-image-6.1.0_amd64.deb"), kernel).unwrap();
    let busybox = package(&[("bin/busybox", &program())]);
    std::fs::write(dir.join("busybox-static_1_amd64.deb"), busybox).unwrap();
    let dir = dir.to_str().unwrap();
    let ran = run_in(home.path(), &server.url(), &["image", "build-demo", dir], "");
    assert_eq!((ran.code, &*ran.err), (0, ""));
    // script(1) of util-linux gives it a terminal.
    let typed = format!("{} image build-demo {dir}", env!("CARGO_BIN_EXE_banger"));
    let mut script = assert_cmd::Command::new("script");
    script.env("HOME", home.path()).env("BANGER_SERVER", server.url()).env("TERM", "xterm");
    let output = script.args(["-qec", &typed, "/dev/null"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("making the demo guest, "), "{said:?}");
    assert!(said.contains("uploading "), "{said:?}");
}
