use super::*;

#[test]
fn a_port_is_found_with_udev_and_without() {
    let root = tempfile::tempdir().expect("a directory can be made");
    let make = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        std::fs::write(path, text).expect("it can be written");
    };
    assert_eq!(find_port(root.path(), "a.0"), None);
    make("sys/class/virtio-ports/vport0p1/name", "other\n");
    make("sys/class/virtio-ports/vport0p2/name", "a.0\n");
    assert_eq!(find_port(root.path(), "a.0"), None, "there is no device yet");
    make("dev/vport0p2", "");
    assert_eq!(find_port(root.path(), "a.0"), Some(root.path().join("dev/vport0p2")));
    make("dev/virtio-ports/a.0", "");
    assert_eq!(find_port(root.path(), "a.0"), Some(root.path().join("dev/virtio-ports/a.0")));
}
