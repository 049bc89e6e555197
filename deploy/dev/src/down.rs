//! `banger dev down`: deletes the VMs, ends agents and server, removes networks and files.

use std::path::Path;

use super::fleet::{self, Programs};
use super::layout::Layout;
use super::record::Record;
use super::vms;
use crate::args::{DownArgs, HOSTS};
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::output::Printer;
use banger_terminal::progress::Progress;
use banger_terminal::text::counted;

pub(super) async fn down(printer: Printer, args: DownArgs) -> Result<(), Failure> {
    let layout = Layout::of(&args.state_dir)?;
    // Nothing is made where no set-up is, the lock's file neither; a start of an earlier release
    // that was killed has left one.
    if !layout.is_one() && !layout.root.join("lock").exists() {
        printer.note("Nothing to take down.");
        return Ok(());
    }
    let lock = layout.lock()?;
    let progress = Progress::start();
    let Some(mut record) = Record::load(&layout)? else {
        fleet::end_strays(&layout, None, &progress).await?;
        if !args.keep {
            layout.remove()?;
        }
        drop(progress);
        printer.note("Nothing to take down.");
        return Ok(());
    };
    if args.keep {
        let vms = vms::count(&record).await;
        fleet::end_strays(&layout, Some(&record), &progress).await?;
        fleet::stop(&layout, &mut record, &progress).await?;
        drop(progress);
        printer.note(&format!("Stopped. The state is kept in {}.", layout.root.display()));
        if !record.simulated && vms != Some(0) {
            printer.note("Guests that were running live on.");
        }
        return Ok(());
    }
    let vms = match vms::count(&record).await {
        Some(0) => String::new(),
        Some(n) => format!("delete {} and their disks, ", counted(n as u64, "VM")),
        None => "delete all VMs and their disks, ".to_owned(),
    };
    confirm(&format!("{vms}stop everything and remove {}", layout.root.display()), args.yes)?;
    fleet::finish_stop(&layout, &mut record, &progress).await?;
    fleet::end_strays(&layout, Some(&record), &progress).await?;
    match delete_vms(&layout, &mut record, &progress).await {
        Ok(0) => {}
        Ok(deleted) => printer.note(&format!("Deleted {}.", counted(deleted as u64, "VM"))),
        Err(failure) if args.force || record.simulated => failure.tell(None, printer.format()),
        Err(failure) => return Err(failure),
    }
    fleet::stop(&layout, &mut record, &progress).await?;
    if !record.simulated {
        progress.say("removing bridges and rules");
        let programs = Programs::find()?;
        let left = networks_left(&layout, &programs, &record);
        if !left.is_empty() {
            return Err(kept(&layout, &left));
        }
    }
    drop(progress);
    restore_configs(&layout, &record)?;
    let all = layout.remove()?;
    drop(lock);
    printer.note(&ending(&layout.root, all, args.rest_follows));
    Ok(())
}

/// What there is to say at the end; of what is left only where nobody takes any of it away after
/// this.
fn ending(root: &Path, is_gone: bool, rest_follows: bool) -> String {
    let root = root.display();
    match (is_gone, rest_follows) {
        (true, _) => format!("Everything is down, and {root} is removed."),
        (false, true) => "Everything is down.".to_owned(),
        (false, false) => format!(
            "Everything is down. What else is in {root} stays: `banger dev` did not make it."
        ),
    }
}

/// Takes this set-up's share of the machine out of configurations that were there before it.
fn restore_configs(layout: &Layout, record: &Record) -> Result<(), Failure> {
    let Some(share) = &record.share else { return Ok(()) };
    layout.restore_config("server", |present| share.without_server_config(present))?;
    (0..usize::from(HOSTS)).try_for_each(|index| {
        let name = format!("b{index}");
        layout.restore_config(&name, |present| share.without_agent_config(index, present))
    })
}

/// Has each agent remove its network. Answers what is left, and why.
fn networks_left(layout: &Layout, programs: &Programs, record: &Record) -> Vec<String> {
    record
        .agents
        .iter()
        .filter_map(|agent| fleet::dismantle(layout, programs, agent).err())
        .collect()
}

/// Something of it is left on this machine: its state is what it can be removed by.
fn kept(layout: &Layout, left: &[String]) -> Failure {
    let root = layout.root.display();
    Failure::Conflict(format!(
        "server and agents are stopped, and not everything is removed: {}. The state stays in \
         {root}: run `banger dev up` with it to see what is left (`banger host get`, `banger host \
         sweep`), then `banger dev down` again",
        left.join("; ")
    ))
}

/// Deletes all VMs. Real ones need server and agents for that, so that what is missing of them is
/// started once more.
async fn delete_vms(
    layout: &Layout,
    record: &mut Record,
    progress: &Progress,
) -> Result<usize, Failure> {
    let all_live = record.services().all(|service| service.lives());
    if !all_live {
        if record.simulated {
            return Ok(0);
        }
        fleet::start_missing(layout, record, &Programs::find()?, progress).await?;
    }
    vms::delete(record, progress).await
}

#[cfg(test)]
mod tests;
