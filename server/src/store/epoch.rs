//! A new epoch: above every one before, with revisions and the audit's numbers that go on above all
//! that were given out. It begins when the past was put in the place of the present.

use banger_proto::ids::Epoch;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::error::StoreError;
use super::{audit, journal, meta};

/// How far revisions jump when a backup was restored: more than anybody has given out since.
const REVISIONS_PER_EPOCH: u64 = 1 << 40;

/// More revisions than are given out in a second: a million VMs that change at once.
const REVISIONS_PER_SECOND: u64 = 1 << 20;

/// What another database is known to have reached. Nothing where none is known.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct HighMarks {
    pub(super) epoch: u64,
    pub(super) revisions: u64,
    /// The greatest number that the audit has given out.
    pub(super) audit: u64,
}

impl HighMarks {
    /// By this one, also where it is of an earlier release, which may have had no audit.
    pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Self, StoreError> {
        Ok(Self {
            epoch: meta::read(connection, meta::EPOCH).await?,
            revisions: meta::read(connection, meta::REVISION_CEILING).await?,
            audit: audit::newest_number(&mut *connection).await?,
        })
    }
}

/// Begins a new epoch, above this one and what is known, and not below the time in seconds: a
/// backup does not know how often it was restored, and time does. Revisions and the audit's numbers
/// go on in the same way, above those of this database, those that are known, and as many as can
/// have been given out by now.
pub(super) async fn begin(
    connection: &mut SqliteConnection,
    known: HighMarks,
    now: Timestamp,
) -> Result<Epoch, StoreError> {
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    // First what goes with it: an epoch that was not raised can be raised again.
    let floor = known.audit.max(seconds.saturating_mul(audit::NUMBERS_PER_SECOND));
    audit::lift_numbers(connection, floor).await?;
    let floor = known.revisions.max(seconds.saturating_mul(REVISIONS_PER_SECOND));
    meta::lift(connection, meta::REVISION_CEILING, floor).await?;
    let reached = meta::raise(connection, meta::REVISION_CEILING, REVISIONS_PER_EPOCH).await?;
    journal::clear(connection, reached + 1).await?;
    meta::lift(connection, meta::EPOCH, known.epoch.max(seconds.saturating_sub(1))).await?;
    meta::raise(connection, meta::EPOCH, 1).await.map(Epoch)
}
