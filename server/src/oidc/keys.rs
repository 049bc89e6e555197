//! The keys that a provider shows (JWKS, RFC 7517): read as a whole, or refused as a whole.
//!
//! A set that is larger than any provider needs, has the same name for two keys, or has a secret in
//! it is refused: whoever sends such is not the provider, or has lost what it signs with. Keys that
//! are for something else, or of a kind that is not known here, are passed over.

use std::collections::BTreeSet;

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::KeyPrint;
use super::claims::NotVouched;

/// Most keys of a set.
const MOST_KEYS: usize = 64;

/// The longest name of a key.
const MOST_NAME: usize = 256;

/// The smallest and the largest RSA key, in bytes of its modulus.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A set of keys is not gone by.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    #[error("it is no JSON Web Key Set: {0}")]
    Malformed(String),
    #[error("it has {0} keys; at most {MOST_KEYS} are taken")]
    TooMany(usize),
    #[error("key number {0} has a secret in it")]
    Secret(usize),
    #[error("key number {number} {why}")]
    Key {
        /// From 1 on.
        number: usize,
        why: &'static str,
    },
    #[error("two of its keys have the same name")]
    SameName,
    #[error("it has no key that can be gone by")]
    None,
}

/// A key by which signatures are verified.
#[derive(Clone)]
pub struct ShownKey {
    name: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) decoding: DecodingKey,
    pub(super) print: KeyPrint,
}

impl std::fmt::Debug for ShownKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShownKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a provider shows.
#[derive(Debug, Clone)]
pub struct KeySet(Vec<ShownKey>);

#[derive(Deserialize)]
struct Set {
    keys: Vec<Map<String, Value>>,
}

impl KeySet {
    /// Reads a set, of which keys for these algorithms are gone by.
    ///
    /// # Errors
    /// Nothing of it is.
    pub fn read(bytes: &[u8], allowed: &[Algorithm]) -> Result<Self, KeysRefused> {
        let set: Set = serde_json::from_slice(bytes).map_err(|error| {
            // Where, and not what: it may be anything.
            KeysRefused::Malformed(format!("line {} column {}", error.line(), error.column()))
        })?;
        if set.keys.len() > MOST_KEYS {
            return Err(KeysRefused::TooMany(set.keys.len()));
        }
        let mut keys = Vec::new();
        for (number, key) in (1..).zip(&set.keys) {
            keys.extend(one(number, key, allowed)?);
        }
        let names: BTreeSet<_> = keys.iter().map(|key| &key.name).collect();
        match (keys.is_empty(), names.len() == keys.len()) {
            (true, _) => Err(KeysRefused::None),
            (false, false) => Err(KeysRefused::SameName),
            (false, true) => Ok(Self(keys)),
        }
    }

    /// The key that a token names; a token that names none means the only one.
    ///
    /// # Errors
    /// There is none, or it is for another algorithm.
    pub fn find(&self, name: Option<&str>, by: Algorithm) -> Result<&ShownKey, NotVouched> {
        let found = match (name, &self.0[..]) {
            (None, [only]) => Some(only),
            (None, _) => return Err(NotVouched::Malformed("the name of its key")),
            (Some(name), all) => all.iter().find(|key| key.name.as_deref() == Some(name)),
        };
        let key = found.ok_or(NotVouched::UnknownKey)?;
        if key.algorithms.contains(&by) { Ok(key) } else { Err(NotVouched::Algorithm) }
    }

    /// Whether this is one of them.
    pub fn has(&self, print: &KeyPrint) -> bool {
        self.0.iter().any(|key| key.print == *print)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// One key of a set; none where it is for something else.
fn one(
    number: usize,
    key: &Map<String, Value>,
    allowed: &[Algorithm],
) -> Result<Option<ShownKey>, KeysRefused> {
    let wrong = |why| KeysRefused::Key { number, why };
    let text = |name: &'static str, why: &'static str| match key.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(wrong(why)),
    };
    let kind = text("kty", "has a kty that is no text")?.ok_or_else(|| wrong("has no kty"))?;
    // `k` is a symmetric key, and each of the others is of a private one (RFC 7518 section 6).
    if kind == "oct"
        || ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|s| key.contains_key(*s))
    {
        return Err(KeysRefused::Secret(number));
    }
    let name = text("kid", "has a kid that is no text")?;
    if name.is_some_and(|name| name.is_empty() || name.len() > MOST_NAME) {
        return Err(wrong("has a kid that is empty or too long"));
    }
    let signs = match text("use", "has a use that is no text")? {
        None | Some("sig") => true,
        Some(_) => false,
    };
    let named = text("alg", "has an alg that is no text")?;
    let curve = text("crv", "has a crv that is no text")?;
    if !signs {
        return Ok(None);
    }
    let bytes = |name: &'static str, why: &'static str| -> Result<Vec<u8>, KeysRefused> {
        use base64::Engine as _;
        let text = text(name, why)?.ok_or_else(|| wrong(why))?;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong(why))
    };
    use Algorithm as A;
    let (able, decoding, made_of): (&[A], DecodingKey, Vec<Vec<u8>>) = match (kind, curve) {
        ("RSA", _) => {
            let (n, e) = (bytes("n", "has no modulus")?, bytes("e", "has no exponent")?);
            if !RSA_BYTES.contains(&n.len()) || e.len() > 8 {
                return Err(wrong("is an RSA key of a size that is not taken"));
            }
            let able = &[A::RS256, A::RS384, A::RS512, A::PS256, A::PS384, A::PS512];
            (able, DecodingKey::from_rsa_raw_components(&n, &e), vec![n, e])
        }
        ("EC", Some(curve @ ("P-256" | "P-384"))) => {
            let (x, y) = (bytes("x", "has no x")?, bytes("y", "has no y")?);
            let (able, size): (&[A], _) =
                if curve == "P-256" { (&[A::ES256], 32) } else { (&[A::ES384], 48) };
            if x.len() != size || y.len() != size {
                return Err(wrong("has a point of a wrong length"));
            }
            let point = [&[4], &x[..], &y[..]].concat();
            (able, DecodingKey::from_ec_der(&point), vec![point])
        }
        ("OKP", Some("Ed25519")) => {
            let x = bytes("x", "has no x")?;
            if x.len() != 32 {
                return Err(wrong("has a point of a wrong length"));
            }
            (&[A::EdDSA], DecodingKey::from_ed_der(&x), vec![x])
        }
        (_, _) => return Ok(None),
    };
    let for_this = |algorithm: &&A| match named {
        // One that is not known here is none of those that are allowed.
        Some(named) => named.parse::<A>().is_ok_and(|named| named == **algorithm),
        None => true,
    };
    let algorithms: Vec<A> = able
        .iter()
        .filter(|algorithm| allowed.contains(algorithm))
        .filter(for_this)
        .copied()
        .collect();
    if algorithms.is_empty() {
        return Ok(None);
    }
    let mut print = Sha256::new_with_prefix(kind);
    for part in
        [name.unwrap_or_default().as_bytes()].into_iter().chain(made_of.iter().map(|p| &p[..]))
    {
        print.update((part.len() as u64).to_be_bytes());
        print.update(part);
    }
    let name = name.map(str::to_owned);
    Ok(Some(ShownKey { name, algorithms, decoding, print: print.finalize().into() }))
}

#[cfg(test)]
mod tests;
