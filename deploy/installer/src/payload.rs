//! What a release lays down beside its programs: units, user, directories, kernel settings,
//! configuration. Part of this program, so that a release is its programs and cannot come apart.
//!
//! An update is driven by whichever `banger` was called; the release's own `banger` tells its files
//! by `banger system payload` (JSON of [`Release`]). So that command's output is an interface
//! between versions: fields are added, never changed.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Part {
    /// The control plane.
    Server,
    /// What makes this machine a host.
    Agent,
}

impl Part {
    /// Both, in the order they are updated in: a server takes agents of the version before.
    pub(super) const ALL: [Self; 2] = [Self::Server, Self::Agent];

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::Server => "banger-server",
            Self::Agent => "banger-agent",
        }
    }

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Server => "banger-server.service",
            Self::Agent => "banger-agent.service",
        }
    }

    pub(super) const fn config(self) -> &'static str {
        match self {
            Self::Server => "/etc/banger/server.toml",
            Self::Agent => "/etc/banger/agent.toml",
        }
    }
}

/// The command, which every machine gets.
pub(super) const COMMAND: &str = "banger";

/// What a file is, which says what becomes of it when somebody has changed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// A program: ours.
    Program,
    /// A unit: ours; the operator's changes belong in drop-ins.
    Unit,
    /// User, directories, kernel settings: ours.
    Support,
    /// Configuration: the operator's once it was changed.
    Config,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Shipped {
    /// Where it belongs, from the root of the machine.
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) part: Part,
    pub(super) text: String,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Release {
    /// Such as "0.1.0".
    pub(super) version: String,
    pub(super) files: Vec<Shipped>,
}

macro_rules! deploy {
    ($path:literal) => {
        include_str!(concat!("../../", $path))
    };
}

const FILES: [(&str, Kind, Part, &str); 9] = [
    (
        "/etc/systemd/system/banger-server.service",
        Kind::Unit,
        Part::Server,
        deploy!("systemd/banger-server.service"),
    ),
    ("/usr/lib/sysusers.d/banger.conf", Kind::Support, Part::Server, deploy!("host/sysusers.conf")),
    ("/etc/banger/server.toml", Kind::Config, Part::Server, deploy!("config/server.toml")),
    (
        "/etc/systemd/system/banger-agent.service",
        Kind::Unit,
        Part::Agent,
        deploy!("systemd/banger-agent.service"),
    ),
    (
        "/etc/systemd/system/banger-guests.slice",
        Kind::Unit,
        Part::Agent,
        deploy!("systemd/banger-guests.slice"),
    ),
    ("/usr/lib/tmpfiles.d/banger.conf", Kind::Support, Part::Agent, deploy!("host/tmpfiles.conf")),
    ("/etc/sysctl.d/60-banger.conf", Kind::Support, Part::Agent, deploy!("host/sysctl.conf")),
    (
        "/usr/lib/udev/rules.d/09-banger.rules",
        Kind::Support,
        Part::Agent,
        deploy!("host/udev.rules"),
    ),
    ("/etc/banger/agent.toml", Kind::Config, Part::Agent, deploy!("config/agent.toml")),
];

/// What this program was built with.
pub(super) fn own() -> Release {
    let shipped = |(path, kind, part, text): (&str, Kind, Part, &str)| Shipped {
        path: PathBuf::from(path),
        kind,
        part,
        text: text.to_owned(),
    };
    Release {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        files: FILES.into_iter().map(shipped).collect(),
    }
}
