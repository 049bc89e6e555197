//! The journal: which VMs and hosts each commit has made and taken away, and between which
//! revisions that was told.
//!
//! A row is written in its commit's transaction. Its revisions are given out after that, by the
//! view, and so they are written by whatever the writer writes next: the next commit, a moment
//! without one, or the close. A server that is killed before leaves one row without them, and by
//! what it has instead (a lower bound, and the first revision of the next life) a stream is refused
//! that may or may not have been told of it. Bounded: with old rows goes the possibility to resume
//! from before them.

use std::collections::VecDeque;
use std::ops::Range;

use banger_proto::ids::{Revision, VmId};
use serde_json::json;
use sqlx::SqliteConnection;

use super::batch::Batch;
use super::columns::columns_of;
use super::error::StoreError;
use super::meta::{self, to_sql};
use super::table::NetEffect;
use crate::model::history::EventKind;
use crate::model::past::{GoneThing, Past, PastCommit, Thing};
use crate::model::project::ProjectName;

/// Most entries that are kept, unless one commit alone has more.
const MAX_ENTRIES: usize = 32_768;

/// Most rows that are kept.
const MAX_ROWS: usize = 8192;

const VM_MADE: &str = "+vm";
const VM_GONE: &str = "-vm";
const HOST_MADE: &str = "+host";
const HOST_GONE: &str = "-host";

#[derive(Debug)]
struct JournalRow {
    commit: u64,
    entries: usize,
    /// `None`: not published yet, or nobody knows.
    after: Option<Revision>,
}

/// What the writer has in mind of the journal.
#[derive(Debug, Default)]
pub(super) struct Journal {
    rows: VecDeque<JournalRow>,
    entries: usize,
    /// Revisions of commits that are not written yet.
    marks: Vec<(u64, Range<Revision>)>,
    /// The table's revision when it was last heard of.
    published: Revision,
}

/// The entries of one commit, as they are written.
pub(super) struct Entries {
    json: String,
    count: usize,
}

impl Entries {
    /// What comes and goes with these changes.
    pub(super) fn of(effect: &NetEffect<'_>) -> Self {
        let mut entries = Vec::new();
        for event in effect.events.iter().filter(|event| event.kind == EventKind::Created) {
            entries.push(json!([VM_MADE, event.vm]));
        }
        for (vm, _) in effect.vms.removed() {
            entries.push(json!([VM_GONE, vm.id, vm.name, vm.project.as_str()]));
        }
        for host in effect.hosts.put().filter(|host| host.generation == 1) {
            entries.push(json!([HOST_MADE, host.id]));
        }
        for (host, _) in effect.hosts.removed() {
            entries.push(json!([HOST_GONE, host.id, host.name]));
        }
        let count = entries.len();
        Self { json: serde_json::Value::from(entries).to_string(), count }
    }
}

impl Journal {
    /// As it is in the database, once the table was at a revision.
    pub(super) async fn read(
        connection: &mut SqliteConnection,
        published: Revision,
    ) -> Result<Self, StoreError> {
        let rows: Vec<(i64, i64, Option<i64>)> = sqlx::query_as(
            "SELECT commit_number, json_array_length(entries), after FROM journal
             ORDER BY commit_number",
        )
        .fetch_all(connection)
        .await
        .map_err(StoreError::during("read the journal"))?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        let row = |(commit, entries, after): (i64, i64, Option<i64>)| JournalRow {
            commit: number(commit),
            entries: usize::try_from(entries).unwrap_or(0),
            after: after.map(|after| Revision(number(after))),
        };
        let rows: VecDeque<JournalRow> = rows.into_iter().map(row).collect();
        let entries = rows.iter().map(|row| row.entries).sum();
        Ok(Self { rows, entries, marks: Vec::new(), published })
    }

    /// The same after a failure, with what was not written yet.
    pub(super) async fn read_again(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        let marks = std::mem::take(&mut self.marks);
        *self = Self { marks, ..Self::read(connection, self.published).await? };
        for (commit, revisions) in self.marks.clone() {
            self.set_after(commit, revisions.end);
        }
        Ok(())
    }

    /// Whether revisions wait to be written.
    pub(super) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// Adds what is to be written with a commit. Nothing is remembered of it before
    /// [`Journal::written`].
    pub(super) fn write(&self, batch: &mut Batch, commit: u64, new: &Entries) {
        self.write_marks(batch);
        if new.count == 0 {
            return;
        }
        batch.add("INSERT INTO journal (commit_number, before, entries) VALUES (?, ?, ?)");
        batch.number(to_sql(commit));
        batch.number(to_sql(self.published.0));
        batch.text(new.json.clone());
        if let Some(last) = self.to_drop(new).checked_sub(1).and_then(|last| self.rows.get(last))
            && let Some(after) = last.after
        {
            batch.add("DELETE FROM journal WHERE commit_number <= ?");
            batch.number(to_sql(last.commit));
            batch.add("UPDATE meta SET value = max(value, ?) WHERE key = 'resume_floor'");
            batch.number(to_sql(after.0));
        }
    }

    /// Adds the revisions that wait.
    pub(super) fn write_marks(&self, batch: &mut Batch) {
        for (commit, revisions) in &self.marks {
            batch.add("UPDATE journal SET before = ?, after = ? WHERE commit_number = ?");
            batch.number(to_sql(revisions.start.0));
            batch.number(to_sql(revisions.end.0));
            batch.number(to_sql(*commit));
        }
    }

    /// The revisions that waited are written.
    pub(super) fn marks_written(&mut self) {
        self.marks.clear();
    }

    /// A commit is written.
    pub(super) fn written(&mut self, commit: u64, new: &Entries) {
        self.marks.clear();
        if new.count == 0 {
            return;
        }
        for dropped in self.rows.drain(..self.to_drop(new)) {
            self.entries -= dropped.entries;
        }
        self.rows.push_back(JournalRow { commit, entries: new.count, after: None });
        self.entries += new.count;
    }

    /// A commit is published between these revisions of the table.
    pub(super) fn published(&mut self, commit: u64, revisions: Range<Revision>) {
        self.published = self.published.max(revisions.end);
        if self.rows.back().is_some_and(|row| row.commit == commit) {
            // One that nobody was shown anything of lies between two all the same.
            let end = revisions.end.max(revisions.start.next());
            self.set_after(commit, end);
            self.marks.push((commit, revisions.start..end));
        }
    }

    fn set_after(&mut self, commit: u64, after: Revision) {
        if let Some(row) = self.rows.iter_mut().rev().find(|row| row.commit == commit) {
            row.after = Some(after);
        }
    }

    /// How many of the oldest rows make room for these entries. Only such as have their revisions.
    fn to_drop(&self, new: &Entries) -> usize {
        let (mut rows, mut entries) = (self.rows.len() + 1, self.entries + new.count);
        let too_many = self.rows.iter().take_while(|row| {
            let drops = (rows > MAX_ROWS || entries > MAX_ENTRIES) && row.after.is_some();
            (rows, entries) = (rows - 1, entries - row.entries);
            drops
        });
        too_many.count()
    }
}

/// What is known of the time before a life whose first revision is `first`. Of a commit without
/// revisions it is written down that they are lower than that.
pub(super) async fn past(
    connection: &mut SqliteConnection,
    first: u64,
) -> Result<Past, StoreError> {
    let failed = || StoreError::during("read the journal");
    sqlx::query("UPDATE journal SET after = ? WHERE after IS NULL")
        .bind(to_sql(first))
        .execute(&mut *connection)
        .await
        .map_err(failed())?;
    let rows = sqlx::query(
        "SELECT commit_number, before, after, entries FROM journal ORDER BY commit_number",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(failed())?;
    Ok(Past {
        epoch_floor: Revision(meta::read(connection, meta::EPOCH_FLOOR).await?),
        floor: Revision(meta::read(connection, meta::RESUME_FLOOR).await?),
        commits: rows.iter().map(read_row).collect::<Result<_, _>>()?,
    })
}

/// Forgets all of it, for a new epoch: nobody resumes from before its first revision.
pub(super) async fn clear(connection: &mut SqliteConnection, first: u64) -> Result<(), StoreError> {
    let cleared = sqlx::query("DELETE FROM journal").execute(&mut *connection).await;
    cleared.map_err(StoreError::during("clear the journal"))?;
    meta::set(connection, meta::RESUME_FLOOR, first).await?;
    meta::set(connection, meta::EPOCH_FLOOR, first).await
}

columns_of!("the journal");

fn read_row(row: &sqlx::sqlite::SqliteRow) -> Result<PastCommit, StoreError> {
    type Entry = (String, String, Option<String>, Option<String>);
    let number: i64 = get(row, "commit_number")?;
    let bad = |column| StoreError::Corrupt { table: "journal", column, row: number.to_string() };
    let revision = |column: &'static str| -> Result<Revision, StoreError> {
        u64::try_from(get::<i64>(row, column)?).map(Revision).map_err(|_| bad(column))
    };
    let text: String = get(row, "entries")?;
    let entries: Vec<Vec<Option<String>>> =
        serde_json::from_str(&text).map_err(|_| bad("entries"))?;
    let mut commit = PastCommit {
        before: revision("before")?,
        after: revision("after")?,
        ..PastCommit::default()
    };
    for entry in entries {
        let mut parts = entry.into_iter();
        let mut part = || parts.next().flatten();
        let (what, id, name, project): Entry = (
            part().ok_or_else(|| bad("entries"))?,
            part().ok_or_else(|| bad("entries"))?,
            part(),
            part(),
        );
        let vm = || id.parse::<VmId>().map_err(|_| bad("entries"));
        let host = || id.parse().map(Thing::Host).map_err(|_| bad("entries"));
        let project = || project.as_deref().and_then(|name| ProjectName::parse(name).ok());
        match what.as_str() {
            VM_MADE => commit.made.push(Thing::Vm(vm()?)),
            HOST_MADE => commit.made.push(host()?),
            VM_GONE => {
                let project = Some(project().ok_or_else(|| bad("entries"))?);
                let name = name.unwrap_or_default();
                commit.gone.push(GoneThing { thing: Thing::Vm(vm()?), name, project });
            }
            HOST_GONE => {
                let name = name.unwrap_or_default();
                commit.gone.push(GoneThing { thing: host()?, name, project: None });
            }
            _ => return Err(bad("entries")),
        }
    }
    Ok(commit)
}

#[cfg(test)]
mod tests;
