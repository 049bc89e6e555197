//! A TCP connection to the guest's loopback, for whoever has no route to the guest.
//!
//! Driven by the service. Each end may close its direction first. What can go wrong: nobody
//! listens there.

use banger_proto::guest_v1::{ForwardRequest, ForwardResponse};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use crate::status;

/// How much is sent at once.
const PIECE: usize = 32 * 1024;

/// Connects to a port.
///
/// # Errors
/// INVALID_ARGUMENT, or FAILED_PRECONDITION when nobody listens.
pub async fn connect(port: u32) -> Result<TcpStream, Status> {
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| status::invalid("port is not within 1 to 65535"))?;
    TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|error| status::io(&format!("connect to port {port} of the guest"), &error))
}

/// Carries bytes both ways until both have ended, or nobody takes them any more.
pub async fn carry(
    connection: TcpStream,
    first: Vec<u8>,
    mut inputs: impl Stream<Item = Result<ForwardRequest, Status>> + Unpin,
    outputs: mpsc::Sender<Result<ForwardResponse, Status>>,
) {
    let (mut reader, mut writer) = connection.into_split();
    let inward = async {
        let mut data = first;
        loop {
            if writer.write_all(&data).await.is_err() {
                return;
            }
            match inputs.next().await {
                Some(Ok(message)) => data = message.data,
                Some(Err(_)) => return,
                None => break,
            }
        }
        let _ = writer.shutdown().await;
    };
    let outward = async {
        let mut data = vec![0; PIECE];
        loop {
            match reader.read(&mut data).await {
                Ok(0) => return,
                Ok(read) => {
                    let data = data[..read].to_vec();
                    if outputs.send(Ok(ForwardResponse { data })).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let _ = outputs.send(Err(status::io("read from the port", &error))).await;
                    return;
                }
            }
        }
    };
    // Cancel-safe: whoever listens to the port sees the connection break, as it has.
    tokio::select! {
        () = outputs.closed() => {}
        ((), ()) = async { tokio::join!(inward, outward) } => {}
    }
}
