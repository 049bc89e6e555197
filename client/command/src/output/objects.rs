//! Banger's kernel objects on a host, and what a sweep made of them, as people read them.
//!
//! One row an object, with its owner in each, so that rows can be cut and grepped; grouped by
//! owner, what nobody owns at the end.

use banger_client::v1::{
    FailedObject, GetHostInventoryResponse, HostObject, HostObjectState, KeptObject, KeptReason,
    SweepHostResponse, SweepPolicy, SweepRecord,
};
use jiff::Timestamp;

use banger_terminal::output::table::{Row, Tone, columns, plain};
use banger_terminal::text::{bytes, clean, counted, moment, or_number, span};

pub(crate) fn inventory(inventory: &GetHostInventoryResponse) -> String {
    let mut objects: Vec<&HostObject> = inventory.objects.iter().collect();
    // Stable: within an owner they stay in the server's order, by kind and name.
    objects.sort_by_key(|object| (rank(object), owner(object)));
    let row = |object: &HostObject| -> Row {
        vec![
            plain(owner(object)),
            plain(&object.kind),
            plain(&object.name),
            state(object),
            plain(size(object)),
            plain(time(object.age.as_ref())),
            plain(detail(object)),
        ]
    };
    let headers = ["OWNER", "KIND", "NAME", "STATE", "SIZE", "AGE", "DETAIL"];
    columns(&headers, objects.into_iter().map(row))
}

/// How many there are, what sweeps go by, and the last sweep, in sentences.
pub(crate) fn summary(inventory: &GetHostInventoryResponse, now: Timestamp) -> String {
    let of = |state: HostObjectState| -> u32 {
        let counts = inventory.counts.iter().filter(|count| count.state() == state);
        counts.map(|count| count.count).sum()
    };
    let all: u32 = inventory.counts.iter().map(|count| count.count).sum();
    let mut text = format!(
        "{}, {}",
        counted(all.into(), "object"),
        counted(of(HostObjectState::Orphan).into(), "orphan")
    );
    for (state, word) in [
        (HostObjectState::PendingRemoval, "pending removal"),
        (HostObjectState::Unclear, "unclear"),
        (HostObjectState::ClaimedElsewhere, "claimed elsewhere"),
        (HostObjectState::Unclaimed, "unclaimed"),
    ] {
        let count = of(state);
        if count > 0 {
            text += &format!(", {count} {word}");
        }
    }
    text += ".";
    if let Some(policy) = &inventory.policy {
        text += &format!("\n{}", going_by(policy));
    }
    if let Some(last) = inventory.recent_sweeps.first() {
        text += &format!("\nLast sweep asked for: {}", record(last, now));
    }
    text
}

/// What became of a sweep, or would.
pub(crate) fn swept(swept: &SweepHostResponse, dry_run: bool) -> String {
    let empty = HostObject::default();
    let row = |object: Option<&HostObject>, outcome: (&str, Tone), why: &str| -> Row {
        let object = object.unwrap_or(&empty);
        vec![
            (outcome.0.to_owned(), outcome.1),
            plain(&object.kind),
            plain(&object.name),
            plain(owner(object)),
            plain(size(object)),
            plain(why),
        ]
    };
    let gone = if dry_run { ("WOULD REMOVE", Tone::Moving) } else { ("REMOVED", Tone::Good) };
    let removed = swept.removed.iter().map(|object| row(Some(object), gone, &known_for(object)));
    let kept = swept.kept.iter().map(|kept: &KeptObject| {
        row(kept.object.as_ref(), ("KEPT", Tone::Plain), &kept_because(kept))
    });
    let failed = swept.failed.iter().map(|failed: &FailedObject| {
        row(failed.object.as_ref(), ("FAILED", Tone::Bad), &failed.message)
    });
    columns(&["OUTCOME", "KIND", "NAME", "VM", "SIZE", "WHY"], removed.chain(kept).chain(failed))
}

/// How much of what, and what is left of the budget, in sentences.
pub(crate) fn swept_summary(swept: &SweepHostResponse, dry_run: bool) -> String {
    let verb = if dry_run { "would be removed" } else { "removed" };
    let mut text = format!(
        "{} {verb}, {} kept, {} failed.",
        swept.removed.len(),
        swept.kept.len(),
        swept.failed.len()
    );
    if swept.not_listed > 0 {
        text += &match swept.not_listed {
            1 => " 1 more stays and is not listed.".to_owned(),
            many => format!(" {many} more stay and are not listed."),
        };
    }
    if swept.repeated {
        text += " The answer to the sweep was lost, and it was not made again: what it removed is in \
                 the inventory.";
    }
    if let Some(policy) = &swept.policy {
        text += &format!("\n{}", going_by(policy));
    }
    text
}

fn going_by(policy: &SweepPolicy) -> String {
    let grace = policy.grace.as_ref().map_or(0, |grace| grace.seconds);
    let alone = if policy.automatic { "" } else { "; the agent removes none on its own" };
    let (left, all) = (policy.budget_left, counted(policy.budget_per_hour.into(), "removal"));
    let are = if left == 1 { "is" } else { "are" };
    format!("An orphan may go after {}; {left} of {all} in an hour {are} left{alone}.", span(grace))
}

fn record(record: &SweepRecord, now: Timestamp) -> String {
    let when = moment(record.time, now).unwrap_or_default();
    let what = if record.message.is_empty() {
        format!("{} removed, {} kept, {} failed", record.removed, record.kept, record.failed)
    } else {
        clean(&record.message)
    };
    format!("{when} by {}: {what}.", clean(&record.actor))
}

/// What is owned first, then what is going, then what nobody owns.
fn rank(object: &HostObject) -> u8 {
    match object.state() {
        HostObjectState::Owned => 0,
        HostObjectState::Shared => 1,
        HostObjectState::PendingRemoval => 2,
        HostObjectState::ClaimedElsewhere => 3,
        HostObjectState::Unclaimed => 4,
        HostObjectState::Unclear | HostObjectState::Unspecified => 5,
        HostObjectState::Orphan => 6,
    }
}

fn owner(object: &HostObject) -> String {
    match (object.vm_name.is_empty(), object.vm_id.is_empty()) {
        (false, _) => clean(&object.vm_name),
        (true, false) => clean(&object.vm_id),
        (true, true) => "-".to_owned(),
    }
}

fn state(object: &HostObject) -> (String, Tone) {
    let name =
        |state: &HostObjectState| state.as_str_name().trim_start_matches("HOST_OBJECT_STATE_");
    let tone = match object.state() {
        HostObjectState::Owned | HostObjectState::Shared => Tone::Plain,
        HostObjectState::PendingRemoval => Tone::Moving,
        HostObjectState::Orphan
        | HostObjectState::Unclear
        | HostObjectState::ClaimedElsewhere
        | HostObjectState::Unclaimed
        | HostObjectState::Unspecified => Tone::Bad,
    };
    (or_number(object.state, name), tone)
}

fn size(object: &HostObject) -> String {
    if object.size_bytes == 0 { "-".to_owned() } else { bytes(object.size_bytes) }
}

fn time(time: Option<&prost_types::Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| span(time.seconds))
}

fn known_for(object: &HostObject) -> String {
    match &object.orphan_for {
        Some(known) => format!("an orphan for {}", span(known.seconds)),
        None => String::new(),
    }
}

fn detail(object: &HostObject) -> String {
    let elsewhere = (!object.claimed_by_host_id.is_empty())
        .then(|| format!("placed on host {}", clean(&object.claimed_by_host_id)));
    let known = Some(known_for(object)).filter(|known| !known.is_empty());
    let said = Some(clean(&object.detail)).filter(|said| !said.is_empty());
    [elsewhere, known, said].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn kept_because(kept: &KeptObject) -> String {
    if !kept.message.is_empty() {
        return kept.message.clone();
    }
    or_number(kept.reason, |reason: &KeptReason| {
        reason.as_str_name().trim_start_matches("KEPT_REASON_")
    })
}
