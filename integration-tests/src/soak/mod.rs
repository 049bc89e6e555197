//! Random kills under load, for as long as told, from a seed.
//!
//! A real server and real agents on simulated hosts, as processes, each agent behind a link of its
//! own. VMs are created, stopped, started, paused, rebooted, changed and deleted while server and
//! agents are killed, stopped and frozen and links are cut, held and slowed. The machines of the
//! hosts outlive every kill, as real ones do. Then all is made good, and everything has to be as
//! it was acknowledged, once, with nothing left over; the [`oracle`] says what that means.
//!
//! [`schedule`]: what happens when, pure; [`slot`]: one VM at a time; [`Report`]: what was done.
//! The same seed does the same at the same times; what lies between is the machine's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use banger_proto::v1;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use self::oracle::Canaries;
use self::schedule::{Fault, Part, Schedule, Settings, Strike};
use self::slot::Book;
use crate::fleet::{Fleet, HostOptions};
use crate::machine::Machine;
use crate::proxy::{Link, Proxy};
use crate::specs::create;
use crate::watching::{Follower, list};

pub mod oracle;
pub mod schedule;
pub mod slot;
#[cfg(test)]
mod tests;

/// The agents of a soak speak often and sweep soon, so that a minute holds many lives.
const AGENT_CONFIG: &str = "[limits]\nheartbeat_secs = 1\n\
    [sweep]\ngrace_secs = 1\ninterval_secs = 2\nbudget_per_hour = 4000\n";

/// How long everything may take to be as wanted once nothing fails any more.
const CONVERGENCE: Duration = Duration::from_secs(90);

/// What a soak did and found.
#[derive(Debug, Default)]
pub struct Report {
    /// What does not hold; empty is good.
    pub broken: Vec<String>,
    /// Wishes acknowledged.
    pub acknowledged: u64,
    /// Answers that did not come.
    pub unanswered: u64,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// How often what was acknowledged was compared with what is listed.
    pub comparisons: u64,
    /// How long it took until all was as wanted.
    pub converged_in: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} wishes acknowledged, {} answers lost, {} comparisons, converged in {:.1} s",
            self.acknowledged,
            self.unanswered,
            self.comparisons,
            self.converged_in.as_secs_f64()
        )?;
        for (fault, times) in &self.faults {
            write!(f, "{fault} {times}  ")?;
        }
        for broken in &self.broken {
            write!(f, "\nBROKEN {broken}")?;
        }
        Ok(())
    }
}

struct Soak {
    fleet: tokio::sync::Mutex<Fleet>,
    links: Vec<Proxy>,
    book: Arc<Mutex<Book>>,
    faults: Mutex<BTreeMap<String, u64>>,
    /// Programs that ended though nobody struck them.
    ended: Mutex<Vec<String>>,
    start: Instant,
}

/// Runs a soak and answers what it found.
///
/// # Panics
/// When the fleet does not come up, or a stream breaks its rules.
pub async fn run(settings: Settings) -> Report {
    let schedule = Schedule::of(&settings);
    let (fleet, links, canaries) = fleet(&settings).await;
    let machines = fleet.machines();
    let vms = fleet.vms();
    let soak = Arc::new(Soak::of(fleet, links));
    let over = CancellationToken::new();
    let follower = tokio::spawn(follow(vms.clone(), over.clone()));
    let watch = tokio::spawn(compare(Arc::clone(&soak), machines.clone(), canaries, over.clone()));
    let mut faults = JoinSet::new();
    for (part, strikes) in schedule.parts {
        faults.spawn(Arc::clone(&soak).strike_all(part, strikes));
    }
    let mut slots = JoinSet::new();
    for (n, wishes) in schedule.slots.into_iter().enumerate() {
        slots.spawn(slot::live(n, wishes, soak.start, vms.clone(), Arc::clone(&soak.book)));
    }
    faults.join_all().await;
    slots.join_all().await;
    over.cancel();
    let follower = follower.await.expect("the follower does not panic");
    let (canaries, mut report) = watch.await.expect("the comparison does not panic");
    soak.conclude(&mut report, &canaries, follower, &machines).await;
    let book = soak.book.lock();
    report.broken.extend(book.broken.iter().cloned());
    report.broken.extend(soak.ended.lock().iter().cloned());
    (report.acknowledged, report.unanswered) = (book.acknowledged, book.unanswered);
    report.faults = soak.faults.lock().clone();
    report
}

/// A server, agents behind links, and on each host a VM that nobody touches.
async fn fleet(settings: &Settings) -> (Fleet, Vec<Proxy>, Canaries) {
    let mut fleet = Fleet::without_hosts().await;
    let (mut links, mut canaries) = (Vec::new(), Vec::new());
    for n in 0..settings.hosts {
        let (name, listen) = (format!("host-{n}"), crate::ports::free_addresses::<1>()[0]);
        let link = Proxy::to(listen).await;
        let options = HostOptions {
            listen: Some(listen),
            reached_at: Some(link.address()),
            config: AGENT_CONFIG.to_owned(),
            durable: true,
            ..HostOptions::default()
        };
        fleet.add_host_with(&name, options).await;
        links.push(link);
        let mut request = create(&format!("canary-{n}"));
        let placement = v1::Placement { host: name, ..Default::default() };
        request.spec.get_or_insert_default().placement = Some(placement);
        fleet.create(request).await;
        canaries.push(
            fleet
                .until_vm(&format!("canary-{n}"), "running and settled", |vm| {
                    let status = crate::fleet::status(vm);
                    status.state() == v1::VmState::Running
                        && status.observed_generation == vm.generation
                })
                .await,
        );
    }
    (fleet, links, Canaries::new(canaries))
}

impl Soak {
    fn of(fleet: Fleet, links: Vec<Proxy>) -> Self {
        Self {
            fleet: tokio::sync::Mutex::new(fleet),
            links,
            book: Arc::default(),
            faults: Mutex::default(),
            ended: Mutex::default(),
            start: Instant::now(),
        }
    }

    async fn strike_all(self: Arc<Self>, part: Part, strikes: Vec<Strike>) {
        for strike in strikes {
            tokio::time::sleep_until(self.start + strike.at).await;
            self.look_for_the_ended(&*self.fleet.lock().await);
            let name = format!("{part:?}").split('(').next().unwrap_or_default().to_owned();
            *self.faults.lock().entry(format!("{name}.{:?}", strike.fault)).or_default() += 1;
            match part {
                Part::Server => self.strike_server(strike).await,
                Part::Agent(n) => self.strike_agent(n, strike).await,
                Part::Link(n) => self.strike_link(n, strike).await,
            }
        }
    }

    /// Notes each program that has ended by itself, once: after a strike nothing would tell.
    fn look_for_the_ended(&self, fleet: &Fleet) {
        let mut noted = self.ended.lock();
        for ended in fleet.ended() {
            if !noted.contains(&ended) {
                noted.push(ended);
            }
        }
    }

    async fn strike_server(&self, strike: Strike) {
        if strike.fault == Fault::Freeze {
            self.fleet.lock().await.freeze_server(true);
            tokio::time::sleep(strike.lasts).await;
            self.fleet.lock().await.freeze_server(false);
            return;
        }
        let running = self.fleet.lock().await.take_server();
        end(running, strike.fault).await;
        tokio::time::sleep(strike.lasts).await;
        self.fleet.lock().await.spawn_server();
    }

    async fn strike_agent(&self, n: usize, strike: Strike) {
        if strike.fault == Fault::Freeze {
            self.fleet.lock().await.freeze_agent(n, true);
            tokio::time::sleep(strike.lasts).await;
            self.fleet.lock().await.freeze_agent(n, false);
            return;
        }
        let running = self.fleet.lock().await.take_agent(n);
        end(running, strike.fault).await;
        tokio::time::sleep(strike.lasts).await;
        self.fleet.lock().await.start_agent(n);
    }

    async fn strike_link(&self, n: usize, strike: Strike) {
        let link = &self.links[n];
        match strike.fault {
            Fault::Hold => link.set(Link::Held),
            Fault::HoldAnswers => link.set(Link::AnswersHeld),
            Fault::Slow => link.set(Link::Slow(strike.lasts / 40)),
            Fault::Flap => {
                let until = Instant::now() + strike.lasts;
                while Instant::now() < until {
                    link.set(Link::Cut);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    link.set(Link::Open);
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
            }
            Fault::Cut | Fault::Kill | Fault::Stop | Fault::Freeze => link.set(Link::Cut),
        }
        tokio::time::sleep_until(self.start + strike.at + strike.lasts).await;
        link.set(Link::Open);
    }

    /// All is good again: everything has to become as it was acknowledged, and then go.
    async fn conclude(
        &self,
        report: &mut Report,
        canaries: &Canaries,
        mut follower: Follower,
        machines: &[Machine],
    ) {
        let fleet = self.fleet.lock().await;
        let vms = fleet.vms();
        let quiet = Instant::now();
        let as_wanted = eventually(async || {
            let (table, _) = list(&vms).await.map_err(|error| format!("{error:?}"))?;
            oracle::is_as_wanted(&table, &self.book.lock(), canaries)?;
            Ok(table)
        });
        match as_wanted.await {
            Err(last) => report.broken.push(last),
            Ok(table) => {
                report.converged_in = quiet.elapsed();
                report.broken.extend(canaries.changed(&table));
            }
        }
        // I5: the stream goes on where it was and puts together what the list shows.
        let followed = eventually(async || {
            let text = |error: tonic::Status| format!("{error:?}");
            match follower.resume(&vms).await {
                Ok(mut stream) => {
                    let (table, revision) = list(&vms).await.map_err(text)?;
                    while follower.revision < revision {
                        follower.follow(&mut stream).await.map_err(text)?;
                    }
                    if follower.revision == revision && follower.table != table {
                        let (put_together, listed) = (&follower.table, table);
                        return Err(format!("I5 {put_together:#?} is not {listed:#?}"));
                    }
                    if follower.revision == revision {
                        Ok(())
                    } else {
                        Err("it goes on".to_owned())
                    }
                }
                Err(error) if error.code() == Code::OutOfRange => {
                    follower = Follower::listed(&vms).await.map_err(text)?;
                    Err("listed anew".to_owned())
                }
                Err(error) => Err(text(error)),
            }
        });
        report.broken.extend(followed.await.err());
        report.broken.extend(oracle::one_process_each(machines));
        for vm in list(&vms).await.map(|(table, _)| table).unwrap_or_default().into_keys() {
            let request = v1::DeleteVmRequest { vm, allow_missing: true, ..Default::default() };
            if let Err(error) = vms.clone().delete_vm(request).await {
                report.broken.push(format!("a delete is refused: {error:?}"));
            }
        }
        let bare = eventually(async || {
            let (table, _) = list(&vms).await.map_err(|error| format!("{error:?}"))?;
            if !table.is_empty() {
                return Err(format!("I6 still there: {table:#?}"));
            }
            machines.iter().try_for_each(Machine::is_bare)
        });
        report.broken.extend(bare.await.err());
        self.look_for_the_ended(&fleet);
        report.broken.extend(oracle::panics(fleet.dir()));
    }
}

async fn end(running: crate::programs::Running, fault: Fault) {
    // Waiting for the end of a process blocks.
    let ended = tokio::task::spawn_blocking(move || match fault {
        Fault::Stop => drop(running.stop()),
        _ => running.kill(),
    });
    ended.await.expect("a process that the soak started ends");
}

/// Asks until it is so, or [`CONVERGENCE`] is past.
async fn eventually<T>(mut ask: impl AsyncFnMut() -> Result<T, String>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        let asked = tokio::time::timeout(Duration::from_secs(20), ask()).await;
        match asked.unwrap_or_else(|_| Err("no answer within 20 s".to_owned())) {
            Ok(so) => return Ok(so),
            Err(last) if begun.elapsed() > CONVERGENCE => {
                return Err(format!("not within {CONVERGENCE:?}: {last}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Follows all VMs through everything: resumes where it can, lists again where it must.
async fn follow(
    vms: v1::vm_service_client::VmServiceClient<tonic::transport::Channel>,
    over: CancellationToken,
) -> Follower {
    let mut follower = Follower::default();
    let mut listed = false;
    while !over.is_cancelled() {
        let step = async {
            if !listed {
                follower = Follower::listed(&vms).await?;
                listed = true;
            }
            let mut stream = follower.resume(&vms).await?;
            loop {
                follower.follow(&mut stream).await?;
            }
        };
        // A stream that is dropped loses nothing that the next one does not say.
        let ended: Result<std::convert::Infallible, tonic::Status> = tokio::select! {
            ended = step => ended,
            () = over.cancelled() => break,
        };
        let Err(error) = ended;
        listed &= error.code() != Code::OutOfRange;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if listed { follower } else { Follower::listed(&vms).await.unwrap_or_default() }
}

/// Holds what is shown against what was acknowledged, again and again while faults strike.
async fn compare(
    soak: Arc<Soak>,
    machines: Vec<Machine>,
    canaries: Canaries,
    over: CancellationToken,
) -> (Canaries, Report) {
    let mut report = Report::default();
    let vms = soak.fleet.lock().await.vms();
    while !over.is_cancelled() && report.broken.is_empty() {
        let asked = oracle::acknowledged_is_listed(&vms, &soak.book);
        if let Ok(Ok((table, broken))) = tokio::time::timeout(Duration::from_secs(3), asked).await {
            report.comparisons += 1;
            report.broken.extend(broken);
            report.broken.extend(canaries.changed(&table));
        }
        report.broken.extend(oracle::one_process_each(&machines));
        tokio::select! {
            () = over.cancelled() => {}
            () = tokio::time::sleep(Duration::from_millis(700)) => {}
        }
    }
    (canaries, report)
}
