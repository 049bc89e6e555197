//! `banger system status`: what is installed, what runs, and whether they are the same. Anybody may
//! ask; what only root can see is left open, and named.

use std::io;

use serde::Serialize;

use super::disk::{Disk, Present};
use super::journal;
use super::laydown;
use super::machine::{Call, Machine};
use super::payload::{self, COMMAND, Part};
use super::record::Record;
use super::services::{self, Unit};
use super::settings::Settings;
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::output::table::{Tone, columns, plain};

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    name: &'static str,
    /// What the program that lies there says of itself.
    installed: String,
    /// Such as "active"; empty on a machine that does not run.
    unit: String,
    /// Such as "enabled".
    enabled: String,
    /// 0 is none.
    pid: u32,
    /// Whether the process runs the program that lies there; null when that cannot be seen.
    runs_installed: Option<bool>,
    /// Whether the unit's file is this release's: "same", "other", or "none".
    unit_file: &'static str,
    /// systemd has not read the unit's file since it was changed.
    needs_reload: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    /// This command's own version.
    command: &'static str,
    /// What the record says was laid down; empty when there is none, null when it cannot be read.
    release: Option<String>,
    services: Vec<Service>,
    /// VMM processes of this machine's agent; null when they cannot be told from others.
    vms: Option<usize>,
}

impl Status {
    /// Whether root would be told more.
    fn is_partial(&self) -> bool {
        let unseen = |service: &Service| service.pid != 0 && service.runs_installed.is_none();
        self.release.is_none() || self.vms.is_none() || self.services.iter().any(unseen)
    }
}

pub(super) async fn status(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
) -> Result<(), Failure> {
    let record = seen(Record::load(disk))?;
    let mut found = Vec::new();
    for part in Part::ALL {
        if disk.look(&laydown::program_path(part.program()))? != Present::Absent {
            found.push(service(machine, disk, part).await?);
        }
    }
    let guests = || {
        let settings = Settings::of(disk, Part::Agent)?;
        Ok(machine.guests(&settings)?.len())
    };
    let vms = if disk.is_live() { seen(guests())? } else { Some(0) };
    let release = |record: Option<Record>| record.map(|record| record.release).unwrap_or_default();
    let status = Status {
        command: env!("CARGO_PKG_VERSION"),
        release: record.map(release),
        services: found,
        vms,
    };
    match printer.format() {
        Format::Table => printer.raw(&text(&status)),
        Format::Name => printer
            .raw(&status.services.iter().map(|s| format!("{}\n", s.name)).collect::<String>()),
        Format::Json | Format::Yaml => {
            let value = serde_json::to_value(&status).map_err(anyhow::Error::from)?;
            journal::print(printer, &value)
        }
    }
}

/// What is not there for us to see is unknown, and no error.
fn seen<T>(looked: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    let forbidden = |error: &anyhow::Error| {
        let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
        causes.any(|cause| cause.kind() == io::ErrorKind::PermissionDenied)
    };
    match looked {
        Ok(value) => Ok(Some(value)),
        Err(error) if forbidden(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn service(machine: &impl Machine, disk: &Disk, part: Part) -> anyhow::Result<Service> {
    let release = payload::own();
    let shipped = release.files.iter().find(|file| file.path.ends_with(part.unit()));
    let unit_file = match shipped.map(|file| Ok((disk.read(&file.path)?, file))) {
        Some(Ok((Some(there), file))) if there == file.text.as_bytes() => "same",
        Some(Ok((Some(_), _))) => "other",
        Some(Ok((None, _))) | None => "none",
        Some(Err(error)) => return Err(error),
    };
    if !disk.is_live() {
        // A program of another machine is not run on this one.
        return Ok(Service { name: part.program(), unit_file, ..Service::default() });
    }
    let program = laydown::program_path(part.program());
    let said = machine.run(&Call::new(program.to_string_lossy(), &["--version"])).await;
    let installed = match said {
        Ok(said) if said.good => version(&said.out, part.program()),
        Ok(said) => format!("broken: {}", said.complaint()),
        Err(error) => format!("broken: {error:#}"),
    };
    let Unit { active, enabled, main_pid, needs_reload, .. } =
        services::show(machine, part).await?;
    Ok(Service {
        name: part.program(),
        installed,
        unit: active,
        enabled,
        pid: main_pid,
        runs_installed: (main_pid != 0).then(|| machine.runs(main_pid, &program)).flatten(),
        unit_file,
        needs_reload,
    })
}

/// `banger-agent 0.1.0` is 0.1.0.
fn version(said: &str, program: &str) -> String {
    said.trim().trim_start_matches(program).trim().to_owned()
}

fn text(status: &Status) -> String {
    if status.services.is_empty() {
        return format!(
            "Nothing is installed here; `{COMMAND} system install` does it (as release {}).\n",
            status.command
        );
    }
    let row = |service: &Service| {
        let tone = match service.unit.as_str() {
            "active" => Tone::Good,
            "failed" => Tone::Bad,
            _ => Tone::Moving,
        };
        let runs = match (service.pid, service.runs_installed) {
            (0, _) => ("-".to_owned(), Tone::Plain),
            (pid, Some(true)) => (format!("pid {pid}, the installed program"), Tone::Good),
            (pid, Some(false)) => (format!("pid {pid}, ANOTHER program: restart it"), Tone::Bad),
            (pid, None) => (format!("pid {pid}"), Tone::Plain),
        };
        let unit_file = match (service.unit_file, service.needs_reload) {
            (_, true) => ("changed: systemctl daemon-reload".to_owned(), Tone::Bad),
            ("same", false) => ("of this release".to_owned(), Tone::Plain),
            ("other", false) => ("of another release".to_owned(), Tone::Moving),
            (_, false) => ("none".to_owned(), Tone::Bad),
        };
        let unit = format!("{}, {}", service.unit, service.enabled);
        vec![
            plain(service.name),
            plain(service.installed.clone()),
            (unit.trim_matches([',', ' ']).to_owned(), tone),
            runs,
            unit_file,
        ]
    };
    let headers = ["SERVICE", "INSTALLED", "UNIT", "RUNS", "UNIT FILE"];
    let table = columns(&headers, status.services.iter().map(row));
    let vms = match status.vms {
        None => "How many VMs run is not known.".to_owned(),
        Some(0) => "No VM runs.".to_owned(),
        Some(1) => "1 VM runs.".to_owned(),
        Some(count) => format!("{count} VMs run."),
    };
    let more = if status.is_partial() {
        format!("Some of this only root can see: `sudo {COMMAND} system status` shows all of it.\n")
    } else {
        String::new()
    };
    format!("{table}\n{vms}\n{more}")
}

#[cfg(test)]
mod tests;
