use super::*;
use crate::testing::vm_id;

fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[test]
fn streams_are_limited_by_vm_and_room_comes_back() {
    let streams = Streams::default();
    let mut held: Vec<_> =
        (0..MAX_STREAMS_PER_VM).map(|_| streams.admit(vm_id(1)).expect("room")).collect();
    let status = streams.admit(vm_id(1)).expect_err("the VM has no room");
    assert_eq!(reason(&status), "LIMIT_REACHED");
    assert!(status.message().contains("64 open streams to one VM"), "{status}");
    held.pop();
    held.push(streams.admit(vm_id(1)).expect("one has left"));
    held.push(streams.admit(vm_id(2)).expect("of another VM"));
    assert_eq!(streams.open(), MAX_STREAMS_PER_VM + 1);
    drop(held);
    assert_eq!(streams.open(), 0);
    assert!(streams.0.lock().is_empty(), "nothing is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_read_as_grpc_writes_it() {
    let of = |text: &str| {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-timeout", text.parse().expect("a value"));
        deadline(&metadata).map(|at| at.duration_since(Instant::now()))
    };
    assert_eq!(of("5S"), Some(Duration::from_secs(5)));
    assert_eq!(of("250m"), Some(Duration::from_millis(250)));
    assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
    for wrong in ["", "S", "5", "5x", "-1S", "123456789S"] {
        assert_eq!(of(wrong), None, "{wrong:?}");
    }
    assert_eq!(deadline(&MetadataMap::new()), None);
}

#[tokio::test]
async fn an_input_that_breaks_off_does_not_look_like_its_end() {
    let read = |message: u8| match message {
        0 => Ok(None),
        200.. => Err(status::invalid_field("data", "is too large")),
        other => Ok(Some(other)),
    };
    let (whole, faults) = Inputs::of(Some(1), stream::iter([Ok(0), Ok(2)]), read);
    assert_eq!(whole.collect::<Vec<_>>().await, [1, 2]);
    assert!(faults.await.is_err(), "nothing is wrong");

    let (mut broken, faults) = Inputs::of(Some(1), stream::iter([Ok(2), Ok(200), Ok(3)]), read);
    assert_eq!((broken.next().await, broken.next().await), (Some(1), Some(2)));
    let ended = tokio::select! {
        biased;
        item = broken.next() => panic!("{item:?}"),
        fault = faults => fault.expect("it is told"),
    };
    assert_eq!(reason(&ended), "INVALID_FIELDS");
}

#[test]
fn an_input_that_ended_is_no_fault_however_often_one_looks() {
    use futures_util::FutureExt as _;
    let (tell, faults) = oneshot::channel();
    drop(tell);
    let mut faults = Some(faults);
    for _ in 0..3 {
        assert!(fault(&mut faults).now_or_never().is_none());
    }
}

#[tokio::test]
async fn a_guest_that_never_stops_talking_keeps_no_stream_open_and_last_words_go_first() {
    let over = || async { status::deadline_exceeded("it is over") };
    let mut endless: Output<u8> = stream::repeat_with(|| Ok(1)).boxed();
    let mut turns = 0..10_000;
    let ended = loop {
        let turn = turns.next().expect("it ends");
        match next_of(&mut endless, over(), turn).await {
            Next::Item(item) => assert_eq!(item, Ok(1)),
            Next::Over => panic!("it never is"),
            Next::Ended(status) => break status,
        }
    };
    assert_eq!(reason(&ended), reason(&over().await));
    // Those of a program that has ended are fewer.
    let mut last: Output<u8> = stream::iter([Ok(1), Ok(2)]).boxed();
    for (turn, word) in [(0, 1), (1, 2)] {
        let next = next_of(&mut last, over(), turn).await;
        assert!(matches!(next, Next::Item(Ok(said)) if said == word));
    }
    assert!(matches!(next_of(&mut last, over(), 2).await, Next::Over));
}
