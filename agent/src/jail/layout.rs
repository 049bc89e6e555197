//! From the API socket's symlink to the jail's root.
//!
//! In the runtime directory the API socket of a VM is a symlink to `<chroot>/run/…`; the pidfile
//! lies beside it in `<chroot>`. The link is ours (the runtime directory is root's), but what it
//! leads to is not: only the text of the link is read here, nothing is followed. Pure.

use std::path::{Component, Path, PathBuf};

use crate::host::{VmmKind, in_jail};

/// The chroot that a symlink to an API socket leads into; `None` when its target is not the API
/// socket of a chroot.
#[must_use]
pub fn chroot_of(target: &Path, vmm: VmmKind) -> Option<PathBuf> {
    let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !target.is_absolute() || !target.components().all(plain) {
        return None;
    }
    let socket = Path::new(in_jail::api_socket(vmm)).strip_prefix("/").ok()?;
    let depth = socket.components().count();
    if !target.ends_with(socket) {
        return None;
    }
    target.ancestors().nth(depth).map(Path::to_path_buf)
}

#[cfg(test)]
mod tests;
