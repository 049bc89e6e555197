//! The attacker, and the neighbour that talks all the while.
//!
//! Driven by the program in a real guest and by the stand-in's guest. What happened is said in
//! lines that begin with `hostile`, which tests read: an attempt that could not be made is one that
//! failed.

use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::attempts::{Scene, attempts};
use super::frames::{Read, arp, echo, icmp, ip_frame, ipv4, read};
use super::marked;
use super::wire::Wire;

/// How long an answer may take that has to come: hosts are emulated.
const LIMIT: Duration = Duration::from_secs(30);

/// Between two words of the neighbour.
const PACE: Duration = Duration::from_millis(20);

/// The last line of an attack.
pub const DONE: &str = "hostile attack done";

/// Makes every attempt, and after each asks the gateway something as itself. The answer tells that
/// what was sent before is through, and that the guest is still believed as itself.
///
/// # Errors
///
/// The wire's, where something is received; what can't be sent is said of its attempt.
pub fn attack(wire: &dyn Wire, scene: &Scene, say: &mut dyn FnMut(&str)) -> io::Result<()> {
    for (number, attempt) in attempts(scene).into_iter().enumerate() {
        while wire.receive(Duration::ZERO)?.is_some() {}
        let sent = attempt.frames.iter().try_for_each(|frame| wire.send(frame));
        if let Err(why) = sent {
            say(&format!("hostile {number:03} failed: {why}"));
            continue;
        }
        let (own, answers) = as_itself(wire, scene, u16::try_from(number).unwrap_or(0))?;
        let itself = if own { "answered" } else { "cut off" };
        let first = answers.first().map_or(String::new(), |frame| format!(" {}", hex(frame)));
        say(&format!("hostile {number:03} answers {}, itself {itself}{first}", answers.len()));
    }
    say(DONE);
    Ok(())
}

/// Whether the gateway answers, and what else came in the meantime. The host asks everybody by ARP
/// for whom it does not know; that is no answer.
fn as_itself(wire: &dyn Wire, scene: &Scene, number: u16) -> io::Result<(bool, Vec<Vec<u8>>)> {
    const ID: u16 = 0x6861;
    let Scene { own, gateway, .. } = scene;
    let question = echo(own.address, gateway.address, ID, number, b"as itself");
    wire.send(&ip_frame(gateway.mac, own.mac, &question))?;
    let (begun, mut answers) = (Instant::now(), Vec::new());
    while begun.elapsed() < LIMIT {
        let Some(frame) = wire.receive(PACE)? else { continue };
        match read(&frame) {
            Read::Answered(ID, got) if got == number => return Ok((true, answers)),
            Read::Asked(_) => {}
            Read::Pinged(_) | Read::Answered(..) | Read::Other => answers.push(frame),
        }
    }
    Ok((false, answers))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(64).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a guest has a kernel that answers for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// It has.
    Its,
    /// It has none: questions to its address are answered here.
    None,
}

/// Asks the machine outside again and again until it is to end, one question at a time and each
/// once, and notes what comes of anybody else's.
///
/// # Errors
///
/// The wire's.
pub fn talk(
    wire: &dyn Wire,
    scene: &Scene,
    kernel: Kernel,
    ends: &dyn Fn() -> bool,
    say: &mut dyn FnMut(&str),
) -> io::Result<()> {
    const ID: u16 = 0x7461;
    let Scene { own, gateway, outside, .. } = scene;
    let (mut sent, mut lost, mut strangers) = (0_u32, 0_u32, 0_u32);
    let mut marks = BTreeSet::new();
    let mut take = |frame: &[u8]| -> io::Result<Read> {
        marks.extend(marked(frame));
        strangers += u32::from(frame.get(6..12) != Some(&gateway.mac[..]));
        let seen = read(frame);
        if let (Kernel::None, Some(answer)) = (kernel, answer_to(frame, seen, scene)) {
            wire.send(&answer)?;
        }
        Ok(seen)
    };
    while !ends() {
        let number = u16::try_from(sent % 0x1_0000).unwrap_or(0);
        let question = echo(own.address, *outside, ID, number, b"talk");
        wire.send(&ip_frame(gateway.mac, own.mac, &question))?;
        sent += 1;
        let (asked, mut answered) = (Instant::now(), false);
        while !answered && asked.elapsed() < LIMIT {
            if let Some(frame) = wire.receive(PACE)? {
                answered = take(&frame)? == Read::Answered(ID, number);
            }
        }
        lost += u32::from(!answered);
        if sent == 1 {
            say(if answered { "hostile talk begins" } else { "hostile talk is not answered" });
        }
        let rested = Instant::now();
        while rested.elapsed() < PACE {
            if let Some(frame) = wire.receive(PACE)? {
                take(&frame)?;
            }
        }
    }
    let marks: Vec<String> = marks.iter().map(u16::to_string).collect();
    say(&format!(
        "hostile talk ends: sent {sent} lost {lost} strangers {strangers} marks [{}]",
        marks.join(",")
    ));
    Ok(())
}

/// What a kernel would answer.
fn answer_to(frame: &[u8], seen: Read, scene: &Scene) -> Option<Vec<u8>> {
    let own = scene.own;
    let asker: [u8; 6] = frame.get(6..12)?.try_into().ok()?;
    let address = |at: usize| {
        let octets: Option<[u8; 4]> = frame.get(at..at + 4).and_then(|four| four.try_into().ok());
        octets.map(Ipv4Addr::from)
    };
    match seen {
        Read::Asked(wanted) if wanted == own.address => {
            let asked = (asker, address(28)?);
            Some(arp([asker, own.mac], 2, (own.mac, own.address), asked, b""))
        }
        Read::Pinged(wanted) if wanted == own.address => {
            let length = usize::from(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?]));
            let field: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
            let message = icmp([0, 0], field, frame.get(42..14 + length)?);
            let packet = ipv4(1, own.address, address(26)?, &message);
            Some(ip_frame(asker, own.mac, &packet))
        }
        Read::Asked(_) | Read::Pinged(_) | Read::Answered(..) | Read::Other => None,
    }
}
