//! The statements of one transaction, sent to the database's thread as one.
//!
//! Every statement that is awaited by itself costs two changes of thread; a group of mutations has
//! five to ten. Here they are put into one text with one list of values. The text is made of
//! constants only, and there are few different ones, so SQLite keeps them prepared.
//!
//! When one fails the rest is not run and the transaction stays open: the connection is then to be
//! thrown away, which rolls it back.

use std::fmt::Write as _;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use super::error::StoreError;

/// A transaction to be.
#[derive(Debug)]
pub(super) struct Batch {
    sql: String,
    values: SqliteArguments,
}

impl Batch {
    /// One that takes the write lock first.
    pub(super) fn new() -> Self {
        Self { sql: "BEGIN IMMEDIATE;\n".to_owned(), values: SqliteArguments::default() }
    }

    /// Adds a statement; it takes as many values as it has `?`.
    pub(super) fn add(&mut self, statement: &'static str) {
        // Writing to a String can't fail.
        let _ = writeln!(self.sql, "{statement};");
    }

    /// Adds a statement with one text, which is an array of rows for `json_each`.
    pub(super) fn add_rows(&mut self, statement: &'static str, rows: String) {
        self.add(statement);
        self.text(rows);
    }

    /// The next text.
    pub(super) fn text(&mut self, value: String) {
        self.values.add(value).expect("a text can be encoded");
    }

    /// The next number.
    pub(super) fn number(&mut self, value: i64) {
        self.values.add(value).expect("a number can be encoded");
    }

    /// Runs all of it and commits.
    pub(super) async fn commit(
        mut self,
        connection: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        self.add("COMMIT");
        sqlx::query_with(AssertSqlSafe(self.sql), self.values)
            .execute(connection)
            .await
            .map_err(StoreError::during("commit a group of changes"))?;
        Ok(())
    }
}
