//! One end of a link: waiting for or beginning a session, and carrying it.
//!
//! Driven by the guest agent ([`serve`]) and by the agent of a host ([`Link::begin`],
//! [`Link::carry`]). What can go wrong: the stream below fails or ends. No function here has a time
//! limit of its own; giving up is dropping the future and then the link.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::pace::{FRAMES, JUNK, Meter, Pace};
use super::stuffing::{End, FLAG, Unstuffer, stuff};
use super::{LONGEST_LINE, Nonce};

/// How much is read at once, and how much of a session may wait on its way through this end.
const PIECE: usize = 64 * 1024;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The other end began another one.
    Anew,
    /// The other end said what no session has in it.
    Broken,
    /// Whoever uses it on this side closed it.
    Here,
    /// The stream has no more, for now or for good.
    Silent,
}

/// One end of a stream.
#[derive(Debug)]
pub struct Link<R, W> {
    reader: R,
    writer: W,
    /// What was read and not taken yet, from `at`.
    piece: Vec<u8>,
    at: usize,
    /// The byte taken last was a flag.
    at_flag: bool,
    /// How fast junk is read, where the other end is not trusted.
    pace: Option<Pace>,
}

/// What comes next of a stream.
enum Next {
    Byte(u8),
    Silent,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Link<R, W> {
    /// Over a stream.
    pub fn new(reader: R, writer: W) -> Self {
        Self { reader, writer, piece: Vec::new(), at: 0, at_flag: false, pace: None }
    }

    /// Bounds what the other end costs: for a host, whose guest may say anything at any speed.
    #[must_use]
    pub fn paced(self) -> Self {
        Self { pace: Some(Pace::new(JUNK)), ..self }
    }

    /// Reads on, if nothing is left. `false`: the stream is silent.
    async fn fill(&mut self) -> io::Result<bool> {
        if self.at < self.piece.len() {
            return Ok(true);
        }
        self.at = 0;
        self.piece.resize(PIECE, 0);
        // Should this be cancelled the piece must not look as if it had been read.
        let mut piece = std::mem::take(&mut self.piece);
        let read = self.reader.read(&mut piece).await?;
        piece.truncate(read);
        self.piece = piece;
        let price = u64::try_from(read).unwrap_or(u64::MAX);
        let pause = self.pace.as_mut().and_then(|pace| pace.after(price, Instant::now()));
        if let Some(pause) = pause {
            tokio::time::sleep(pause).await;
        }
        Ok(read > 0)
    }

    async fn next(&mut self) -> io::Result<Next> {
        if !self.fill().await? {
            return Ok(Next::Silent);
        }
        let byte = self.piece[self.at];
        self.at += 1;
        Ok(Next::Byte(byte))
    }

    /// Reads up to the next line of a session; `None`: the stream is silent before one came.
    async fn line(&mut self) -> io::Result<Option<Nonce>> {
        loop {
            while !self.at_flag {
                match self.next().await? {
                    Next::Byte(byte) => self.at_flag = byte == FLAG,
                    Next::Silent => return Ok(None),
                }
            }
            self.at_flag = false;
            let mut line = Vec::with_capacity(LONGEST_LINE);
            while line.len() < LONGEST_LINE {
                match self.next().await? {
                    Next::Byte(FLAG) => {
                        self.at_flag = true;
                        break;
                    }
                    Next::Byte(b'\n') => match Nonce::of_line(&line) {
                        Some(nonce) => return Ok(Some(nonce)),
                        None => break,
                    },
                    Next::Byte(byte) => line.push(byte),
                    Next::Silent => return Ok(None),
                }
            }
        }
    }

    async fn say(writer: &mut W, nonce: Nonce) -> io::Result<()> {
        let mut words = vec![FLAG];
        words.extend(nonce.line().into_bytes());
        writer.write_all(&words).await?;
        writer.flush().await
    }

    /// For the host: begins a session and waits until the guest has answered. What the guest had
    /// still to say of an older one is dropped.
    ///
    /// # Errors
    /// The stream failed, or has ended ([`io::ErrorKind::UnexpectedEof`]).
    pub async fn begin(&mut self, nonce: Nonce) -> io::Result<()> {
        Self::say(&mut self.writer, nonce).await?;
        loop {
            match self.line().await? {
                Some(answer) if answer == nonce => return Ok(()),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// For the guest: waits until the host begins a session. `false`: the stream is silent.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn wait(&mut self) -> io::Result<bool> {
        match self.line().await? {
            Some(nonce) => Self::say(&mut self.writer, nonce).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Carries a session between the stream and `here` until either end is through with it.
    ///
    /// # Errors
    /// The stream failed.
    pub async fn carry(&mut self, here: DuplexStream) -> io::Result<Ended> {
        let (mut read_half, mut write_half) = tokio::io::split(here);
        let Self { reader, writer, piece, at, at_flag, pace } = self;
        let mut bound = pace.as_ref().map(|_| (Meter::default(), Pace::new(FRAMES)));
        let outward = async {
            let (mut data, mut stuffed) = (vec![0; PIECE], Vec::with_capacity(PIECE + PIECE / 16));
            loop {
                let read = match read_half.read(&mut data).await {
                    Ok(0) | Err(_) => return Ok(Ended::Here),
                    Ok(read) => read,
                };
                stuffed.clear();
                stuff(&data[..read], &mut stuffed);
                writer.write_all(&stuffed).await?;
                writer.flush().await?;
            }
        };
        let inward = async {
            let (mut unstuffer, mut data) = (Unstuffer::default(), Vec::with_capacity(PIECE));
            loop {
                if *at == piece.len() {
                    *at = 0;
                    let mut fresh = std::mem::take(piece);
                    fresh.resize(PIECE, 0);
                    let read = reader.read(&mut fresh).await?;
                    fresh.truncate(read);
                    *piece = fresh;
                    if read == 0 {
                        return Ok(Ended::Silent);
                    }
                }
                data.clear();
                let taken = unstuffer.take(&piece[*at..], &mut data);
                *at += taken.used;
                // Before anything is awaited: the flag is not to be lost with this future.
                *at_flag = taken.ended == End::Flag;
                if write_half.write_all(&data).await.is_err() {
                    return Ok(Ended::Here);
                }
                match taken.ended {
                    End::Piece => {}
                    End::Flag => return Ok(Ended::Anew),
                    End::Broken => return Ok(Ended::Broken),
                }
                let pause = bound
                    .as_mut()
                    .and_then(|(meter, pace)| pace.after(meter.price(&data), Instant::now()));
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        // Whichever is through first ends the session; what the other has half done belongs to it
        // and is dropped by both ends.
        let (outward, inward) = (pin!(outward), pin!(inward));
        tokio::select! {
            ended = outward => ended,
            ended = inward => ended,
        }
    }
}

/// For the guest: takes one session after the other and hands each on, until the stream fails or
/// nobody takes sessions any more. A stream that falls silent is over, unless `patience` says after
/// which time to read on: a virtio-serial port is silent while no host has it open.
///
/// # Errors
/// The stream failed.
pub async fn serve<R, W>(
    mut link: Link<R, W>,
    patience: Option<Duration>,
    sessions: mpsc::Sender<DuplexStream>,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    loop {
        let silent = if link.wait().await? {
            let (ours, theirs) = tokio::io::duplex(PIECE);
            if sessions.send(theirs).await.is_err() {
                return Ok(());
            }
            link.carry(ours).await? == Ended::Silent
        } else {
            true
        };
        match patience {
            Some(patience) if silent => tokio::time::sleep(patience).await,
            None if silent => return Ok(()),
            Some(_) | None => {}
        }
    }
}
