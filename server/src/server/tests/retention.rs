//! What an operator wants kept is kept so long, and no longer.

use jiff::SignedDuration;

use super::*;
use crate::clock::{Clock as _, ManualClock};

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_deleted_vm_is_kept_as_long_as_the_configuration_says() {
    let directory = tempfile::tempdir().expect("a directory");
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let mut config = config(&directory);
    // A day by itself.
    config.retention.deleted_history_hours = 2;
    let server = Server::start_with(config, clock.clone(), None).await.expect("it starts");
    let mut vms = VmServiceClient::new(channel(&server).await);
    let id = vms.create_vm(create("web")).await.expect("it is stored").into_inner().id;
    let delete = v1::DeleteVmRequest { vm: "web".to_owned(), ..Default::default() };
    vms.delete_vm(delete).await.expect("it is stored");
    let asked = || v1::ListVmEventsRequest { vm: id.clone(), ..Default::default() };
    clock.advance(SignedDuration::from_mins(119));
    let kept = vms.list_vm_events(asked()).await.expect("it is kept").into_inner().events;
    assert!(kept.iter().any(|event| event.r#type == "CREATED"), "{kept:?}");
    clock.advance(SignedDuration::from_mins(2));
    let gone = async {
        loop {
            match vms.list_vm_events(asked()).await {
                Ok(answer) if !answer.get_ref().events.is_empty() => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                answer => return answer,
            }
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(60), gone).await;
    let answer = answer.expect("it goes within two hours and a little");
    let gone = answer.map_or_else(|status| status.code() == Code::NotFound, |_| true);
    assert!(gone);
    server.shutdown().await;
}
