//! From the start of a service to the signal that ends it.

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and SIGINT, heard from the moment this is made: make it before a long start, so that a
/// signal during it is not lost.
#[derive(Debug)]
pub struct Termination {
    terminate: Signal,
    interrupt: Signal,
}

impl Termination {
    /// Starts to listen; the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Ends with the first of the two. Cancel-safe: the system keeps them until they are taken.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// SIGHUP: somebody asks the service to read its files again.
#[derive(Debug)]
pub struct Reloads(Signal);

impl Reloads {
    /// Starts to listen; the signal no longer ends the process by itself.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Ends when it was asked for. Cancel-safe, as [`Termination::wait`].
    pub async fn asked(&mut self) {
        if self.0.recv().await.is_none() {
            // The runtime ends: nobody asks any more.
            std::future::pending().await
        }
    }
}

/// Tells the service manager that the service works.
pub fn ready() {
    notify(NotifyState::Ready);
}

/// Tells the service manager that the service goes.
pub fn stopping() {
    notify(NotifyState::Stopping);
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %error, "the service manager could not be told");
    }
}
