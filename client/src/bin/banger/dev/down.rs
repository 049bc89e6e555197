//! `banger dev down`.

use super::fleet::{self, Programs};
use super::layout::Layout;
use super::record::Record;
use crate::args::dev::DownArgs;
use crate::ask::confirm;
use crate::failure::Failure;
use crate::output::Printer;
use crate::progress::Progress;

pub(super) async fn down(printer: Printer, args: DownArgs) -> Result<(), Failure> {
    let layout = Layout::of(&args.state_dir)?;
    if !layout.root.exists() {
        printer.note("Nothing to take down.");
        return Ok(());
    }
    let lock = layout.lock()?;
    let Some(mut record) = Record::load(&layout)? else {
        if !args.keep {
            layout.remove()?;
        }
        printer.note("Nothing to take down.");
        return Ok(());
    };
    let progress = Progress::start();
    if args.keep {
        let vms = fleet::count_vms(&record).await;
        fleet::stop(&layout, &mut record, &progress).await?;
        drop(progress);
        printer.note(&format!("Stopped. The state is kept in {}.", layout.root.display()));
        if !record.simulated && vms != Some(0) {
            printer.note("Guests that were running live on.");
        }
        return Ok(());
    }
    // VMs of simulated hosts are nothing but entries in the files that go away.
    if !record.simulated {
        let vms = fleet::count_vms(&record).await;
        if vms != Some(0) {
            let vms = vms.map_or("all".to_owned(), |n| n.to_string());
            confirm(&format!("delete {vms} VMs with their disks"), args.yes)?;
        }
    }
    match delete_vms(&layout, &mut record, &progress).await {
        Ok(0) => {}
        Ok(deleted) => printer.note(&format!("Deleted {deleted} VMs.")),
        Err(failure) if args.force || record.simulated => failure.tell(None, printer.format()),
        Err(failure) => return Err(failure),
    }
    fleet::stop(&layout, &mut record, &progress).await?;
    drop(progress);
    layout.remove()?;
    drop(lock);
    printer.note(&format!("Everything is down, and {} is removed.", layout.root.display()));
    Ok(())
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
    fleet::delete_vms(record, progress).await
}
