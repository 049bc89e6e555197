//! Images, as the configuration has them: where their contents lie, and what imports may do.

use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::config::ServerConfig;
use crate::images::ImageSettings;
use crate::images::library::Library;

/// The contents on disk.
///
/// # Errors
/// Their directory can't be made or read.
pub(super) fn image_library(config: &ServerConfig) -> Result<Arc<Library>, StartError> {
    let path = config.images_dir();
    let reserve = config.images.reserve_mib.saturating_mul(1 << 20);
    match Library::open(path.clone(), config.images.max_upload_bytes, reserve) {
        Ok(library) => Ok(Arc::new(library)),
        Err(source) => Err(StartError::Images { path, source }),
    }
}

/// What the configuration says of imports.
pub(super) fn image_settings(config: &ServerConfig) -> ImageSettings {
    ImageSettings {
        import_dirs: config.images.import_dirs.clone(),
        guest_agent: config.images.guest_agent.clone(),
        max_imports: config.images.max_imports,
        max_import: Duration::from_secs(config.images.max_import_secs),
        local_registries: config.images.local_registries.clone(),
        private_registries: config.images.private_registries.clone(),
        docker_config: config.images.docker_config.clone(),
        ..ImageSettings::default()
    }
}
