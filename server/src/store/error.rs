//! Errors of opening the database, of reading and writing it, and of a mutation.
//!
//! Not found is not here: a read answers `None` or nothing, a mutation is refused.

use std::path::PathBuf;

use banger_wire::causes::with_causes;

use crate::model::ledger::Refusal;

/// The store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it open.
    #[error("{} is in use by another server", path.display())]
    InUse { path: PathBuf },
    /// There is no database.
    #[error("there is no database {}", path.display())]
    Missing { path: PathBuf },
    /// The database or its lock file can't be made.
    #[error("could not make {} or its lock file", path.display())]
    Lock {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The database can't be opened.
    #[error("could not open {}", path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: sqlx::Error,
    },
    /// A newer server made it.
    #[error(
        "{} has schema {found}, and this server knows schemas up to {known}: it was written by a \
         newer banger-server; install that one or a newer one",
        path.display()
    )]
    NewerSchema {
        path: PathBuf,
        /// The schema found.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// The schema can't be brought up to date.
    #[error("could not bring the schema of {} up to date", path.display())]
    Migrate {
        path: PathBuf,
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// What is stored can't be read.
    #[error(transparent)]
    Read(#[from] StoreError),
}

/// A read or a write failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not as it should.
    #[error("could not {what}")]
    Database {
        /// The step, such as "read hosts".
        what: &'static str,
        #[source]
        source: sqlx::Error,
    },
    /// A row makes no sense: not written by this program, or damaged.
    #[error("the {column} of {table} {row} makes no sense")]
    Corrupt { table: &'static str, column: &'static str, row: String },
}

impl StoreError {
    pub(super) fn during(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }

    /// Whether the database refused the rows themselves, so that trying again can't help.
    pub(super) fn is_constraint(&self) -> bool {
        match self {
            Self::Database { source: sqlx::Error::Database(error), .. } => {
                error.is_unique_violation()
                    || error.is_foreign_key_violation()
                    || error.is_check_violation()
            }
            Self::Database { .. } | Self::Corrupt { .. } => false,
        }
    }
}

/// A mutation did not come about, as far as can be known: a repetition is safe and tells.
#[derive(Debug, thiserror::Error)]
pub enum MutateError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store can't write or read now. Nothing of it was published; trying again may help.
    #[error("the store can't be written now: {reason}")]
    Unavailable {
        /// The chain of causes: many callers share one failure, and it does not clone.
        reason: String,
    },
    /// The database refused what the ledger had allowed: a defect.
    #[error("the store refused a change that had been allowed: {reason}")]
    Defect {
        /// The chain of causes.
        reason: String,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closed,
}

impl From<StoreError> for MutateError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable { reason: with_causes(&error) }
    }
}
