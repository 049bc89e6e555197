//! What is on the page.

use super::*;

#[test]
fn the_calls_of_the_api_have_series_of_their_own() {
    let calls = Metrics::new().calls();
    for path in [
        "/banger.v1.VmService/CreateVm",
        "/banger.v1.VmService/WatchVms",
        "/banger.v1.HostService/JoinHost",
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        assert!(calls.knows(path), "{path}");
    }
}
