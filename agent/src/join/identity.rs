//! Who this host is, on disk: `identity/{host.json, agent.key, agent.crt, ca.crt}`.
//!
//! Written by joining, read at the start of the agent. The key has mode 0600 from its first byte.
//! What can go wrong: the host has not joined, or a file is garbled; the agent does not start then,
//! and VMs go on running.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use banger_proto::ids::HostId;
use banger_wire::service::secrets::{self, SecretError};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

use crate::host::Subnet;

/// The version of `host.json`.
pub const FORMAT: u32 = 1;

const RECORD: &str = "host.json";
const KEY: &str = "agent.key";
const CERTIFICATE: &str = "agent.crt";
const CA: &str = "ca.crt";

/// The identity can't be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Joining was never done.
    #[error(
        "this host has not joined a fleet: there is no {}; run `banger-agent join`",
        path.display()
    )]
    NotJoined {
        /// The file that is not there.
        path: PathBuf,
    },
    /// A file can't be read.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key can't be read, or others than its owner may.
    #[error("the key of this host can't be used")]
    Secret(#[source] SecretError),
    /// A file can't be written.
    #[error("could not write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// `host.json` is none.
    #[error("{} is not a record of this host", path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// `host.json` is of a newer agent.
    #[error("{} has format {format}, and this agent knows {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What it says.
        format: u32,
    },
    /// The key can't be made or read.
    #[error("{} is no key that can be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
}

/// What the host is in its fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityRecord {
    /// The version of this record.
    pub format: u32,
    /// Its id.
    pub host_id: HostId,
    /// Its name when it joined.
    pub name: String,
    /// Where its guests' addresses come from.
    pub guest_subnet: Subnet,
    /// The API it joined by.
    pub server: String,
}

/// The whole identity.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub record: IdentityRecord,
    /// The agent's certificate.
    pub certificate_pem: String,
    /// Its key. A secret.
    pub key_pem: String,
    /// The CA of the server.
    pub ca_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("record", &self.record).finish_non_exhaustive()
    }
}

impl Identity {
    /// Reads the identity.
    ///
    /// # Errors
    /// The host has not joined, or a file can't be read or understood.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let record =
            read_record(dir)?.ok_or_else(|| IdentityError::NotJoined { path: dir.join(RECORD) })?;
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|source| IdentityError::Read { path, source })
        };
        Ok(Self {
            record,
            certificate_pem: read(CERTIFICATE)?,
            key_pem: {
                let key = secrets::read(&dir.join(KEY)).map_err(IdentityError::Secret)?;
                String::from_utf8_lossy(&key).into_owned()
            },
            ca_pem: read(CA)?,
        })
    }

    /// The id of a host that joined before.
    ///
    /// # Errors
    /// The record is there and can't be read.
    pub fn known_host(dir: &Path) -> Result<Option<HostId>, IdentityError> {
        Ok(read_record(dir)?.map(|record| record.host_id))
    }

    /// Writes everything but the key, which is there already; the record last, because it says
    /// that the host has joined.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        replace(&dir.join(CERTIFICATE), self.certificate_pem.as_bytes())?;
        replace(&dir.join(CA), self.ca_pem.as_bytes())?;
        let path = dir.join(RECORD);
        let mut text = serde_json::to_string_pretty(&self.record)
            .map_err(|source| IdentityError::Garbled { path: path.clone(), source })?;
        text.push('\n');
        replace(&path, text.as_bytes())
    }
}

fn read_record(dir: &Path) -> Result<Option<IdentityRecord>, IdentityError> {
    let path = dir.join(RECORD);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(IdentityError::Read { path, source }),
    };
    let record: IdentityRecord = serde_json::from_slice(&bytes)
        .map_err(|source| IdentityError::Garbled { path: path.clone(), source })?;
    if record.format == FORMAT {
        Ok(Some(record))
    } else {
        Err(IdentityError::Format { path, format: record.format })
    }
}

/// The agent's key.
pub struct KeyPem {
    pem: String,
    key: KeyPair,
}

impl KeyPem {
    /// The key on disk, or a new one that is on disk then.
    ///
    /// # Errors
    /// It can't be read or written, or is no key.
    pub fn load_or_make(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY);
        let bad = |source| IdentityError::Key { path: path.clone(), source };
        match secrets::read(&path) {
            Ok(pem) => {
                // What is no text is no key either.
                let pem = String::from_utf8_lossy(&pem).into_owned();
                Ok(Self { key: KeyPair::from_pem(&pem).map_err(bad)?, pem })
            }
            Err(SecretError::Read { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(dir)
                    .map_err(|source| IdentityError::Write { path: dir.to_owned(), source })?;
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(bad)?;
                let pem = key.serialize_pem();
                replace(&path, pem.as_bytes())?;
                Ok(Self { pem, key })
            }
            Err(error) => Err(IdentityError::Secret(error)),
        }
    }

    /// The key as text. A secret.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A request for a certificate of this key. It names nobody: the server decides the names.
    pub(super) fn certificate_request(&self) -> Result<String, rcgen::Error> {
        CertificateParams::default().serialize_request(&self.key)?.pem()
    }
}

/// Replaces a file: written beside it with mode 0600, synced, renamed.
fn replace(path: &Path, content: &[u8]) -> Result<(), IdentityError> {
    let write = || {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        // A leftover of an earlier attempt may have another mode.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        match path.parent() {
            Some(dir) => std::fs::File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| IdentityError::Write { path: path.to_owned(), source })
}
