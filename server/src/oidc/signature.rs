//! Verifies signatures with the cryptography that TLS has here too: the one place that does.
//!
//! The library of JSON Web Tokens asks for it by a provider of the process, and brings none.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureError, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Validation};
use ring::signature as by;
use serde_json::{Map, Value};

use super::claims::NotVouched;

static RING: CryptoProvider = CryptoProvider {
    signer_factory: no_signer,
    verifier_factory: verifier,
    key_utils: KeyUtils::new_unimplemented(),
};

/// Has the library verify by this. Called again it changes nothing.
pub(super) fn install() {
    // Somebody was here before: the same provider, since nothing else in this program has one.
    let _ = RING.install_default();
}

/// The claims of a token whose signature is good. When it is good is not looked at here: the
/// library has a clock of its own.
pub(super) fn verified(
    token: &str,
    algorithm: Algorithm,
    key: &DecodingKey,
) -> Result<Map<String, Value>, NotVouched> {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let data = jsonwebtoken::decode::<Map<String, Value>>(token, key, &validation);
    data.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => NotVouched::Signature,
        ErrorKind::InvalidAlgorithm => NotVouched::Algorithm,
        _ => NotVouched::Malformed("its claims"),
    })
}

/// A key with the way in which it verifies.
struct RingVerifier {
    algorithm: Algorithm,
    way: Way,
    key: DecodingKeyKind,
}

/// By an RSA key, or by one that is one string of bytes.
enum Way {
    Rsa(&'static by::RsaParameters),
    Bytes(&'static dyn by::VerificationAlgorithm),
}

fn no_signer(_: &Algorithm, _: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    Err(ErrorKind::UnsupportedAlgorithm.into())
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    let way = match algorithm {
        Algorithm::RS256 => Way::Rsa(&by::RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Way::Rsa(&by::RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Way::Rsa(&by::RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Way::Rsa(&by::RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Way::Rsa(&by::RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Way::Rsa(&by::RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 => Way::Bytes(&by::ECDSA_P256_SHA256_FIXED),
        Algorithm::ES384 => Way::Bytes(&by::ECDSA_P384_SHA384_FIXED),
        Algorithm::EdDSA => Way::Bytes(&by::ED25519),
        // What needs a secret of both sides is never verified.
        _ => return Err(ErrorKind::InvalidAlgorithm.into()),
    };
    if key.family() != algorithm.family() {
        return Err(ErrorKind::InvalidAlgorithm.into());
    }
    Ok(Box::new(RingVerifier { algorithm: *algorithm, way, key: key.kind().clone() }))
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let verified = match (&self.way, &self.key) {
            (Way::Rsa(way), DecodingKeyKind::RsaModulusExponent { n, e }) => {
                by::RsaPublicKeyComponents { n, e }.verify(way, message, signature)
            }
            (Way::Bytes(way), DecodingKeyKind::SecretOrDer(key)) => {
                by::UnparsedPublicKey::new(*way, key).verify(message, signature)
            }
            (Way::Rsa(_), DecodingKeyKind::SecretOrDer(_))
            | (Way::Bytes(_), DecodingKeyKind::RsaModulusExponent { .. }) => {
                return Err(SignatureError::new());
            }
        };
        verified.map_err(|_| SignatureError::new())
    }
}
