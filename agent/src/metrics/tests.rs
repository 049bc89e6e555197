//! The page as Prometheus gets it.

use super::*;
use crate::report::phase::Fault;
use http::{Method, StatusCode};

#[test]
fn every_method_of_the_service_has_series_of_its_own() {
    let calls = Metrics::new().calls();
    for method in ["Observe", "Exec", "Sweep"] {
        let path = format!("/banger.agent.v1.AgentService/{method}");
        assert!(calls.knows(&path), "{path}");
    }
}

#[test]
fn effects_and_phases_are_on_the_page() {
    let metrics = Metrics::new();
    metrics.effect("make_tap", true, Duration::from_millis(2));
    metrics.set_epoch(7);
    let page = metrics.encode(&Reporter::new()).unwrap();
    for line in [
        r#"banger_agent_effect_duration_seconds_count{effect="make_tap",result="ok"} 1"#,
        r#"banger_agent_vms{phase="running"} 0"#,
        "banger_agent_epoch 7",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[test]
fn the_level_of_each_root_disk_and_its_alarms_are_on_the_page_while_there_is_the_vm() {
    let (metrics, reports) = (Metrics::new(), Reporter::new());
    let mut report = (*crate::vm::fixtures::report(1, Phase::Running)).clone();
    report.devices.cow_sectors = Some((1536, 2048));
    let fault = Fault::new(Reason::RootDiskNearlyFull, "watch", "it fills up");
    report.fault = Some(fault);
    let vm = report.vm;
    reports.publish(Arc::new(report));
    metrics.set_room(Room { free_bytes: 5, total_bytes: 9 });
    let page = metrics.encode(&reports).unwrap();
    for line in [
        format!(r#"banger_agent_root_disk_used_ratio{{vm="{vm}"}} 0.75"#),
        format!(r#"banger_agent_root_disk_size_bytes{{vm="{vm}"}} 1048576"#),
        r#"banger_agent_root_disk_alarms{reason="ROOT_DISK_NEARLY_FULL"} 1"#.to_owned(),
        r#"banger_agent_root_disk_alarms{reason="ROOT_DISK_LOST"} 0"#.to_owned(),
        "banger_agent_disk_free_bytes 5".to_owned(),
    ] {
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    assert_eq!(page.matches("# EOF").count(), 1, "{page}");
    reports.gone(vm, banger_proto::ids::Version::default());
    let page = metrics.encode(&reports).unwrap();
    assert!(!page.contains(&vm.to_string()), "{page}");
    assert!(page.contains(r#"reason="ROOT_DISK_NEARLY_FULL"} 0"#), "{page}");
}

#[test]
fn two_paths_are_answered_and_no_other() {
    let (metrics, reports) = (Metrics::new(), Reporter::new());
    let status =
        |method: &Method, path: &str| listener::respond(method, path, &metrics, &reports).status();
    assert_eq!(status(&Method::GET, "/metrics"), StatusCode::OK);
    assert_eq!(status(&Method::GET, "/healthz"), StatusCode::OK);
    assert_eq!(status(&Method::POST, "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(status(&Method::GET, "/"), StatusCode::NOT_FOUND);
}

#[test]
fn orphans_and_the_budget_of_the_sweep_are_on_the_page() {
    let metrics = Metrics::new();
    metrics.orphans([("tap", 3), ("dm", 0)].into_iter(), 200, 150);
    metrics.swept("tap", true);
    metrics.swept("dm", false);
    let page = metrics.encode(&Reporter::new()).unwrap();
    for line in [
        r#"banger_agent_orphans{kind="tap"} 3"#,
        r#"banger_agent_orphans{kind="dm"} 0"#,
        r#"banger_agent_orphan_removals_total{kind="tap",result="ok"} 1"#,
        r#"banger_agent_orphan_removals_total{kind="dm",result="error"} 1"#,
        "banger_agent_sweep_budget_per_hour 200",
        "banger_agent_sweep_budget_left 150",
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
}

#[test]
fn refused_packets_only_grow_though_the_kernel_counts_anew_and_each_has_its_reason() {
    let metrics = Metrics::new();
    let counted = |metrics: &Metrics, why: RefusedFor| {
        let text = metrics.encode(&Reporter::new()).unwrap();
        let series = format!("banger_agent_refused_packets_total{{why=\"{}\"}} ", why.as_str());
        let line = text.lines().find_map(|line| line.strip_prefix(&series));
        line.map(|number| number.parse::<u64>().unwrap())
    };
    let of_all = RefusedFor::FragmentsOfAll;
    assert_eq!(counted(&metrics, of_all), None);
    for (seen, total) in [(0, 0), (7, 7), (7, 7), (9, 9), (2, 11), (5, 14)] {
        metrics.refused(&BTreeMap::from([(of_all, seen), (RefusedFor::Icmp, 1)]));
        assert_eq!(counted(&metrics, of_all), Some(total));
    }
    // Without tables nothing is said, and nothing is lost.
    metrics.refused(&BTreeMap::new());
    assert_eq!(
        (counted(&metrics, of_all), counted(&metrics, RefusedFor::Icmp)),
        (Some(14), Some(1))
    );
}
