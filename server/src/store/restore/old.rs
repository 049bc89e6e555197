//! What a database says before a restore replaces it. Nothing of it is needed; whatever can be read
//! keeps out whom somebody has shut out, and numbers from being given twice.
//!
//! One of an earlier release is copied, and the copy brought up to date: the original is what there
//! is to go back to.

use std::path::Path;

use banger_wire::causes::with_causes;

use super::{DatabaseCopy, RestoreError, begins_as_a_database, copy_privately};
use crate::model::ledger::{Ledger, LedgerConfig};
use crate::store::epoch::HighMarks;
use crate::store::schema::{self, migrate};
use crate::store::{OpenError, close_whole, connect, load};

/// What became of the log of the old database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Log {
    /// It is in the database.
    Taken,
    /// Somebody else reads the database.
    Busy,
    /// The database can't be read.
    Unreadable,
}

/// What is known of a database before it goes.
pub(super) struct Old {
    pub(super) reached: HighMarks,
    /// Or why it can't be read.
    pub(super) ledger: Result<Ledger, String>,
    pub(super) log: Log,
}

impl Old {
    /// Of one that can't be read; empty: there is none.
    pub(super) fn unread(why: impl Into<String>, log: Log) -> Self {
        Self { reached: HighMarks::default(), ledger: Err(why.into()), log }
    }

    /// What the old database says, as far as it can be read: nothing of it is needed.
    pub(super) async fn read(directory: &Path, database: &Path) -> Self {
        // SQLite would remove the log of what it then finds to be no database.
        if !begins_as_a_database(database) {
            return Old::unread("it is no SQLite database", Log::Unreadable);
        }
        let mut old = match connect(database).await {
            Ok(old) => old,
            Err(error) => return Old::unread(with_causes(&error), Log::Unreadable),
        };
        let reached = HighMarks::read(&mut old).await.unwrap_or_default();
        let found = schema::found(&mut old).await;
        let read = match found {
            Ok(found) if found == schema::known() => {
                Some(load(&mut old, LedgerConfig::default()).await)
            }
            Ok(_) | Err(_) => None,
        };
        let log = match close_whole(old).await {
            Ok(true) => Log::Taken,
            Ok(false) => Log::Busy,
            Err(_) => Log::Unreadable,
        };
        let ledger = match (read, found) {
            (Some(read), _) => read.map_err(|error| with_causes(&error)),
            (None, Err(error)) => Err(with_causes(&error)),
            (None, Ok(_)) if log == Log::Taken => {
                read_earlier(directory, database).await.map_err(|error| with_causes(&error))
            }
            (None, Ok(_)) => Err("its log can't be taken into it".to_owned()),
        };
        Old { reached, ledger, log }
    }
}

/// What a database of an earlier release says: a copy of it is brought up to date and goes then.
async fn read_earlier(directory: &Path, database: &Path) -> Result<Ledger, RestoreError> {
    let copy = DatabaseCopy { path: directory.join("banger.comparing.db") };
    copy.clear();
    copy_privately(database, &copy.path).map_err(RestoreError::file("copy to", &copy.path))?;
    let opened = connect(&copy.path).await;
    let mut earlier =
        opened.map_err(|source| OpenError::Open { path: database.to_owned(), source })?;
    migrate(database, &mut earlier).await?;
    let ledger = load(&mut earlier, LedgerConfig::default()).await.map_err(OpenError::Read)?;
    close_whole(earlier).await.map_err(OpenError::Read)?;
    Ok(ledger)
}
