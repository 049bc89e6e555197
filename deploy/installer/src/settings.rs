//! The few settings of server and agent that matter here, from their configuration as it lies on
//! the machine. Read leniently: whether the whole file is any good is asked of the programs
//! themselves (`check-config`).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::disk::Disk;
use super::payload::Part;

/// Of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) metrics: SocketAddr,
    pub(super) state_dir: PathBuf,
    /// Where the jails of an agent's guests lie.
    pub(super) jail_dir: PathBuf,
    /// Where an agent's images lie.
    pub(super) image_dir: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
struct Written {
    metrics_listen: Option<SocketAddr>,
    state_dir: Option<PathBuf>,
    jail_dir: Option<PathBuf>,
    image_dir: Option<PathBuf>,
}

impl Settings {
    /// As configured; a key that is not there, or a file that cannot be read, means the default.
    pub(super) fn of(disk: &Disk, part: Part) -> anyhow::Result<Self> {
        let text = disk.read(Path::new(part.config()))?.unwrap_or_default();
        let written: Written = toml::from_str(&String::from_utf8_lossy(&text)).unwrap_or_default();
        let (port, state_dir) = match part {
            Part::Server => (7071, "/var/lib/banger-server"),
            Part::Agent => (7073, "/var/lib/banger-agent"),
        };
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let state_dir = written.state_dir.unwrap_or_else(|| PathBuf::from(state_dir));
        Ok(Self {
            metrics: written.metrics_listen.map_or(default, reachable),
            jail_dir: written.jail_dir.unwrap_or_else(|| state_dir.join("jails")),
            image_dir: written.image_dir.unwrap_or_else(|| state_dir.join("images")),
            state_dir,
        })
    }
}

/// Where one asks who listens on every address.
fn reachable(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))
    } else {
        address
    }
}
