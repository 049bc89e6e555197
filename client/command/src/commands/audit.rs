//! `banger audit`: who did what, newest first.

use std::time::Duration;

use banger_client::v1::{AuditRecord, ListAuditRequest};
use jiff::Timestamp;

use crate::args::audit::AuditArgs;
use crate::clock::now;
use crate::output::audit::table;
use crate::session::Session;
use banger_terminal::args::Format;
use banger_terminal::failure::Failure;

/// Records of one page.
const PAGE: usize = 500;

pub(super) async fn run(session: &Session, args: AuditArgs) -> Result<(), Failure> {
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
        after_id: args.after,
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
