//! The seam to what runs in the guests: a stream of bytes to the guest agent of each.
//!
//! Driven by [`crate::guests`], which knows what to say. What can go wrong: the guest agent is not
//! there, not there yet, or not any more; nothing that comes out of the stream is believed.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{HostResult, JailId};

/// A stream of bytes.
pub trait GuestIo: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> GuestIo for T {}

/// A stream to a guest agent.
pub struct GuestStream {
    /// The bytes, as `banger_wire::guest_link` has them.
    pub io: Box<dyn GuestIo>,
    /// By what they go, for showing: "vsock" or "virtio-serial".
    pub transport: &'static str,
}

/// The guests of the VMMs in the jails.
#[async_trait]
pub trait Guests: Send + Sync {
    /// Opens a stream to the guest agent. That it is open does not mean that anybody listens.
    ///
    /// # Errors
    /// [`NotFound`](super::HostErrorKind::NotFound) when the VMM does not listen, or nobody in the
    /// guest does.
    async fn connect(&self, id: &JailId) -> HostResult<GuestStream>;
}
