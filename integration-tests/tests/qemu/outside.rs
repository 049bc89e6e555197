//! A machine beyond the uplink of a stage: a network namespace on a thread of its own, which
//! watches what comes, and to which a guest may talk.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use banger_testhost::hostile::watch::Watch;

use super::stage::{self, tool};

/// Its address (RFC 5737).
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The port at which it takes a conversation.
pub(crate) const PORT: u16 = 4712;

/// The port at which it takes whoever comes, and lets them go at once.
pub(crate) const DOOR: u16 = 4713;

/// The address of clouds' metadata service, which is its own too: where nobody listens, nobody who
/// is let through would be told from who is not.
pub(crate) const METADATA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);

/// How often it looks for whoever comes to its doors, and whether it is to end.
const TURN: Duration = Duration::from_millis(20);

/// How long the other side has for a word.
const LIMIT: Duration = Duration::from_secs(60);

/// The machine. Gone when dropped.
pub(crate) struct Outside {
    pub(crate) watch: Watch,
    listener: TcpListener,
    /// Its thread lives for as long as this does.
    _ends: Sender<()>,
}

impl Outside {
    /// Makes it and the uplink `up0` to it, in the network of the thread that calls.
    pub(crate) fn new() -> Self {
        let (ends, waits) = channel::<()>();
        let (said, asked) = channel();
        let (go, gone) = channel::<()>();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("root may make a network namespace");
            said.send(Err(nix::unistd::gettid())).expect("it is waited for");
            gone.recv().expect("the cable is laid");
            let address = format!("{ADDRESS}/24");
            let metadata = format!("{}/32", METADATA.ip());
            for address in [address, metadata] {
                tool("ip", &["addr", "add", &address, "dev", "up1"]);
            }
            tool("ip", &["link", "set", "up1", "up"]);
            let watch = Watch::on(&["up1"], |_, _| {}).expect("it is watched");
            let listener = TcpListener::bind((ADDRESS, PORT)).expect("nobody else is there");
            let doors = [SocketAddrV4::new(ADDRESS, DOOR), METADATA].map(|at| {
                let door = TcpListener::bind(at).expect("nobody else is there");
                door.set_nonblocking(true).expect("it is set");
                door
            });
            said.send(Ok((watch, listener))).expect("it is waited for");
            // Another error, once nobody can send any more.
            while waits.recv_timeout(TURN) == Err(RecvTimeoutError::Timeout) {
                doors.iter().for_each(|door| while door.accept().is_ok() {});
            }
        });
        let Ok(Err(thread)) = asked.recv() else { panic!("the machine outside was not made") };
        let thread = thread.to_string();
        let cable = ["link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns"];
        tool("ip", &[&cable[..], &[&thread]].concat());
        stage::uplink();
        go.send(()).expect("it waits");
        let Ok(Ok((watch, listener))) = asked.recv() else { panic!("the machine outside is gone") };
        Self { watch, listener, _ends: ends }
    }

    /// The conversation that somebody begins.
    pub(crate) fn conversation(&self) -> Conversation {
        let (stream, _) = self.listener.accept().expect("somebody comes");
        stream.set_read_timeout(Some(LIMIT)).expect("it is set");
        Conversation { hears: BufReader::new(stream.try_clone().expect("once more")), stream }
    }
}

/// A connection whose other end says again what it is told.
pub(crate) struct Conversation {
    stream: TcpStream,
    hears: BufReader<TcpStream>,
}

impl Conversation {
    /// Says something and hears it again.
    pub(crate) fn goes_on(&mut self, word: &str) {
        writeln!(self.stream, "{word}").expect("it is open");
        let mut heard = String::new();
        self.hears.read_line(&mut heard).expect("it answers in time");
        assert_eq!(heard.trim_end(), word);
    }
}
