//! `banger host`: lists, joins, changes, drains and removes hosts; shows and sweeps what they hold.

use banger_client::v1::{
    CordonHostRequest, CreateJoinTokenRequest, DeleteHostRequest, DrainHostRequest, Host,
    HostOvercommit, HostResources, ListHostsResponse, RevokeHostRequest, SweepHostRequest,
    UncordonHostRequest, UpdateHostRequest,
};
use prost_types::FieldMask;

use super::for_each;
use crate::args::host::{AcceptedSize, HostCommand, HostUpdateArgs};
use crate::clock::now;
use crate::output::{hosts, objects};
use crate::session::Session;
use crate::spec::label_path;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::text::{clean, moment};

pub(super) async fn run(session: &Session, command: HostCommand) -> Result<(), Failure> {
    let api = session.client.hosts();
    let api = &api;
    match command {
        HostCommand::Ls { selector } => {
            let message = ListHostsResponse {
                hosts: api.list_all(&selector).await?,
                ..ListHostsResponse::default()
            };
            if message.hosts.is_empty() {
                session.printer.note(
                    "No hosts. Make a token with `banger host token`, then run \
                     `banger-agent join` on a host.",
                );
            }
            session.printer.whole(
                &message,
                |m| names(&m.hosts),
                |m| match m.hosts[..] {
                    [] => String::new(),
                    _ => hosts::table(&m.hosts, now()),
                },
            )
        }
        HostCommand::Get(args) => {
            let read = |host: String| async move { Ok(api.get(&host).await?) };
            let (found, outcome) = for_each(&args.hosts, read).await;
            show(session, found, args.hosts.len() > 1, |found| {
                let blocks: Vec<_> = found.iter().map(|h| hosts::detail(h, now())).collect();
                blocks.join("\n")
            })?;
            outcome
        }
        HostCommand::Token { ttl, name, labels, most } => {
            let ttl = ttl.and_then(|ttl| prost_types::Duration::try_from(ttl).ok());
            let request = CreateJoinTokenRequest {
                ttl,
                host_name: name.clone(),
                labels: labels.into_iter().collect(),
                accepted_capacity: accepted(&most),
            };
            let made = api.create_join_token(request).await?;
            // The token alone goes to standard output, so that it can be piped.
            session.printer.whole(
                &made,
                |made| vec![made.token.clone()],
                |made| clean(&made.token) + "\n",
            )?;
            let until = moment(made.expire_time, now()).unwrap_or_default();
            let line = join_lines(session.endpoint.server(), &clean(&made.token), &clean(&name));
            let ca = if session.endpoint.has_own_ca() {
                "\nThe server's certificate is not of a CA that machines trust: copy the file that \
                 --ca names here to the host as ./ca.crt, and end the first line with --ca ca.crt."
            } else {
                ""
            };
            session.printer.note(&format!(
                "Good for one host, until {until}. To be pasted on the host, as root:{ca}\n{line}"
            ));
            Ok(())
        }
        HostCommand::Update(args) => update(session, args).await,
        HostCommand::Cordon(args) => {
            let call = |host: String| async move {
                let request = CordonHostRequest { host, ..Default::default() };
                Ok(api.cordon(request).await?)
            };
            let (changed, outcome) = for_each(&args.hosts, call).await;
            said(session, changed, args.hosts.len() > 1, "takes no further VMs")?;
            outcome
        }
        HostCommand::Uncordon(args) => {
            let call = |host: String| async move {
                let request = UncordonHostRequest { host, ..Default::default() };
                Ok(api.uncordon(request).await?)
            };
            let (changed, outcome) = for_each(&args.hosts, call).await;
            said(session, changed, args.hosts.len() > 1, "takes VMs again")?;
            outcome
        }
        HostCommand::Drain(args) => {
            let call = |host: String| async move {
                let request = DrainHostRequest { host, etag: String::new() };
                Ok(api.drain(request).await?)
            };
            let (changed, outcome) = for_each(&args.hosts, call).await;
            said(session, changed, args.hosts.len() > 1, "is being drained")?;
            outcome
        }
        HostCommand::Inventory { host, unowned } => {
            let inventory = api.inventory(&host.host, unowned).await?;
            session.printer.whole(
                &inventory,
                |i| i.objects.iter().map(|o| o.name.clone()).collect(),
                objects::inventory,
            )?;
            session.printer.note(&objects::summary(&inventory, now()));
            Ok(())
        }
        HostCommand::Sweep { host, dry_run, yes } => {
            let host = host.host;
            if !dry_run {
                confirm(&format!("remove from {host} what no VM owns"), yes)?;
            }
            let swept = api.sweep(SweepHostRequest { host, dry_run, ..Default::default() }).await?;
            session.printer.whole(
                &swept,
                |s| s.removed.iter().map(|o| o.name.clone()).collect(),
                |s| objects::swept(s, dry_run),
            )?;
            session.printer.note(&objects::swept_summary(&swept, dry_run));
            match swept.failed.len() {
                0 => Ok(()),
                n => Err(Failure::other(anyhow::anyhow!(
                    "{n} of what no VM owns could not be removed"
                ))),
            }
        }
        HostCommand::Revoke { host, reason, yes } => {
            let host = host.host;
            confirm(&format!("shut out {host}: its VMs become UNKNOWN"), yes)?;
            let request = RevokeHostRequest { host, reason, ..Default::default() };
            let revoked = api.revoke(request).await?;
            said(session, vec![revoked], false, "is shut out")
        }
        HostCommand::Rm { hosts, allow_missing, yes } => {
            let named = hosts.hosts;
            confirm(&format!("forget {}", named.join(", ")), yes)?;
            let call = |host: String| async move {
                let named = host.clone();
                let request = DeleteHostRequest { host, allow_missing, ..Default::default() };
                let mut gone = api.delete(request).await?;
                if gone.name.is_empty() {
                    gone.name = named;
                }
                Ok(gone)
            };
            let (gone, outcome) = for_each(&named, call).await;
            said(session, gone, named.len() > 1, "is forgotten")?;
            outcome
        }
    }
}

/// What is said of a host's size; `None` where that is nothing.
fn accepted(most: &AcceptedSize) -> Option<HostResources> {
    let said = HostResources {
        vcpus: most.max_vcpus.unwrap_or(0),
        memory_mib: most.max_memory.unwrap_or(0).into(),
        disk_mib: most.max_disk.unwrap_or(0).into(),
        guests: most.max_guests.unwrap_or(0),
    };
    (said != HostResources::default()).then_some(said)
}

/// What makes a host join, in two lines. The token goes by a pipe: everybody on that machine can
/// read the arguments of a program. The first line ends where another option can be added.
fn join_lines(server: &str, token: &str, name: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!(" --name {name}") };
    format!(
        "echo {token} | banger-agent join --server {server} --token-file -{name}\n\
         systemctl restart banger-agent"
    )
}

async fn update(session: &Session, args: HostUpdateArgs) -> Result<(), Failure> {
    let named = args.labels.iter().map(|(key, _)| key).chain(&args.remove_labels);
    let mut paths: Vec<String> = named.map(|key| label_path("labels", key)).collect();
    if !args.agent_address.is_empty() {
        paths.push("agent_address".to_owned());
    }
    let ratios = [(args.vcpu_overcommit, "vcpus"), (args.memory_overcommit, "memory")];
    let given = ratios.iter().filter(|(ratio, _)| ratio.is_some());
    paths.extend(given.map(|(_, name)| format!("overcommit.{name}")));
    if args.accept_capacity {
        paths.push("accepted_capacity".to_owned());
    }
    if paths.is_empty() {
        let text = "nothing to change: give --label, --remove-label, --agent-address, \
                    --vcpu-overcommit, --memory-overcommit or --accept-capacity";
        return Err(Failure::Usage(text.to_owned()));
    }
    // What is accepted is what was seen, not what its agent says by then.
    let accepted_capacity = match args.accept_capacity {
        true => Some(said_capacity(session, &args.host.host).await?),
        false => None,
    };
    let given = args.labels.iter().filter(|(key, _)| !args.remove_labels.contains(key));
    let request = UpdateHostRequest {
        host: args.host.host.clone(),
        labels: given.cloned().collect(),
        agent_address: args.agent_address.clone(),
        update_mask: Some(FieldMask { paths }),
        overcommit: Some(HostOvercommit {
            vcpus: args.vcpu_overcommit.unwrap_or_default(),
            memory: args.memory_overcommit.unwrap_or_default(),
        }),
        accepted_capacity,
        ..UpdateHostRequest::default()
    };
    let changed = session.client.hosts().update(request).await?;
    if let Some(accepted) = accepted_capacity {
        session.printer.note(&format!("Accepted: {}.", hosts::size(&accepted)));
    }
    said(session, vec![changed], false, "is changed")
}

/// How large the agent of a host says that it is.
async fn said_capacity(session: &Session, host: &str) -> Result<HostResources, Failure> {
    let shown = session.client.hosts().get(host).await?;
    shown.status.and_then(|status| status.capacity).ok_or_else(|| {
        let host = clean(host);
        Failure::other(anyhow::anyhow!(
            "the agent of {host} has not said how large it is since the server started"
        ))
    })
}

fn names(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(|host| host.name.clone()).collect()
}

/// Prints what became of hosts.
fn said(session: &Session, hosts: Vec<Host>, several: bool, what: &str) -> Result<(), Failure> {
    show(session, hosts, several, |hosts| {
        hosts.iter().map(|host| format!("{} {what}\n", clean(&host.name))).collect()
    })
}

/// Prints hosts: one as itself, several as a list.
fn show(
    session: &Session,
    mut found: Vec<Host>,
    several: bool,
    table: impl FnOnce(&[Host]) -> String,
) -> Result<(), Failure> {
    match (several, found.pop()) {
        (false, None) => Ok(()),
        (false, Some(host)) => session.printer.whole(
            &host,
            |host| names(std::slice::from_ref(host)),
            |host| table(std::slice::from_ref(host)),
        ),
        (true, last) => {
            found.extend(last);
            let message = ListHostsResponse { hosts: found, ..ListHostsResponse::default() };
            session.printer.whole(&message, |m| names(&m.hosts), |m| table(&m.hosts))
        }
    }
}
