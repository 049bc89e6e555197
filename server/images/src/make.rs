//! The two ways in: from wherever an image is, and from a path alone.

use std::path::{Path, PathBuf};

use crate::{ImportError, Made, Options, Progress, Report, Source, Wanted};

/// Makes one file of what `source` is. Blocking work runs on tokio's blocking threads; dropping
/// the future cancels it.
///
/// `out` is created, or replaced as a whole, once it is complete and synced; until then the work
/// lies beside it under [`crate::SCRATCH_PREFIX`].
///
/// # Errors
///
/// See [`ImportError`]; then `out` is as it was.
pub async fn make(
    source: Source,
    wanted: Wanted,
    options: Options,
    out: PathBuf,
    report: Report,
) -> Result<Made, ImportError> {
    match source {
        Source::Path(path) => {
            let _cancel = options.cancel.clone();
            let work = move || make_from_path(&path, wanted, &options, &out, &*report);
            match tokio::task::spawn_blocking(work).await {
                Ok(made) => made,
                Err(_) => Err(ImportError::Cancelled),
            }
        }
        Source::Registry(reference) => Err(ImportError::NotUsable {
            from: reference.to_string(),
            what: "registries are not asked yet".to_owned(),
        }),
    }
}

/// [`make`] for a file or a directory; blocking.
///
/// # Errors
///
/// As for [`make`].
pub fn make_from_path(
    path: &Path,
    wanted: Wanted,
    options: &Options,
    out: &Path,
    report: &dyn Fn(Progress),
) -> Result<Made, ImportError> {
    let _ = (wanted, options, out, report);
    Err(ImportError::NotUsable {
        from: path.display().to_string(),
        what: "not read yet".to_owned(),
    })
}
