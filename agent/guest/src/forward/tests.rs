//! What whoever listens to a port of the guest sees of how a forward ends.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::*;

type Inputs = mpsc::Sender<Result<ForwardRequest, Status>>;
type Outputs = mpsc::Receiver<Result<ForwardResponse, Status>>;

/// A connection that is carried, and the program behind the port.
async fn carried(first: &[u8]) -> (TcpStream, Inputs, Outputs) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("it has one").port();
    let connection = connect(port.into()).await.expect("somebody listens");
    let (program, _) = listener.accept().await.expect("it is connected to");
    let ((inputs, messages), (said, outputs)) = (mpsc::channel(4), mpsc::channel(4));
    tokio::spawn(carry(connection, first.to_vec(), ReceiverStream::new(messages), said));
    (program, inputs, outputs)
}

fn data(data: &[u8]) -> Result<ForwardRequest, Status> {
    Ok(ForwardRequest { port: 0, data: data.to_vec() })
}

/// All that a program reads, or how its reading failed.
async fn all(program: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let reading = timeout(Duration::from_secs(60), program.read_to_end(&mut read)).await;
    reading.expect("it comes to an end").map(|_| read)
}

#[tokio::test]
async fn an_input_that_ended_is_an_end_and_the_other_way_goes_on() {
    let (mut program, inputs, mut outputs) = carried(b"on").await;
    inputs.send(data(b"e")).await.expect("it is read");
    drop(inputs);
    assert_eq!(all(&mut program).await.expect("it ends"), b"one");
    program.write_all(b"answer").await.expect("it is read");
    drop(program);
    let answer = outputs.recv().await.expect("it comes").expect("it is data");
    assert_eq!(answer.data, b"answer");
    assert!(outputs.recv().await.is_none(), "it ended as it should");
}

#[tokio::test]
async fn an_input_that_is_broken_off_is_no_end_for_whoever_listens() {
    let (mut program, inputs, mut outputs) = carried(b"half").await;
    let mut half = [0; 4];
    program.read_exact(&mut half).await.expect("it comes");
    inputs.send(Err(status::failed("reset"))).await.expect("it is read");
    let broken = all(&mut program).await.expect_err("half is not all");
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    outputs.recv().await.expect("it is told").expect_err("why");
}

#[tokio::test]
async fn a_call_that_is_let_go_of_is_no_end_for_whoever_listens() {
    let (mut program, inputs, outputs) = carried(b"half").await;
    let mut half = [0; 4];
    program.read_exact(&mut half).await.expect("it comes");
    drop(outputs);
    let broken = all(&mut program).await.expect_err("half is not all");
    assert_eq!(broken.kind(), std::io::ErrorKind::ConnectionReset);
    drop(inputs);
}
