//! The keys that the provider signs with, as it shows them, and what it signs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

/// How it signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Rs256,
    Es256,
    EdDsa,
}

#[derive(Debug)]
enum Key {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
}

/// A key with its name.
#[derive(Debug)]
pub struct Signer {
    name: String,
    key: Key,
}

/// The RSA key of this test, which is good for nothing else: ring makes none.
const RSA: &str = include_str!("rsa.pk8.txt");

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// A key of this kind: the RSA key is always the same.
    ///
    /// # Panics
    /// When none can be made.
    #[must_use]
    pub fn new(way: Way, name: &str) -> Self {
        let random = SystemRandom::new();
        let key = match way {
            Way::Rs256 => {
                let pkcs8 = STANDARD.decode(RSA.replace('\n', "")).expect("base64");
                Key::Rsa(Box::new(RsaKeyPair::from_pkcs8(&pkcs8).expect("a key")))
            }
            Way::Es256 => {
                let way = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pkcs8 = EcdsaKeyPair::generate_pkcs8(way, &random).expect("a key");
                let key = EcdsaKeyPair::from_pkcs8(way, pkcs8.as_ref(), &random);
                Key::Ec(Box::new(key.expect("a key")))
            }
            Way::EdDsa => {
                let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
                Key::Ed(Box::new(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key")))
            }
        };
        Self { name: name.to_owned(), key }
    }

    /// As it is shown to everybody.
    #[must_use]
    pub fn shown(&self) -> Value {
        let kid = &self.name;
        match &self.key {
            Key::Rsa(key) => {
                let public: PublicKeyComponents<Vec<u8>> = key.public().into();
                let (n, e) = (text(public.n), text(public.e));
                json!({"kty": "RSA", "alg": "RS256", "use": "sig", "kid": kid, "n": n, "e": e})
            }
            Key::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (text(&point[1..33]), text(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y})
            }
            Key::Ed(key) => {
                let x = text(key.public_key().as_ref());
                json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": kid, "x": x})
            }
        }
    }

    /// A token, with these members of its header beside or instead of the usual ones.
    ///
    /// # Panics
    /// When it can't be signed.
    #[must_use]
    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let alg = match self.key {
            Key::Rsa(_) => "RS256",
            Key::Ec(_) => "ES256",
            Key::Ed(_) => "EdDSA",
        };
        let mut whole = json!({"alg": alg, "typ": "JWT", "kid": self.name});
        if let (Some(whole), Some(header)) = (whole.as_object_mut(), header.as_object()) {
            whole.extend(header.clone());
        }
        let message = format!("{}.{}", text(whole.to_string()), text(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature)
                    .expect("signed");
                signature
            }
            Key::Ec(key) => {
                key.sign(&random, message.as_bytes()).expect("signed").as_ref().to_vec()
            }
            Key::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", text(signature))
    }
}
