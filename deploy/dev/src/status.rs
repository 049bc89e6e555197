//! `banger dev status`: what runs.

use std::time::Duration;

use banger_client::v1::HostState;
use banger_client::{Client, Endpoint};

use super::layout::Layout;
use super::record::{Record, Service};
use crate::args::StateDir;
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::output::table::{Row, Tone, columns, plain};
use banger_terminal::text::{SIMULATED, host_state_name};

pub(super) async fn status(printer: Printer, dir: StateDir) -> Result<(), Failure> {
    let layout = Layout::of(&dir)?;
    match Record::load(&layout)? {
        Some(record) => print(printer, &layout, &record).await,
        None => {
            printer.note("Nothing is set up. Start it with `banger dev up`.");
            Ok(())
        }
    }
}

/// Prints server and agents with their addresses, pids and logs.
pub(super) async fn print(
    printer: Printer,
    layout: &Layout,
    record: &Record,
) -> Result<(), Failure> {
    let hosts = host_states(record).await;
    let seen = |service: &Service| {
        let found = hosts.iter().find(|(name, _)| *name == service.name);
        found.map_or("", |(_, state)| host_state_name(*state))
    };
    match printer.format() {
        Format::Table => {
            let row = |service: &Service| -> Row {
                let is_server = service.name == "server";
                let address = if is_server { record.url() } else { service.listen.to_string() };
                let kind = match (is_server, record.simulated) {
                    (true, _) => "server".to_owned(),
                    (false, true) => format!("host {}{SIMULATED}", service.name),
                    (false, false) => format!("host {}", service.name),
                };
                let (state, tone) = match (service.lives(), seen(service)) {
                    (false, _) => ("not running".to_owned(), Tone::Bad),
                    (true, "") => ("running".to_owned(), Tone::Good),
                    (true, "ONLINE") => ("running, ONLINE".to_owned(), Tone::Good),
                    (true, other) => (format!("running, {other}"), Tone::Moving),
                };
                let pid = service.process.as_ref().map_or("-".to_owned(), |p| p.pid.to_string());
                let log = layout.log(&service.name).display().to_string();
                vec![plain(kind), (state, tone), plain(address), plain(pid), plain(log)]
            };
            let headers = ["WHAT", "STATE", "ADDRESS", "PID", "LOG"];
            printer.raw(&columns(&headers, record.services().map(row)))
        }
        Format::Name => {
            printer.raw(&record.services().map(|s| format!("{}\n", s.name)).collect::<String>())
        }
        Format::Json | Format::Yaml => {
            let service = |service: &Service| {
                serde_json::json!({
                    "name": service.name,
                    "address": service.listen,
                    "metricsAddress": service.metrics,
                    "running": service.lives(),
                    "pid": service.process.as_ref().map(|p| p.pid),
                    "hostState": seen(service),
                    "log": layout.log(&service.name),
                })
            };
            let value = serde_json::json!({
                "server": record.url(),
                "simulated": record.simulated,
                "reason": record.why,
                "stateDir": layout.root,
                "processes": record.services().map(service).collect::<Vec<_>>(),
            });
            let text = if printer.format() == Format::Json {
                serde_json::to_string_pretty(&value).map_err(anyhow::Error::from)? + "\n"
            } else {
                yaml_serde::to_string(&value).map_err(anyhow::Error::from)?
            };
            printer.raw(&text)
        }
    }
}

/// The states of the hosts, as far as the server can say; empty where it can't.
async fn host_states(record: &Record) -> Vec<(String, HostState)> {
    if !record.server.lives() {
        return Vec::new();
    }
    let ask = async {
        let endpoint = Endpoint::new(&record.url()).ok()?.deadline(Duration::from_secs(3));
        let client = Client::connect(&endpoint).await.ok()?;
        client.hosts().list_all("").await.ok()
    };
    let hosts = ask.await.unwrap_or_default();
    let state = |host: banger_client::v1::Host| {
        let state = host.status.as_ref().map_or(HostState::Unspecified, |s| s.state());
        (host.name, state)
    };
    hosts.into_iter().map(state).collect()
}
