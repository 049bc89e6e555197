//! Who did what, as people read it.

use banger_client::v1::{AuditEffect, AuditObject, AuditRecord, AuditStep};

use banger_terminal::output::table::{Row, columns, plain};
use banger_terminal::text::{clean, or_number, time};

/// What became of it: `OK`, `begun`, a code and its reason, or how many are not listed.
fn outcome(record: &AuditRecord) -> String {
    let ended = match (&*record.code, &*record.reason) {
        (code, "") => code.to_owned(),
        (code, reason) => format!("{code} {reason}"),
    };
    let word = or_number::<AuditStep>(record.step, |step| match step {
        AuditStep::Unspecified | AuditStep::Done | AuditStep::Refused => "",
        AuditStep::Began => "begun",
        AuditStep::Ended => "ended",
        AuditStep::LeftOut => "left out",
    });
    let because_of = or_number::<AuditEffect>(record.effect, |effect| match effect {
        AuditEffect::Unspecified => "",
        AuditEffect::WentAlong => "went along with",
        AuditEffect::Kept => "was kept from",
    });
    if let Some(cause) = record.cause.as_ref().filter(|_| !because_of.is_empty()) {
        return format!("{because_of} {}", called(cause));
    }
    match record.step() {
        AuditStep::LeftOut => format!("{} refused calls are left out", record.left_out),
        _ if ended.is_empty() => word,
        _ if word.is_empty() => ended,
        _ => format!("{word} {ended}"),
    }
}

/// Its kind, with its name or else its id.
fn called(object: &AuditObject) -> String {
    let called = if object.name.is_empty() { &object.id } else { &object.name };
    format!("{} {called}", object.kind)
}

/// A record's cells: id, time, who, method, object, outcome, where from.
fn cells(record: &AuditRecord) -> [String; 7] {
    let at = time(record.time).map(|at| at.round(jiff::Unit::Second).unwrap_or(at));
    let object = record.object.as_ref().map(called).unwrap_or_default();
    [
        record.id.to_string(),
        at.map(|at| at.to_string()).unwrap_or_default(),
        record.principal.clone(),
        record.method.rsplit('/').next().unwrap_or_default().to_owned(),
        object.trim_end().to_owned(),
        outcome(record),
        record.peer.clone(),
    ]
}

pub(crate) fn table(records: &[AuditRecord]) -> String {
    let row = |record: &AuditRecord| -> Row { cells(record).iter().map(plain).collect() };
    let headers = ["ID", "TIME", "WHO", "METHOD", "OBJECT", "OUTCOME", "FROM"];
    columns(&headers, records.iter().map(row))
}

/// One record as it comes, by itself.
pub(crate) fn line(record: &AuditRecord) -> String {
    let [id, at, who, method, object, outcome, from] = cells(record).map(|cell| clean(&cell));
    let line = format!("{id:<6}  {at}  {who:<14}  {method:<16}  {object:<20}  {outcome}  {from}");
    line.trim_end().to_owned() + "\n"
}
