//! `banger audit`: who did what, newest first, or as it is done.

use std::time::Duration;

use banger_client::AuditUpdate;
use banger_client::v1::{AuditRecord, ListAuditRequest, WatchAuditRequest};
use futures_util::StreamExt as _;
use jiff::Timestamp;

use crate::args::audit::AuditArgs;
use crate::clock::now;
use crate::output::audit::{line, table};
use crate::session::Session;
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;

/// Records of one page.
const PAGE: usize = 500;

pub(super) async fn run(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    if args.follow {
        return follow(session, args).await;
    }
    let api = session.client.audit();
    let mut left = if args.all { usize::MAX } else { args.limit.get() };
    let mut request = ListAuditRequest {
        page_size: 0,
        page_token: String::new(),
        principal: args.principal.unwrap_or_default(),
        method: args.method.unwrap_or_default(),
        object: args.object.unwrap_or_default(),
        start_time: args.since.map(ago),
        end_time: args.until.map(ago),
        after_id: args.after.unwrap_or(0),
    };
    request.page_size = u32::try_from(left.min(PAGE)).unwrap_or(1);
    let mut rows = Vec::new();
    while left > 0 {
        let page = api.list(request.clone()).await?;
        for record in page.records.into_iter().take(left) {
            left -= 1;
            // A table is as wide as its widest row; everything else is printed as it comes.
            if session.printer.format() == Format::Table {
                rows.push(record);
            } else {
                session.printer.part(&record, |r| r.id.to_string(), |_| String::new())?;
            }
        }
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    print(session, &rows)
}

async fn follow(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    let request = WatchAuditRequest {
        principal: args.principal.unwrap_or_default(),
        method: args.method.unwrap_or_default(),
        object: args.object.unwrap_or_default(),
        after_id: args.after,
    };
    let mut updates = session.client.audit().watch(request);
    let mut broken = false;
    while let Some(update) = updates.next().await {
        let update = update?;
        if let AuditUpdate::Reconnecting { error, .. } = update {
            // Once per break, not once per attempt.
            if !broken {
                session.printer.note(&format!("{error}. Trying again until it comes back."));
            }
            broken = true;
            continue;
        }
        if std::mem::take(&mut broken) {
            session.printer.note("Connected again; nothing is missed.");
        }
        if let AuditUpdate::Record(record) = update {
            session.printer.part(&*record, |record| record.id.to_string(), line)?;
        }
    }
    Ok(())
}

fn print(session: &Session, rows: &[AuditRecord]) -> Result<(), Failure> {
    if session.printer.format() != Format::Table {
        return Ok(());
    }
    if rows.is_empty() {
        session.printer.note("No records.");
        return Ok(());
    }
    session.printer.raw(&table(rows))
}

/// The time so long ago.
fn ago(age: Duration) -> prost_types::Timestamp {
    let then = now().checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
    prost_types::Timestamp { seconds: then.as_second(), nanos: then.subsec_nanosecond() }
}
