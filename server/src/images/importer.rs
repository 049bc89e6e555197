//! The seam to the conversion: from whatever people have to one file that a VM boots from.
//!
//! The real one is the crate `banger-images`. Tests bring their own.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use banger_images::{ImportError, Made, Options, Report, Source, Wanted};

/// Makes one file of a source.
#[async_trait]
pub trait Importer: fmt::Debug + Send + Sync + 'static {
    /// Writes the file to `out`, and reports how far it is. Dropping the future cancels it.
    ///
    /// # Errors
    /// Nothing is at `out` then.
    async fn import(
        &self,
        source: Source,
        wanted: Wanted,
        options: Options,
        out: &Path,
        report: Report,
    ) -> Result<Made, ImportError>;
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Converter;

#[async_trait]
impl Importer for Converter {
    async fn import(
        &self,
        source: Source,
        wanted: Wanted,
        options: Options,
        out: &Path,
        report: Report,
    ) -> Result<Made, ImportError> {
        banger_images::make(source, wanted, options, out.to_owned(), report).await
    }
}
