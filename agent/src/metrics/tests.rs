//! The page as Prometheus gets it.

use super::*;
use http::{Method, StatusCode};

#[test]
fn every_method_of_the_service_has_a_label_of_its_own() {
    let methods = methods();
    assert!(methods.contains("/banger.agent.v1.AgentService/Observe"), "{methods:?}");
    assert!(methods.len() >= 8, "{methods:?}");
}

#[test]
fn a_path_nobody_knows_makes_no_new_series() {
    let metrics = Metrics::new();
    for n in 0..10 {
        metrics.rpc(&format!("/no/such{n}"), "UNIMPLEMENTED");
    }
    let page = metrics.encode(&Reporter::new()).unwrap();
    assert!(page.contains(r#"rpcs_total{method="other",code="UNIMPLEMENTED"} 10"#), "{page}");
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
fn two_paths_are_answered_and_no_other() {
    let (metrics, reports) = (Metrics::new(), Reporter::new());
    let status =
        |method: &Method, path: &str| listener::respond(method, path, &metrics, &reports).status();
    assert_eq!(status(&Method::GET, "/metrics"), StatusCode::OK);
    assert_eq!(status(&Method::GET, "/healthz"), StatusCode::OK);
    assert_eq!(status(&Method::POST, "/metrics"), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(status(&Method::GET, "/"), StatusCode::NOT_FOUND);
}
