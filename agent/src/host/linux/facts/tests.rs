//! Routes and versions as the tools print them.

use super::*;
use crate::host::exec::recording::RecordingExec;

fn uplink(text: &str) -> Option<String> {
    parse_default_route(text).map(|link| link.to_string())
}

#[test]
fn the_uplink_is_the_device_of_the_default_route() {
    let text = "default via 192.0.2.1 dev enp5s0 proto dhcp src 192.0.2.2 metric 100 \n";
    assert_eq!(uplink(text).as_deref(), Some("enp5s0"));
    assert_eq!(uplink("default dev ppp0 scope link\n").as_deref(), Some("ppp0"));
    assert_eq!(uplink("default via 192.0.2.1 dev eth0.100 onlink\n").as_deref(), Some("eth0.100"));
}

#[test]
fn of_several_default_routes_the_lowest_metric_wins() {
    let text =
        "default via 1.1.1.1 dev wlan0 metric 600\ndefault via 2.2.2.2 dev eth0 metric 100\n";
    assert_eq!(uplink(text).as_deref(), Some("eth0"));
    // No metric is metric 0.
    let text = "default via 1.1.1.1 dev wlan0 metric 600\ndefault via 2.2.2.2 dev eth1\n";
    assert_eq!(uplink(text).as_deref(), Some("eth1"));
}

#[test]
fn a_route_over_several_devices_gives_its_first() {
    let text = "default proto static metric 10 \n\tnexthop via 1.1.1.1 dev eth0 weight 1 \n\tnexthop via 2.2.2.2 dev eth1 weight 1 \n";
    assert_eq!(uplink(text).as_deref(), Some("eth0"));
}

#[test]
fn without_a_default_route_there_is_no_uplink() {
    assert_eq!(uplink(""), None);
    assert_eq!(uplink("192.0.2.0/24 dev eth0 proto kernel scope link\n"), None);
    assert_eq!(uplink("default via 192.0.2.1\n"), None);
    assert_eq!(uplink("default via 192.0.2.1 dev\n"), None);
    assert_eq!(uplink("default via 192.0.2.1 dev -x\n"), None);
    assert_eq!(uplink("unreachable default dev lo metric 4294967295\n"), None);
}

#[tokio::test]
async fn no_default_route_is_an_error_of_its_own_kind() {
    let exec = RecordingExec::answering([(0, "", "")]);
    assert_eq!(observe_uplink(&exec).await.unwrap_err().kind, HostErrorKind::NoUplink);
    insta::assert_snapshot!(exec.transcript(), @"ip -4 route show default");
}

#[test]
fn the_vmm_is_named_by_its_version() {
    let real = "Firecracker v1.16.1\n\nSupported snapshot data format versions: v8.0.0\n";
    assert_eq!(vmm_from_version(real).as_deref(), Some("firecracker 1.16.1"));
    assert_eq!(vmm_from_version("Firecracker stand-in v1\n").as_deref(), Some("stand-in"));
    assert_eq!(vmm_from_version("bash 5\n"), None);
    assert_eq!(vmm_from_version(""), None);
}

#[tokio::test]
async fn capacity_is_what_the_kernel_has_less_the_reserve() {
    let temp = tempfile::tempdir().unwrap();
    let roots = Arc::new(Roots {
        images: super::super::beneath::Root::open(temp.path()).unwrap(),
        scratch: super::super::beneath::Root::open(temp.path()).unwrap(),
    });
    let facts = |memory_mib| {
        let exec = Arc::new(RecordingExec::default());
        let choice = Arc::new(Choice::new(exec.clone(), None, None));
        LinuxFacts::new(exec, roots.clone(), Reserve { memory_mib, disk_mib: 0 }, choice)
    };
    let all = facts(0).capacity().await.unwrap();
    let less = facts(100).capacity().await.unwrap();
    assert!(all.vcpus >= 1 && all.disk_mib > 0);
    assert_eq!(all.memory_mib - less.memory_mib, 100);
    assert_eq!(facts(u64::MAX).capacity().await.unwrap().memory_mib, 0);
    assert_eq!(facts(0).boot_id().await.unwrap().len(), 36);
    assert!(facts(0).boot_time().await.unwrap().unix_seconds > 1_600_000_000);
}

#[test]
fn fuzz_ip_route_gives_a_device_that_it_names_or_none() {
    let seeds: [&[u8]; 3] = [
        b"default via 192.0.2.1 dev enp5s0 proto dhcp src 192.0.2.2 metric 100 \n",
        b"default via 1.1.1.1 dev wlan0 metric 600\ndefault via 2.2.2.2 dev eth0\n",
        b"default proto static metric 10 \n\tnexthop via 1.1.1.1 dev eth0 weight 1 \n",
    ];
    banger_fuzz::fuzz("ip_route", &seeds, |input| {
        let text = String::from_utf8_lossy(input);
        let Some(device) = uplink(&text) else { return };
        assert!(device.len() <= 15 && !device.starts_with('-'), "{device:?}");
        assert!(!device.contains(['/', ' ', '\0', '\n']), "{device:?}");
        let named = text.split_whitespace().any(|word| word == device);
        assert!(named && text.contains("default"), "{device:?} from {text:?}");
    });
}
