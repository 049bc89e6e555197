//! Starts and stops server and agents, and talks to their API.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_client::hosts::HostUpdate;
use banger_client::v1::{CreateJoinTokenRequest, DeleteHostRequest, Host, HostState};
use banger_client::{Client, Endpoint};
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::layout::Layout;
use super::ports;
use super::process::{self, Identity, Stopped};
use super::record::{Record, Service};
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;

/// How long server and agents may take to be there.
const START: Duration = Duration::from_secs(60);
/// How long each may take to end by itself.
const STOP: Duration = Duration::from_secs(20);

/// The programs.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) server: PathBuf,
    pub(super) agent: PathBuf,
}

impl Programs {
    pub(super) fn find() -> Result<Self, Failure> {
        Ok(Self { server: process::find("banger-server")?, agent: process::find("banger-agent")? })
    }
}

/// Starts everything of the record that does not live. Names what was started.
pub(super) async fn start_missing(
    layout: &Layout,
    record: &mut Record,
    programs: &Programs,
    progress: &Progress,
) -> Result<Vec<String>, Failure> {
    let mut started = Vec::new();
    end_strays(layout, Some(record), progress).await?;
    if !record.server.lives() {
        progress.say("starting the server");
        ports::ensure_free(&record.server)?;
        let args = server_args(layout, record)?;
        record.server.process = Some(launch(layout, "server", &programs.server, &args)?);
        started.push("server".to_owned());
        record.save(layout)?;
    }
    let client = ready(layout, record).await?;
    forget_removed(layout, record, programs, &client, progress).await?;
    join_anew(layout, record, &client).await?;
    // What an agent that died left behind: until the server notices, its host still looks online.
    let mut starts = epochs(&client).await?;
    for index in 0..record.agents.len() {
        let name = record.agents[index].name.clone();
        if record.agents[index].lives() {
            starts.remove(&name);
            continue;
        }
        progress.say(&format!("starting agent {name}"));
        ports::ensure_free(&record.agents[index])?;
        if !record.agents[index].joined {
            join(layout, record, index, programs, &client).await?;
            record.agents[index].joined = true;
            record.save(layout)?;
        }
        let args = agent_args(layout, record, &record.agents[index])?;
        record.agents[index].process = Some(launch(layout, &name, &programs.agent, &args)?);
        record.save(layout)?;
        started.push(name);
    }
    progress.say("waiting until the hosts are online");
    online(layout, record, &client, &starts).await?;
    Ok(started)
}

/// Takes agents out of the record whose hosts somebody has removed from the fleet: they would never
/// be online. A host that is removed holds no VM.
async fn forget_removed(
    layout: &Layout,
    record: &mut Record,
    programs: &Programs,
    client: &Client,
    progress: &Progress,
) -> Result<(), Failure> {
    let hosts = client.hosts().list_all("").await?;
    let is_there = |agent: &Service| hosts.iter().any(|host| host.name == agent.name);
    while let Some(at) = record.agents.iter().position(|agent| agent.joined && !is_there(agent)) {
        let name = record.agents[at].name.clone();
        progress.say(&format!("host {name} was removed: stopping its agent"));
        stop_one(&mut record.agents[at]).await?;
        if !record.simulated
            && let Err(left) = dismantle(layout, programs, &record.agents[at])
        {
            // It holds guests still, as after a restore of an older database: as a host again it
            // lists them, and what is listed can be removed.
            record.agents[at].joined = false;
            record.save(layout)?;
            layout.forget_identity(&name)?;
            eprintln!("Host {name} is not in the fleet, and is not empty: it joins again.\n{left}");
            continue;
        }
        layout.remove_agent(&name)?;
        record.agents.remove(at);
        record.save(layout)?;
        eprintln!("Host {name} was removed from the fleet; its agent is stopped and forgotten.");
    }
    Ok(())
}

/// Has an agent join anew where the server knows another host by its name, as after a restore of a
/// database from before it joined again: neither would ever take the other's certificate. The same
/// where a join was cut off after the server had taken the host, and before it had its certificate.
async fn join_anew(layout: &Layout, record: &mut Record, client: &Client) -> Result<(), Failure> {
    let hosts = client.hosts().list_all("").await?;
    for index in 0..record.agents.len() {
        let agent = &record.agents[index];
        let Some(host) = hosts.iter().find(|host| host.name == agent.name) else { continue };
        let name = agent.name.clone();
        let about = match layout.host_id(&name) {
            Some(own) if own != host.id => {
                format!("host {name} joined as {own}, and the server knows it as {}", host.id)
            }
            None if !agent.joined => {
                format!("the server knows a host {name} as {}, whose agent has not joined", host.id)
            }
            Some(_) | None => continue,
        };
        let request = DeleteHostRequest { host: host.id.clone(), ..Default::default() };
        client.hosts().delete(request).await.map_err(|error| {
            Failure::Conflict(format!(
                "{about}, whom it cannot forget: {error}; `banger dev down --force` ends both"
            ))
        })?;
        stop_one(&mut record.agents[index]).await?;
        record.agents[index].joined = false;
        record.save(layout)?;
        layout.forget_identity(&name)?;
        eprintln!("Of one name, and not one host: {about}. It joins anew.");
    }
    Ok(())
}

/// Has an agent that is stopped remove its bridge and its chains. Answers what is left, and why,
/// where it could not: then nothing of its state may go.
pub(super) fn dismantle(
    layout: &Layout,
    programs: &Programs,
    agent: &Service,
) -> Result<(), String> {
    if !agent.joined {
        // It never ran.
        return Ok(());
    }
    let run = || -> Result<(), Failure> {
        let args = [
            "dismantle".to_owned(),
            "--config".to_owned(),
            text(layout.config(&agent.name)?),
            "--state-dir".to_owned(),
            text(layout.agent_state(&agent.name)),
            // Its own: the one it would take otherwise may be an installed agent's.
            "--runtime-dir".to_owned(),
            text(layout.agent_runtime(&agent.name)),
            "--instance".to_owned(),
            agent.instance().to_owned(),
        ];
        let output = process::run(&programs.agent, &args, &[])?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::Other(anyhow::anyhow!("{}", said.trim())))
    };
    run().map_err(|failure| {
        let why = failure.message();
        format!("the network of host {} stays as it is: {why}", agent.name)
    })
}

/// Starts one process, and tells the end of its log if it ends before it is even looked at.
fn launch(
    layout: &Layout,
    name: &str,
    program: &Path,
    args: &[String],
) -> Result<Identity, Failure> {
    process::spawn(program, args, &layout.log(name))?.ok_or_else(|| ended(layout, name))
}

fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

fn server_args(layout: &Layout, record: &Record) -> Result<Vec<String>, Failure> {
    Ok(vec![
        "--config".to_owned(),
        text(layout.config("server")?),
        "--listen".to_owned(),
        record.server.listen.to_string(),
        "--metrics-listen".to_owned(),
        record.server.metrics.to_string(),
        "--state-dir".to_owned(),
        text(layout.server_state()),
    ])
}

fn agent_args(layout: &Layout, record: &Record, agent: &Service) -> Result<Vec<String>, Failure> {
    let mut args = vec![
        "run".to_owned(),
        "--config".to_owned(),
        text(layout.config(&agent.name)?),
        "--state-dir".to_owned(),
        text(layout.agent_state(&agent.name)),
        "--runtime-dir".to_owned(),
        text(layout.agent_runtime(&agent.name)),
        "--listen".to_owned(),
        agent.listen.to_string(),
        "--metrics-listen".to_owned(),
        agent.metrics.to_string(),
        "--instance".to_owned(),
        agent.instance().to_owned(),
    ];
    if record.simulated {
        args.push("--simulate".to_owned());
    }
    Ok(args)
}

/// A client of the server once it answers.
async fn ready(layout: &Layout, record: &Record) -> Result<Client, Failure> {
    let endpoint = Endpoint::new(&record.url())?.deadline(Duration::from_secs(5));
    let until = Instant::now() + START;
    loop {
        let tried = match Client::connect(&endpoint).await {
            Ok(client) => client.hosts().list_all("").await.map(|_| client),
            Err(error) => Err(error),
        };
        let error = match tried {
            // Somebody else's server would answer too, were ours gone.
            Ok(client) if record.server.lives() => return Ok(client),
            Ok(_) => "another server answers there".to_owned(),
            Err(error) => error.to_string(),
        };
        if !record.server.lives() {
            return Err(ended(layout, "server"));
        }
        if Instant::now() >= until {
            return Err(late(layout, "server", &error));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Makes an agent's host known to the server.
async fn join(
    layout: &Layout,
    record: &Record,
    index: usize,
    programs: &Programs,
    client: &Client,
) -> Result<(), Failure> {
    let agent = &record.agents[index];
    let request = CreateJoinTokenRequest {
        host_name: agent.name.clone(),
        ..CreateJoinTokenRequest::default()
    };
    let token = client.hosts().create_join_token(request).await?.token;
    let args = [
        "join".to_owned(),
        "--config".to_owned(),
        text(layout.config(&agent.name)?),
        "--server".to_owned(),
        record.url(),
        "--name".to_owned(),
        agent.name.clone(),
        "--agent-address".to_owned(),
        agent.listen.to_string(),
        "--state-dir".to_owned(),
        text(layout.agent_state(&agent.name)),
    ];
    let output = process::run(&programs.agent, &args, &[("BANGER_JOIN_TOKEN", &token)])?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::Other(anyhow::anyhow!(
            "host {} could not join: {}",
            agent.name,
            said.trim()
        )));
    }
    Ok(())
}

/// How often the agent of each host was started, as far as the server has heard.
async fn epochs(client: &Client) -> Result<BTreeMap<String, u64>, Failure> {
    let epoch = |host: Host| (host.name, host.status.map_or(0, |status| status.agent_epoch));
    Ok(client.hosts().list_all("").await?.into_iter().map(epoch).collect())
}

/// Waits until every host of the record is online, and those in `starts` by a newer start of
/// their agent than that.
async fn online(
    layout: &Layout,
    record: &Record,
    client: &Client,
    starts: &BTreeMap<String, u64>,
) -> Result<(), Failure> {
    let mut missing: BTreeSet<&str> = record.agents.iter().map(|a| a.name.as_str()).collect();
    let mut last = String::new();
    let mut updates = client.hosts().watch();
    let mut look = tokio::time::interval(Duration::from_millis(200));
    let until = tokio::time::sleep(START);
    tokio::pin!(until);
    while let Some(first) = missing.first().map(|name| (*name).to_owned()) {
        // All three can be dropped and asked again without losing anything: the stream keeps its
        // place, the interval its rhythm, and the deadline is the same future each time.
        tokio::select! {
            update = updates.next() => match update {
                Some(Ok(HostUpdate::Host(host))) => {
                    let status = host.status.clone().unwrap_or_default();
                    let earlier = starts.get(&host.name).is_some_and(|n| status.agent_epoch <= *n);
                    if status.state() == HostState::Online && !earlier {
                        missing.remove(host.name.as_str());
                    } else {
                        last = format!("{} is {}: {}", host.name,
                            banger_terminal::text::host_state_name(status.state()), status.message);
                    }
                }
                Some(Ok(HostUpdate::Reconnecting { error, .. })) => last = error.to_string(),
                Some(Ok(HostUpdate::Removed(host))) => {
                    // It will not come any more.
                    missing.remove(host.name.as_str());
                }
                Some(Ok(HostUpdate::Current)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(late(layout, &first, &last)),
            },
            _ = look.tick() => {
                for service in record.services() {
                    if !service.lives() {
                        return Err(ended(layout, &service.name));
                    }
                }
            }
            () = &mut until => return Err(late(layout, &first, &last)),
        }
    }
    Ok(())
}

fn ended(layout: &Layout, name: &str) -> Failure {
    let tail = layout.log_tail(name, 15);
    let log = layout.log(name);
    eprint!("{tail}");
    Failure::Other(anyhow::anyhow!("{name} ended on its own; its log is {}", log.display()))
}

fn late(layout: &Layout, name: &str, last: &str) -> Failure {
    let tail = layout.log_tail(name, 15);
    let log = layout.log(name);
    eprint!("{tail}");
    Failure::NotReached(format!(
        "{name} is not there after {}: {last}; its log is {}",
        humantime::format_duration(START),
        log.display()
    ))
}

/// Stops agents, then the server; all that live. Says so in the record first: whoever comes after a
/// command that was killed meanwhile does not take what is about to end for what runs.
pub(super) async fn stop(
    layout: &Layout,
    record: &mut Record,
    progress: &Progress,
) -> Result<(), Failure> {
    record.services_mut().for_each(|service| service.stopping = service.lives());
    record.save(layout)?;
    progress.say("stopping agents");
    for index in 0..record.agents.len() {
        stop_one(&mut record.agents[index]).await?;
        record.save(layout)?;
    }
    progress.say("stopping the server");
    stop_one(&mut record.server).await?;
    record.save(layout)
}

/// Ends what a command that was killed was about to stop, and waits for it.
pub(super) async fn finish_stop(
    layout: &Layout,
    record: &mut Record,
    progress: &Progress,
) -> Result<(), Failure> {
    if record.services().all(|service| !service.stopping) {
        return Ok(());
    }
    progress.say("waiting for the end of what an earlier `banger dev` was stopping");
    for service in record.services_mut().filter(|service| service.stopping) {
        stop_one(service).await?;
    }
    record.save(layout)
}

async fn stop_one(service: &mut Service) -> Result<(), Failure> {
    if let Some(identity) = &service.process {
        end(&service.name, identity).await?;
    }
    (service.process, service.stopping) = (None, false);
    Ok(())
}

async fn end(name: &str, identity: &Identity) -> Result<(), Failure> {
    let stopped = identity
        .stop(STOP)
        .await
        .map_err(|error| Failure::io(&format!("stop {name} (pid {})", identity.pid), error))?;
    if stopped == Stopped::Killed {
        eprintln!("{name} did not end within {}s and was killed.", STOP.as_secs());
    }
    Ok(())
}

/// Ends servers and agents of this very set-up that the record does not know: a command that was
/// killed had started them and not come to writing them down. They hold ports and state that what
/// is started needs.
pub(super) async fn end_strays(
    layout: &Layout,
    record: Option<&Record>,
    progress: &Progress,
) -> Result<(), Failure> {
    let known = |stray: &Identity| {
        let mut services = record.into_iter().flat_map(Record::services);
        services.any(|service| service.process.as_ref() == Some(stray))
    };
    for (name, stray) in process::of_set_up(layout)? {
        if !known(&stray) {
            progress
                .say(&format!("stopping {name} of an earlier `banger dev` (pid {})", stray.pid));
            end(&name, &stray).await?;
        }
    }
    Ok(())
}
