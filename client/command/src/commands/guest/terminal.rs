//! This side's terminal: raw while something in a guest has it, its size, its keys and signals.
//!
//! A terminal that is raw is put back on every way out: at the end, by an error, by a panic, and by
//! the signals that end a program, which are turned into an ordinary end here.

use std::io::{IsTerminal as _, Read as _};

use banger_client::guests::MAX_STREAM_DATA_BYTES;
use banger_client::v1::TerminalSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use banger_terminal::failure::Failure;

/// What a terminal is taken for that does not say.
const USUAL: TerminalSize = TerminalSize { rows: 24, columns: 80 };

/// A terminal in raw mode, until this is dropped.
pub(super) struct Raw(Termios);

impl Raw {
    /// Makes standard input raw, where it is a terminal.
    pub(super) fn enter() -> Result<Option<Self>, Failure> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |error: rustix::io::Errno| Failure::io("set up the terminal", error.into());
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw).map_err(failed)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.0);
    }
}

/// How large the terminal is.
pub(super) fn size() -> TerminalSize {
    let sized = tcgetwinsize(std::io::stdout()).or_else(|_| tcgetwinsize(std::io::stdin()));
    match sized {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
            TerminalSize { rows: size.ws_row.into(), columns: size.ws_col.into() }
        }
        Ok(_) | Err(_) => USUAL,
    }
}

/// Where it comes from, and how reading it failed.
pub(super) type Keys = mpsc::Receiver<std::io::Result<Vec<u8>>>;

/// What is typed or piped in, piece by piece; closed at its end, which an error is not. Read on a
/// thread of its own, which nobody waits for.
pub(super) fn keys() -> Keys {
    let (send, keys) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut stdin = std::io::stdin().lock();
        let mut piece = vec![0; MAX_STREAM_DATA_BYTES];
        loop {
            match stdin.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => {
                    if send.blocking_send(Ok(piece[..length].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // Nobody asks any more.
                    let _ = send.blocking_send(Err(error));
                    return;
                }
            }
        }
    });
    keys
}

/// What comes from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// A signal that ends programs, by its number.
    End(u32),
    /// The terminal has another size.
    Resized,
}

/// The signals that are heard while this lives.
pub(super) struct Signals {
    ends: [(Signal, u32); 4],
    resized: Signal,
}

impl Signals {
    pub(super) fn hear() -> Result<Self, Failure> {
        let hear = |kind| signal(kind).map_err(|error| Failure::io("hear signals", error));
        let end = |kind: SignalKind| {
            let number = u32::try_from(kind.as_raw_value()).unwrap_or(0);
            Ok::<_, Failure>((hear(kind)?, number))
        };
        Ok(Self {
            ends: [
                end(SignalKind::interrupt())?,
                end(SignalKind::terminate())?,
                end(SignalKind::hangup())?,
                end(SignalKind::quit())?,
            ],
            resized: hear(SignalKind::window_change())?,
        })
    }

    /// The next. Cancel-safe: a signal that is not handed out is kept.
    pub(super) async fn next(&mut self) -> Told {
        let [(int, a), (term, b), (hup, c), (quit, d)] = &mut self.ends;
        tokio::select! {
            Some(()) = int.recv() => Told::End(*a),
            Some(()) = term.recv() => Told::End(*b),
            Some(()) = hup.recv() => Told::End(*c),
            Some(()) = quit.recv() => Told::End(*d),
            Some(()) = self.resized.recv() => Told::Resized,
            else => std::future::pending().await,
        }
    }
}
