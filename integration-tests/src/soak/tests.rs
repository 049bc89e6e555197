use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::wait::until;

#[tokio::test]
async fn a_program_that_ends_though_nobody_struck_it_is_told_before_the_next_strike() {
    let fleet = Fleet::of(1).await;
    let agent = Pid::from_raw(fleet.agent_pid(0).try_into().expect("pids fit"));
    let link = Proxy::to(fleet.agent_addresses(0).0).await;
    let soak = Arc::new(Soak::of(fleet, vec![link]));
    let strike = |part, fault| {
        let strike = Strike { at: Duration::ZERO, fault, lasts: Duration::ZERO };
        Arc::clone(&soak).strike_all(part, vec![strike])
    };
    // Whom a strike ends has not ended by itself.
    strike(Part::Server, Fault::Kill).await;
    strike(Part::Link(0), Fault::Cut).await;
    assert_eq!(*soak.ended.lock(), Vec::<String>::new());
    kill(agent, Signal::SIGTERM).expect("it is ours");
    until("its end is told", || async {
        strike(Part::Link(0), Fault::Cut).await;
        let ended = soak.ended.lock().clone();
        let told =
            |ended: &String| ended.starts_with("host-0 had ended by itself with exit code 0");
        if ended.len() == 1 && ended.iter().all(told) { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await;
    // Once, and it is struck as ever.
    strike(Part::Agent(0), Fault::Kill).await;
    assert_eq!(soak.ended.lock().len(), 1);
}
