//! Reading a column of a row, with the table's name in what goes wrong.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::error::StoreError;

/// Reads a column; `during` says what that is.
pub(super) fn read<'r, T>(
    row: &'r SqliteRow,
    column: &'static str,
    during: &'static str,
) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    row.try_get(column).map_err(StoreError::during(during))
}

/// `get(row, column)` for the rows of one table.
macro_rules! columns_of {
    ($table:literal) => {
        fn get<'r, T>(
            row: &'r sqlx::sqlite::SqliteRow,
            column: &'static str,
        ) -> Result<T, super::error::StoreError>
        where
            T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
        {
            super::columns::read(row, column, concat!("read a column of ", $table))
        }
    };
}

pub(super) use columns_of;
