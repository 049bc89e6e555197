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

/// How one direction came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// As it should.
    Said,
    /// By something else, which must not look like an end to whoever listens to the port.
    Broken,
}

/// Carries bytes both ways until both have ended, or nobody takes them any more. What the host
/// breaks off is broken off here: reset, where an end would look as if all had come.
pub async fn carry(
    mut connection: TcpStream,
    first: Vec<u8>,
    inputs: impl Stream<Item = Result<ForwardRequest, Status>> + Unpin,
    outputs: mpsc::Sender<Result<ForwardResponse, Status>>,
) {
    match both(&mut connection, first, inputs, &outputs).await {
        Ended::Said => {}
        // A socket that is closed after this says RST, not FIN.
        Ended::Broken => {
            let _ = connection.set_zero_linger();
        }
    }
}

async fn both(
    connection: &mut TcpStream,
    first: Vec<u8>,
    mut inputs: impl Stream<Item = Result<ForwardRequest, Status>> + Unpin,
    outputs: &mpsc::Sender<Result<ForwardResponse, Status>>,
) -> Ended {
    let (mut reader, mut writer) = connection.split();
    let mut inward = std::pin::pin!(async {
        let mut data = first;
        loop {
            if writer.write_all(&data).await.is_err() {
                // Nobody reads there; what comes from there says the rest.
                return Ended::Said;
            }
            match inputs.next().await {
                Some(Ok(message)) => data = message.data,
                Some(Err(why)) => {
                    // Most likely nobody listens any more, and it is not worth waiting for.
                    let _ = outputs.try_send(Err(why));
                    return Ended::Broken;
                }
                None => break,
            }
        }
        let _ = writer.shutdown().await;
        Ended::Said
    });
    let mut outward = std::pin::pin!(async {
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
    });
    let (mut put, mut got) = (false, false);
    while !(put && got) {
        // Cancel-safe: both directions go on where they were, until one is broken off.
        tokio::select! {
            () = outputs.closed() => return Ended::Broken,
            ended = &mut inward, if !put => match ended {
                Ended::Said => put = true,
                Ended::Broken => return Ended::Broken,
            },
            () = &mut outward, if !got => got = true,
        }
    }
    Ended::Said
}

#[cfg(test)]
mod tests;
