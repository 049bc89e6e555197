//! The server's own CA: it lets server and agents know each other.
//!
//! Made at the first start in the state directory (`ca/ca.key`, mode 0600, in a directory of mode
//! 0700, and `ca/ca.crt`); how another takes its place is in [`Authorities`]. It signs two kinds of
//! certificate, of which neither can stand in for the other: an agent's, for the key in its request
//! and with names of our choosing, and the server's own client certificate, made anew in memory at
//! each start. Whoever has `ca.key` can be the server.
//!
//! What can go wrong: the files are unreadable, open to others, or do not belong together. The
//! server does not start then, and never replaces a key that is there.

mod authorities;
mod token;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_proto::ids::HostId;
use banger_wire::service::secrets::{self, SecretError};
use banger_wire::tls::{SERVER_NAME, agent_name};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};

pub use self::authorities::{Authorities, CaOnDisk, make_another};
pub use self::token::{JoinTokenText, ParseTokenError};

/// How long the CA is good.
const CA_VALIDITY: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// How long an agent's certificate is good unless the configuration says otherwise.
pub const AGENT_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long the server's client certificate is good. It is made anew at each start, and at two
/// thirds of this.
pub const CLIENT_VALIDITY: Duration = Duration::from_secs(90 * 24 * 3600);

/// Certificates are good from a day before they are made, for hosts whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(24 * 3600);

/// Longest certificate request, PEM, in bytes.
const MAX_REQUEST_LEN: usize = 16 * 1024;

/// The CA can't be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file can't be made, read or written.
    #[error("could not {what} {}", path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The key can't be read, or others than its owner may read it.
    #[error(transparent)]
    Key(SecretError),
    /// Key or certificate can't be understood, or do not belong together.
    #[error("{} and the certificate beside it are not usable as a CA", path.display())]
    Unusable {
        path: PathBuf,
        #[source]
        source: rcgen::Error,
    },
    /// There is none, or its certificate can't be understood.
    #[error("{} is not the certificate of a CA", path.display())]
    Unreadable { path: PathBuf },
    /// The certificate was not made for the key.
    #[error("{} holds another key than the certificate beside it", path.display())]
    Mismatch { path: PathBuf },
    /// A certificate can't be made.
    #[error("could not make {what}")]
    Make {
        what: &'static str,
        #[source]
        source: rcgen::Error,
    },
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness(#[source] getrandom::Error),
}

/// A certificate request that can't be taken.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// It is longer than any request needs to be.
    #[error("has {0} bytes; at most {MAX_REQUEST_LEN} are allowed")]
    TooLong(usize),
    /// It can't be read, or is not signed by its own key.
    #[error("is not a certificate request in PEM, signed by its own key")]
    Unreadable(#[source] rcgen::Error),
}

/// A certificate request of an agent, verified. Only its key is taken from it.
#[derive(Debug)]
pub struct AgentRequest {
    key: rcgen::PublicKey,
}

impl AgentRequest {
    /// Reads a request and verifies that its sender has the key.
    ///
    /// # Errors
    /// When it can't be taken.
    pub fn read(pem: &str) -> Result<Self, RequestError> {
        if pem.len() > MAX_REQUEST_LEN {
            return Err(RequestError::TooLong(pem.len()));
        }
        let request =
            CertificateSigningRequestParams::from_pem(pem).map_err(RequestError::Unreadable)?;
        Ok(Self { key: request.public_key })
    }

    /// sha256 of the key, to know it again.
    pub fn key_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.key.subject_public_key_info()).into()
    }
}

/// A certificate with its key, PEM.
#[derive(Clone)]
pub struct CertifiedKeyPem {
    pub certificate_pem: String,
    /// Its key. A secret.
    pub key_pem: String,
}

impl std::fmt::Debug for CertifiedKeyPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CertifiedKeyPem(..)")
    }
}

/// The server's own CA.
pub struct CertificateAuthority {
    pem: String,
    sha256: [u8; 32],
    issuer: Issuer<'static, KeyPair>,
    /// When the CA begins to be good: so does what it signs, so that a clock that was ahead leaves
    /// no certificate that is not good yet.
    begins_at: Timestamp,
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CertificateAuthority({})", hex::encode(&self.sha256[..8]))
    }
}

impl CertificateAuthority {
    /// Reads a CA that may be there, and makes none; `None`: there is none, or it is only half
    /// made.
    ///
    /// # Errors
    /// It is there and can't be used.
    pub fn look(directory: &Path) -> Result<Option<Self>, CaError> {
        let (key_path, certificate_path) = (directory.join("ca.key"), directory.join("ca.crt"));
        let there = |path: &Path| path.try_exists().map_err(during("read", path));
        if !there(&key_path)? {
            return Ok(None);
        }
        let key = read_key(&key_path)?;
        if !there(&certificate_path)? {
            return Ok(None);
        }
        let pem =
            fs::read_to_string(&certificate_path).map_err(during("read", &certificate_path))?;
        Self::from_parts(pem, key, &key_path).map(Some)
    }

    /// Reads the CA in `directory`, or makes one when there is no key yet.
    ///
    /// # Errors
    /// When it can't be made or read; a key that is there is never replaced.
    pub fn open_or_make(directory: &Path, now: Timestamp) -> Result<Self, CaError> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(directory).map_err(during("make", directory))?;
        let key_path = directory.join("ca.key");
        let certificate_path = directory.join("ca.crt");
        if !key_path.exists() {
            let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
                .map_err(|source| CaError::Make { what: "the key of the CA", source })?;
            write_new(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        }
        let key = read_key(&key_path)?;
        // A start that was cut off may have left the key alone: then the certificate is made now.
        if !certificate_path.exists() {
            let certificate = ca_params(now)?
                .self_signed(&key)
                .map_err(|source| CaError::Make { what: "the certificate of the CA", source })?;
            write_new(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
        }
        let pem =
            fs::read_to_string(&certificate_path).map_err(during("read", &certificate_path))?;
        Self::from_parts(pem, key, &key_path)
    }

    fn from_parts(pem: String, key: KeyPair, path: &Path) -> Result<Self, CaError> {
        let unusable = |source| CaError::Unusable { path: path.to_owned(), source };
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| unusable(rcgen::Error::CouldNotParseCertificate))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der)
            .map_err(|_| unusable(rcgen::Error::CouldNotParseCertificate))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(CaError::Mismatch { path: path.to_owned() });
        }
        let sha256 = Sha256::digest(&der).into();
        let begins_at = Timestamp::from_second(parsed.validity().not_before.timestamp())
            .map_err(|_| unusable(rcgen::Error::CouldNotParseCertificate))?;
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(unusable)?;
        Ok(Self { pem, sha256, issuer, begins_at })
    }

    /// The fingerprint of the CA in `directory`, without making one; `None` when there is none, or
    /// it can't be read.
    pub fn fingerprint_in(directory: &Path) -> Option<[u8; 32]> {
        let pem = fs::read(directory.join("ca.crt")).ok()?;
        let der = CertificateDer::from_pem_slice(&pem).ok()?;
        Some(Sha256::digest(&der).into())
    }

    /// The CA's certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.pem
    }

    /// sha256 of the CA's certificate, DER: what join tokens carry.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.sha256
    }

    /// Signs the key of an agent's request, with the names of its host and for serving only.
    /// Answers the certificate, PEM.
    ///
    /// # Errors
    /// When the certificate can't be made.
    pub fn sign_agent(
        &self,
        request: &AgentRequest,
        host: HostId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<String, CaError> {
        let params = self.leaf_params(
            agent_name(host),
            ExtendedKeyUsagePurpose::ServerAuth,
            now,
            expires_at,
        )?;
        let certificate = params
            .signed_by(&request.key, &self.issuer)
            .map_err(|source| CaError::Make { what: "the certificate of an agent", source })?;
        Ok(certificate.pem())
    }

    /// A new key with a certificate by which agents know the server, for calling only. It lives in
    /// memory.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn client_certificate(&self, now: Timestamp) -> Result<CertifiedKeyPem, CaError> {
        let failed = |source| CaError::Make { what: "the server's client certificate", source };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let expires_at = later(now, CLIENT_VALIDITY);
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        let params = self.leaf_params(SERVER_NAME.to_owned(), usage, now, expires_at)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok(CertifiedKeyPem { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    fn leaf_params(
        &self,
        dns_name: String,
        usage: ExtendedKeyUsagePurpose,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<CertificateParams, CaError> {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "banger");
        let begins_at = self.begins_at.min(earlier(now, BACKDATE));
        let mut params = params(name, serial_number()?, begins_at, expires_at);
        let dns_name = dns_name
            .try_into()
            .map_err(|source| CaError::Make { what: "the name of a certificate", source })?;
        params.subject_alt_names = vec![SanType::DnsName(dns_name)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// `by` after `now`, or the end of representable time.
pub fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn earlier(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn ca_params(now: Timestamp) -> Result<CertificateParams, CaError> {
    let serial = serial_number()?;
    let mut name = DistinguishedName::new();
    // With a part of the serial number, so that two servers' CAs can be told apart in a log.
    name.push(DnType::CommonName, format!("banger CA {}", hex::encode(&serial.to_bytes()[..4])));
    let mut params = params(name, serial, earlier(now, BACKDATE), later(now, CA_VALIDITY));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(
    name: DistinguishedName,
    serial: SerialNumber,
    begins_at: Timestamp,
    expires_at: Timestamp,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.serial_number = Some(serial);
    let seconds = |at: Timestamp| {
        // Before 1970 there are no certificates.
        Duration::from_secs(u64::try_from(at.as_second()).unwrap_or(0))
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(begins_at);
    params.not_after = epoch + seconds(expires_at);
    params
}

/// 16 random bytes, positive as RFC 5280 (section 4.1.2.2) has it.
fn serial_number() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(CaError::Randomness)?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn read_key(path: &Path) -> Result<KeyPair, CaError> {
    let pem = secrets::read(path).map_err(CaError::Key)?;
    KeyPair::from_pem(&String::from_utf8_lossy(&pem))
        .map_err(|source| CaError::Unusable { path: path.to_owned(), source })
}

/// Makes a file that was not there, whole and on disk, or not at all.
fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), CaError> {
    let new = path.with_extension("new");
    // Left by a start that was cut off; nobody has used it.
    match fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(during("remove", &new)(source)),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)
        .map_err(during("make", &new))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(during("write", &new))?;
    // A hard link never replaces what is there, as a rename would.
    fs::hard_link(&new, path).map_err(during("make", path))?;
    fs::remove_file(&new).map_err(during("remove", &new))?;
    if let Some(directory) = path.parent() {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(during("sync", directory))?;
    }
    Ok(())
}

fn during(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::File { what, path, source }
}

#[cfg(test)]
mod tests;
