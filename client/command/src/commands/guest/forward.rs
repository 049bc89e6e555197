//! `banger vm forward`: a port of a guest, here or on standard input and output.

use std::net::Ipv4Addr;

use banger_client::guests::MAX_STREAM_DATA_BYTES;
use banger_client::v1::{ForwardVmRequest, VmState};
use banger_client::{ClientError, Vms};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::terminal::{Keys, keys};
use crate::args::guest::ForwardArgs;
use crate::session::Session;
use banger_terminal::failure::Failure;
use banger_terminal::text::{clean, standing};

/// A connection that came to an end that it did not say itself.
#[derive(Debug, thiserror::Error)]
enum ForwardEnd {
    #[error(transparent)]
    Call(#[from] ClientError),
    #[error("the connection on this side broke")]
    Here(#[from] std::io::Error),
}

pub(in super::super) async fn forward(session: &Session, args: ForwardArgs) -> Result<(), Failure> {
    let (local, port) = args.ports;
    let vms = session.client.vms();
    if args.stdio {
        return match join(&vms, &args.vm, port, keys(), tokio::io::stdout()).await {
            Ok(()) => Ok(()),
            Err(ForwardEnd::Call(error)) => Err(error.into()),
            Err(ForwardEnd::Here(error)) => Err(error.into()),
        };
    }
    // Known now, not at the first connection.
    let vm = vms.get(&args.vm).await?;
    let state = vm.status.as_ref().map_or(VmState::Unspecified, |status| status.state());
    if matches!(state, VmState::Paused | VmState::Stopped | VmState::Crashed | VmState::Failed) {
        let text = format!("{}; a port of a guest is reached while it runs", standing(&vm));
        return Err(Failure::Conflict(text));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, local)).await;
    let listener = listener.map_err(|error| Failure::io("listen here", error))?;
    let at = listener.local_addr().map_err(|error| Failure::io("listen here", error))?;
    let name = clean(&vm.name);
    session.printer.note(&format!("Forwarding {at} to port {port} of {name}; Ctrl-C ends it."));
    loop {
        let (mut stream, from) =
            listener.accept().await.map_err(|error| Failure::io("accept", error))?;
        let (vms, id, printer) = (vms.clone(), vm.id.clone(), session.printer);
        tokio::spawn(async move {
            let (read, write) = stream.split();
            if let Err(error) = join(&vms, &id, port, Socket(read), write).await {
                // Closed after this it says RST: half of what comes must not look like all of it.
                let _ = stream.set_zero_linger();
                printer.note(&format!("{from}: {error}"));
            }
        });
    }
}

/// Where bytes come from.
trait Source {
    /// The next; empty at the end.
    async fn next(&mut self) -> std::io::Result<Vec<u8>>;
}

impl Source for Keys {
    async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        Ok(self.recv().await.transpose()?.unwrap_or_default())
    }
}

struct Socket<R>(R);

impl<R: AsyncRead + Unpin> Source for Socket<R> {
    async fn next(&mut self) -> std::io::Result<Vec<u8>> {
        let mut piece = vec![0; MAX_STREAM_DATA_BYTES];
        let length = self.0.read(&mut piece).await?;
        piece.truncate(length);
        Ok(piece)
    }
}

/// One connection: each direction ends by itself, the whole with the second.
async fn join(
    vms: &Vms,
    vm: &str,
    port: u16,
    mut from: impl Source,
    mut to: impl AsyncWrite + Unpin,
) -> Result<(), ForwardEnd> {
    let (input, output) = vms.forward(vm, port).await?;
    // Dropping the input is its end, dropping the output breaks the call off. So the input goes
    // first only where it has ended.
    let (mut input, mut output) = (Some(input), output);
    let there = async {
        while let Some(open) = &input {
            let data = from.next().await?;
            let message = ForwardVmRequest { data, ..ForwardVmRequest::default() };
            if message.data.is_empty() {
                input = None;
            } else if !open.send(message).await {
                break;
            }
        }
        Ok::<_, ForwardEnd>(())
    };
    let back = async {
        while let Some(message) = output.next().await? {
            to.write_all(&message.data).await?;
            to.flush().await?;
        }
        to.shutdown().await?;
        Ok::<_, ForwardEnd>(())
    };
    tokio::pin!(there, back);
    // Cancel-safe: neither is dropped before it is done, but for the way there when the guest has
    // closed its side: nobody reads any more then.
    tokio::select! {
        done = &mut back => done,
        done = &mut there => match done {
            Ok(()) => back.await,
            Err(error) => Err(error),
        },
    }
}
