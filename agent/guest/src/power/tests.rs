use super::*;

#[test]
fn each_init_is_told_apart_and_asked_in_its_own_way() {
    for (executable, argument, init) in [
        ("/usr/lib/banger/banger-guest", "/sbin/init", Init::Ours),
        ("/usr/lib/systemd/systemd", "/sbin/init", Init::Systemd),
        ("/bin/busybox", "/sbin/init", Init::Busybox),
        ("/bin/busybox", "init", Init::Busybox),
        // A script as init: `#!/bin/sh`.
        ("/bin/busybox", "/bin/sh", Init::Other),
        ("/sbin/openrc-init", "/sbin/init", Init::Other),
    ] {
        assert_eq!(init_of(Path::new(executable), argument), init, "{executable} {argument}");
    }
    assert_eq!(signal_for(Init::Systemd, true), 39);
    assert_eq!(signal_for(Init::Busybox, true), 15);
    assert_eq!(signal_for(Init::Busybox, false), 12);
    assert_eq!(signal_for(Init::Other, true), 2);
}

#[test]
fn a_time_that_is_none_is_refused_before_the_clock_is_touched() {
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
        let time = prost_types::Timestamp { seconds, nanos };
        let refused = set_time(time).expect_err("it is refused");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
}
