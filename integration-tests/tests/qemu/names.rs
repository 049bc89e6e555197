//! A name server beyond the uplink: a network of its own behind a pair of veth, where one name is
//! known.
//!
//! Driven by tests of what guests reach by NAT. It is at the first of the [`DNS`] addresses that
//! guests are told, and goes with the test's network.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::Receiver;

use super::stage::{DNS, tool};

/// The name that it knows, and what for.
pub(crate) const NAME: &str = "known.test";
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// The name server.
pub(crate) struct NameServer {
    asked: Receiver<SocketAddr>,
}

impl NameServer {
    /// Puts a network with it in the place of the uplink that leads nowhere.
    pub(crate) fn beyond_the_uplink() -> Self {
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (linked, is_linked) = std::sync::mpsc::channel::<()>();
        let (heard, asked) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may");
            ready.send(nix::unistd::gettid()).expect("somebody waits");
            is_linked.recv().expect("somebody makes the link");
            for words in [
                "addr add 192.0.2.1/24 dev up1",
                &format!("addr add {}/24 dev up1", DNS[0]),
                "link set up1 up",
            ] {
                ip(words);
            }
            let socket = UdpSocket::bind((DNS[0], 53)).expect("it is our address");
            ready.send(nix::unistd::gettid()).expect("somebody waits");
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let answered = answer(&query[..length])
                    .is_none_or(|answer| socket.send_to(&answer, from).is_ok());
                if !answered || heard.send(from).is_err() {
                    return;
                }
            }
        });
        let thread = is_ready.recv().expect("it makes a network");
        ip("link delete up0");
        ip(&format!("link add up0 type veth peer name up1 netns {thread}"));
        for words in [
            "addr add 192.0.2.2/24 dev up0",
            "link set up0 up",
            "route add default via 192.0.2.1 dev up0",
        ] {
            ip(words);
        }
        linked.send(()).expect("it waits");
        is_ready.recv().expect("it serves");
        Self { asked }
    }

    /// Who has asked since somebody last wanted to know.
    pub(crate) fn asked(&self) -> Vec<SocketAddr> {
        self.asked.try_iter().collect()
    }
}

fn ip(words: &str) {
    tool("ip", &words.split(' ').collect::<Vec<_>>());
}

/// The answer to a query (RFC 1035): [`ADDRESS`] for [`NAME`], for every other no such name; of
/// other types there is nothing. `None` where it is no query.
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let (header, question) = query.split_at_checked(12)?;
    let end = question.iter().position(|byte| *byte == 0)? + 5;
    let question = question.get(..end)?;
    let name: Vec<u8> = NAME
        .split('.')
        .flat_map(|label| [&[u8::try_from(label.len()).unwrap_or(0)], label.as_bytes()].concat())
        .collect();
    let known = question.starts_with(&name) && question[name.len()] == 0;
    let is_address = question[end - 4..] == [0, 1, 0, 1];
    let mut answer = header[..2].to_vec();
    // An answer, recursion is there; no such name.
    answer.extend([0x81, if known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(known && is_address), 0, 0, 0, 0]);
    answer.extend(question);
    if known && is_address {
        // The name of the question, an address of the Internet, for a minute, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(ADDRESS.octets());
    }
    Some(answer)
}
