//! Join tokens as text: `bj1.<id>.<secret>.<sha256 of the CA certificate>`, all hexadecimal.
//!
//! The id finds the row, the secret proves that the bearer was given it, and the fingerprint lets
//! the joining host know that it talks to the right server before it sends anything secret of its
//! own. Only the sha256 of the secret is ever stored.

use sha2::{Digest, Sha256};

const PREFIX: &str = "bj1";
const ID_LEN: usize = 16;
const SECRET_LEN: usize = 64;

/// A join token taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinTokenText {
    /// Public part, finds the row.
    pub id: String,
    secret: String,
    /// sha256 of the CA certificate, DER, in hexadecimal digits.
    pub ca_sha256: String,
}

/// A text that is no join token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a join token of the form bj1.<id>.<secret>.<ca sha256>")]
pub struct ParseTokenError;

impl JoinTokenText {
    /// From randomness and the fingerprint of the CA.
    pub fn new(id: [u8; 8], secret: [u8; 32], ca_sha256: [u8; 32]) -> Self {
        Self { id: hex::encode(id), secret: hex::encode(secret), ca_sha256: hex::encode(ca_sha256) }
    }

    /// Takes a text apart.
    ///
    /// # Errors
    /// When it has not the form of a token.
    pub fn parse(text: &str) -> Result<Self, ParseTokenError> {
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or(ParseTokenError);
        let (prefix, id, secret, ca_sha256) = (part()?, part()?, part()?, part()?);
        let is_hex = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        if prefix != PREFIX
            || !is_hex(id, ID_LEN)
            || !is_hex(secret, SECRET_LEN)
            || !is_hex(ca_sha256, SECRET_LEN)
            || parts.next().is_some()
        {
            return Err(ParseTokenError);
        }
        Ok(Self { id: id.to_owned(), secret: secret.to_owned(), ca_sha256: ca_sha256.to_owned() })
    }

    /// What is stored of the secret.
    pub fn secret_sha256(&self) -> [u8; 32] {
        Sha256::digest(self.secret.as_bytes()).into()
    }

    /// The token as it is given out. A secret: not for a log.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}.{}.{}.{}", self.id, self.secret, self.ca_sha256)
    }
}

impl std::fmt::Debug for JoinTokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{PREFIX}.{}.…", self.id)
    }
}
