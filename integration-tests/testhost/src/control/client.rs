//! The driver's side: run a command in the host, or connect to a port of its loopback.
//!
//! Driven by the test host driver. Every call is one connection with a deadline.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{Frame, read_frame, write_frame};

/// Where a host listens, and the token it wants.
#[derive(Debug, Clone)]
pub struct Client {
    /// The forwarded port on this machine.
    pub address: SocketAddr,
    /// Made for this host by the driver and given to it on its kernel command line.
    pub token: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code, or 128 plus the signal's number, as a shell shows it.
    pub code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Client {
    /// Runs one command to its end, with `input` as its standard input.
    ///
    /// # Errors
    ///
    /// `TimedOut` past the limit (the command is then ended), `NotFound` with the host's sentence
    /// where it could not be started, else the connection's error.
    pub fn run(&self, arguments: &[&str], input: &[u8], limit: Duration) -> io::Result<Output> {
        let deadline = Instant::now() + limit;
        let mut stream = self.open(deadline)?;
        let mut line = Vec::new();
        for argument in arguments {
            line.extend_from_slice(argument.as_bytes());
            line.push(0);
        }
        write_frame(&mut stream, Frame::RUN, &line)?;
        // A command that prints much before it reads its input would stall both sides if this
        // side wrote everything first, so the input goes from a thread of its own.
        let mut writer = stream.try_clone()?;
        std::thread::scope(|scope| {
            let feeding = scope.spawn(move || -> io::Result<()> {
                for piece in input.chunks(1 << 16) {
                    write_frame(&mut writer, Frame::INPUT, piece)?;
                }
                write_frame(&mut writer, Frame::INPUT_END, &[])
            });
            let result = collect(&mut stream, deadline);
            // Unblocks the feeding thread where the command ended without reading everything.
            let _ = stream.shutdown(Shutdown::Both);
            // Its error is the command's choice (it closed its input), not ours.
            drop(feeding.join());
            result
        })
    }

    /// Connects to a port of the host's loopback.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` with the host's sentence, else the connection's error.
    pub fn connect(&self, port: u16, limit: Duration) -> io::Result<TcpStream> {
        let mut stream = self.open(Instant::now() + limit)?;
        write_frame(&mut stream, Frame::CONNECT, port.to_string().as_bytes())?;
        match read_frame(&mut stream)? {
            Some(frame) if frame.kind == Frame::READY => {
                stream.set_read_timeout(None)?;
                Ok(stream)
            }
            Some(frame) => Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                String::from_utf8_lossy(&frame.payload).into_owned(),
            )),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn open(&self, deadline: Instant) -> io::Result<TcpStream> {
        let left = left(deadline)?;
        let mut stream = TcpStream::connect_timeout(&self.address, left)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(left))?;
        write_frame(&mut stream, Frame::TOKEN, self.token.as_bytes())?;
        stream.flush()?;
        Ok(stream)
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
        .ok_or_else(|| io::ErrorKind::TimedOut.into())
}

fn collect(stream: &mut TcpStream, deadline: Instant) -> io::Result<Output> {
    let mut output = Output { code: 0, stdout: Vec::new(), stderr: Vec::new() };
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        let frame = match read_frame(stream) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let so_far = String::from_utf8_lossy(&output.stdout).into_owned();
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the command did not end in time; its output so far: {so_far}"),
                ));
            }
            Err(error) => return Err(error),
        };
        match frame.kind {
            Frame::OUTPUT => output.stdout.extend_from_slice(&frame.payload),
            Frame::ERROR => output.stderr.extend_from_slice(&frame.payload),
            Frame::EXIT => {
                output.code = exit_code(&frame.payload)?;
                return Ok(output);
            }
            _ => {
                let sentence = String::from_utf8_lossy(&frame.payload).into_owned();
                return Err(io::Error::new(io::ErrorKind::NotFound, sentence));
            }
        }
    }
}

fn exit_code(payload: &[u8]) -> io::Result<i32> {
    let text = String::from_utf8_lossy(payload);
    let number = |text: &str| text.parse::<i32>().ok();
    text.strip_prefix("code ")
        .and_then(number)
        .or_else(|| text.strip_prefix("signal ").and_then(number).map(|signal| 128 + signal))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text.into_owned()))
}
