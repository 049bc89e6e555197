//! The audit as it is written, over the wire.

use banger_proto::v1::audit_service_client::AuditServiceClient;
use tonic::Status;

use super::*;

async fn next(stream: &mut Streaming<v1::WatchAuditResponse>) -> v1::WatchAuditResponse {
    let next = timeout(PATIENCE, stream.message()).await.expect("in time");
    next.expect("it goes on").expect("it goes on")
}

fn names(response: &v1::WatchAuditResponse) -> Vec<String> {
    let object = |record: &v1::AuditRecord| record.object.clone().unwrap_or_default().name;
    response.records.iter().map(object).collect()
}

async fn watch(
    audit: &mut AuditServiceClient<Channel>,
    request: v1::WatchAuditRequest,
) -> Result<Streaming<v1::WatchAuditResponse>, Status> {
    audit.watch_audit(request).await.map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_what_is_told_as_it_is_written_and_a_stream_goes_on_where_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let channel = channel(&server).await;
    let mut vms = VmServiceClient::new(channel.clone());
    let mut audit = AuditServiceClient::new(channel);
    vms.create_vm(create("before")).await.expect("created");
    let from_now_on = v1::WatchAuditRequest::default();
    let mut stream = watch(&mut audit, from_now_on).await.expect("a stream");
    let begun = next(&mut stream).await;
    assert_eq!((names(&begun).len(), begun.up_to_id), (0, 1), "at once, where it begins");
    vms.create_vm(create("one")).await.expect("created");
    let told = next(&mut stream).await;
    assert_eq!((names(&told), told.up_to_id), (vec!["one".to_owned()], 2));
    drop(stream);
    for name in ["two", "three"] {
        vms.create_vm(create(name)).await.expect("created");
    }
    let resume = v1::WatchAuditRequest { after_id: Some(2), ..Default::default() };
    let mut stream = watch(&mut audit, resume).await.expect("a stream");
    assert_eq!(names(&next(&mut stream).await), ["two", "three"]);
    let of_one = v1::WatchAuditRequest {
        object: "three".to_owned(),
        method: "CreateVm".to_owned(),
        after_id: Some(0),
        ..Default::default()
    };
    let mut filtered = watch(&mut audit, of_one).await.expect("a stream");
    let told = next(&mut filtered).await;
    assert_eq!((names(&told), told.up_to_id), (vec!["three".to_owned()], 4));
    let bad = v1::WatchAuditRequest { method: "CreateVms".to_owned(), ..Default::default() };
    let refused = watch(&mut audit, bad).await.expect_err("no method");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let ending = tokio::spawn(async move {
        loop {
            if let Err(end) = stream.message().await {
                return end.code();
            }
        }
    });
    server.shutdown().await;
    let end = timeout(PATIENCE, ending).await.expect("it ends").expect("it runs");
    assert_eq!(end, Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_the_audit_are_few_and_one_that_ends_makes_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = started(&directory).await;
    let mut audit = AuditServiceClient::new(channel(&server).await);
    let mut streams = Vec::new();
    for _ in 0..16 {
        let stream = watch(&mut audit, v1::WatchAuditRequest::default()).await;
        streams.push(stream.expect("there is room"));
    }
    let refused = watch(&mut audit, v1::WatchAuditRequest::default()).await.expect_err("full");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    streams.pop();
    let again = async {
        while watch(&mut audit, v1::WatchAuditRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("there is room again");
    server.shutdown().await;
}
