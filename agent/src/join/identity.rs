//! Who this host is, on disk: `identity/{host.json, agent.key, agent.crt, ca.crt}`.
//!
//! Written by joining and by each renewal, read at the start of the agent. Keys have mode 0600 from
//! their first byte. What can go wrong: the host has not joined, or a file is garbled; the agent
//! does not start then, and VMs go on running.
//!
//! A renewal makes a new key, and certificate and key are two files. So that a crash at any step
//! leaves a pair that fits:
//! ```text
//! next.key written ─▶ (server signs) ─▶ ca.crt replaced ─▶ agent.crt replaced ─▶ next.key renamed to agent.key
//! ```
//! The third arrow is the one that counts: whoever reads takes of the two keys the one that the
//! certificate was made for. Each file is replaced whole, and synced with its directory.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use banger_proto::ids::HostId;
use banger_wire::service::secrets::{self, SecretError};
use banger_wire::tls::certificate;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::Subnet;

/// The version of `host.json`.
pub const FORMAT: u32 = 1;

const RECORD: &str = "host.json";
const KEY: &str = "agent.key";
/// Of a certificate that was asked for, or that is in use and whose key has not its name yet.
const NEXT_KEY: &str = "next.key";
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
    /// Which fleet it is of, whatever CAs that has: [`Identity::fleet`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<String>,
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
    /// The CAs of the server, one or more.
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
        let certificate_pem = read(CERTIFICATE)?;
        let key_pem = match read_key(dir, NEXT_KEY) {
            // The end of a renewal is missing; the certificate says which key it is of.
            Ok(next) if fits(&certificate_pem, &next) => next,
            Ok(_) | Err(_) => read_key(dir, KEY).map_err(IdentityError::Secret)?,
        };
        Ok(Self { record, certificate_pem, key_pem, ca_pem: read(CA)? })
    }

    /// Which fleet the host is of: the digest of the CA that it joined under. It stays when that is
    /// replaced, because what the fleet's server has said stays.
    #[must_use]
    pub fn fleet(&self) -> String {
        let joined_under = || hex::encode(Sha256::digest(&self.ca_pem));
        self.record.fleet.clone().unwrap_or_else(joined_under)
    }

    /// The id of a host that joined before.
    ///
    /// # Errors
    /// The record is there and can't be read.
    pub fn known_host(dir: &Path) -> Result<Option<HostId>, IdentityError> {
        Ok(read_record(dir)?.map(|record| record.host_id))
    }

    /// Writes everything, the key included where it is not there yet; the record last, because it
    /// says that the host has joined. Done again, it changes nothing.
    ///
    /// # Errors
    /// A file can't be written. What could be read before can be read, and fits together.
    pub fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        self.save_observed(dir, &|_| {})
    }

    /// The same; `on_step` is told after each file.
    ///
    /// # Errors
    /// As of [`Self::save`].
    pub fn save_observed(
        &self,
        dir: &Path,
        on_step: &dyn Fn(&'static str),
    ) -> Result<(), IdentityError> {
        if read_record(dir)?.is_some_and(|before| before.fleet != self.record.fleet) {
            // Which fleet it is must not hang on the CAs that are written next.
            self.save_record(dir)?;
            on_step("fleet kept");
        }
        let has = |name| read_key(dir, name).is_ok_and(|key| key == self.key_pem);
        if !has(KEY) && !has(NEXT_KEY) {
            replace(&dir.join(NEXT_KEY), self.key_pem.as_bytes())?;
        }
        replace(&dir.join(CA), self.ca_pem.as_bytes())?;
        on_step("CAs written");
        replace(&dir.join(CERTIFICATE), self.certificate_pem.as_bytes())?;
        on_step("certificate written");
        if !has(KEY) {
            name_key(dir)?;
            on_step("key named");
        }
        self.save_record(dir)
    }

    /// Does the end of a renewal that is missing, if it is: gives the key that is in use its name.
    /// A key that waits for its certificate goes on waiting.
    ///
    /// # Errors
    /// It can't be renamed; what could be read before can be read.
    pub fn end_renewal(&self, dir: &Path) -> Result<(), IdentityError> {
        match read_key(dir, NEXT_KEY) {
            Ok(next) if next == self.key_pem => name_key(dir),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn save_record(&self, dir: &Path) -> Result<(), IdentityError> {
        let path = dir.join(RECORD);
        let mut text = serde_json::to_string_pretty(&self.record)
            .map_err(|source| IdentityError::Garbled { path: path.clone(), source })?;
        text.push('\n');
        replace(&path, text.as_bytes())
    }
}

fn read_key(dir: &Path, name: &str) -> Result<String, SecretError> {
    // What is no text is no key either.
    secrets::read(&dir.join(name)).map(|key| String::from_utf8_lossy(&key).into_owned())
}

/// Whether a certificate was made for a key.
pub(super) fn fits(certificate_pem: &str, key_pem: &str) -> bool {
    let Ok(key) = KeyPair::from_pem(key_pem) else { return false };
    certificate::facts_of_pem(certificate_pem.as_bytes())
        .is_some_and(|facts| facts.public_key == key.subject_public_key_info())
}

/// Gives the key of the certificate that is in use its own name: the end of a renewal.
fn name_key(dir: &Path) -> Result<(), IdentityError> {
    let path = dir.join(KEY);
    let rename = || {
        std::fs::rename(dir.join(NEXT_KEY), &path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    rename().map_err(|source| IdentityError::Write { path: path.clone(), source })
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
        Self::load_or_make_as(dir, KEY)
    }

    /// The key of the next certificate, on disk: the one that is waiting for it, or a new one.
    /// Never the one in use.
    ///
    /// # Errors
    /// As of [`Self::load_or_make`].
    pub fn load_or_make_next(dir: &Path, in_use: &str) -> Result<Self, IdentityError> {
        if read_key(dir, NEXT_KEY).is_ok_and(|next| next == in_use) {
            name_key(dir)?;
        }
        Self::load_or_make_as(dir, NEXT_KEY)
    }

    /// The key that waits for its certificate; `None`: there is none.
    ///
    /// # Errors
    /// It can't be read, or is no key.
    pub fn prepared(dir: &Path) -> Result<Option<Self>, IdentityError> {
        if dir.join(NEXT_KEY).exists() {
            return Self::load_or_make_as(dir, NEXT_KEY).map(Some);
        }
        Ok(None)
    }

    fn load_or_make_as(dir: &Path, name: &str) -> Result<Self, IdentityError> {
        let path = dir.join(name);
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
    ///
    /// # Errors
    /// The key can't sign: a defect.
    pub fn certificate_request(&self) -> Result<String, rcgen::Error> {
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
