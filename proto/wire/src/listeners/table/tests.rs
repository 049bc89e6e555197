//! Lines as kernels on little-endian machines write them, and this machine's own table.

use super::*;

#[cfg(target_endian = "little")]
#[test]
fn lines_of_both_tables_are_read() {
    let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
    assert_eq!(row(head), None);
    let four = "   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000   998        0 12345 1 0000000000000000 100 0 0 10 0";
    let four = row(four).unwrap();
    assert_eq!((four.local, four.uid, four.inode), ("127.0.0.1:7070".parse().unwrap(), 998, 12345));
    assert!(four.listens);
    let six = "   1: 0000000000000000FFFF00000100007F:1B9E 0000000000000000FFFF00000100007F:C350 01 00000000:00000000 02:000AFC80 00000000     0        0 0 2 0000000000000000";
    let six = row(six).unwrap();
    assert_eq!(six.remote, "127.0.0.1:50000".parse().unwrap());
    assert_eq!((six.uid, six.inode, six.listens), (0, 0, false));
    let real = "   2: 00000000000000000000000001000000:1B9E 00000000000000000000000000000000:0000 0A 0:0 0:0 0 7 0 8 1";
    assert_eq!(row(real).unwrap().local, "[::1]:7070".parse().unwrap());
    for broken in
        ["", "0: zz:1B9E", "0: 0100007F:1B9E 00000000:0000", "0: 01:02 03:04 0A 0 0 0 0 0 0"]
    {
        assert_eq!(row(broken), None, "{broken:?}");
    }
}

#[test]
fn whoever_listens_everywhere_listens_here() {
    let row = |local: &str| Row {
        local: local.parse().unwrap(),
        remote: "0.0.0.0:0".parse().unwrap(),
        listens: true,
        uid: 0,
        inode: 1,
    };
    for (local, here) in [
        ("127.0.0.1:7070", true),
        ("0.0.0.0:7070", true),
        ("[::]:7070", true),
        ("127.0.0.2:7070", false),
        ("[::1]:7070", false),
        ("127.0.0.1:7071", false),
    ] {
        assert_eq!(row(local).listens_at("127.0.0.1:7070".parse().unwrap()), here, "{local}");
    }
    assert!(!row("0.0.0.0:7070").listens_at("[::1]:7070".parse().unwrap()));
    let other = Row { listens: false, ..row("127.0.0.1:7070") };
    assert!(!other.listens_at("127.0.0.1:7070".parse().unwrap()));
}
