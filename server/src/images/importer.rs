//! The seam to the conversion: from whatever people have to one file that a VM boots from.
//!
//! The real one is the crate `banger-images`. Tests bring their own.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use banger_images::{ImportError, Made, Options, Source, Wanted};

/// Makes one file of a source.
#[async_trait]
pub trait Importer: fmt::Debug + Send + Sync + 'static {
    /// Writes the file to `out`. Dropping the future cancels it.
    ///
    /// # Errors
    /// Nothing is at `out` then.
    async fn import(
        &self,
        source: Source,
        wanted: Wanted,
        options: Options,
        out: &Path,
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
    ) -> Result<Made, ImportError> {
        // Nobody is told how far it is: the call answers when it is done.
        banger_images::make(source, wanted, options, out.to_owned(), Arc::new(|_| {})).await
    }
}
