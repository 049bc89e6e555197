//! `banger system status`: what is installed, what runs, and whether they are the same.

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
    /// Whether the process runs the program that lies there.
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
    /// What the record says was laid down; empty when there is none.
    release: String,
    services: Vec<Service>,
    /// VMM processes of this machine's agent.
    vms: usize,
}

pub(super) async fn status(
    machine: &impl Machine,
    disk: &Disk,
    printer: Printer,
) -> Result<(), Failure> {
    let record = Record::load(disk)?;
    let mut found = Vec::new();
    for part in Part::ALL {
        if disk.look(&laydown::program_path(part.program()))? != Present::Absent {
            found.push(service(machine, disk, part).await?);
        }
    }
    let settings = Settings::of(disk, Part::Agent)?;
    let vms = if disk.is_live() { machine.guests(&settings.state_dir)?.len() } else { 0 };
    let status = Status {
        command: env!("CARGO_PKG_VERSION"),
        release: record.map(|record| record.release).unwrap_or_default(),
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
            (pid, _) => (format!("pid {pid}, ANOTHER program: restart it"), Tone::Bad),
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
        0 => "No VM runs.".to_owned(),
        1 => "1 VM runs.".to_owned(),
        count => format!("{count} VMs run."),
    };
    format!("{table}\n{vms}\n")
}

#[cfg(test)]
mod tests;
