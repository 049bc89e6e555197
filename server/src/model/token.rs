//! Tokens that were made by calls, as they are stored: never a secret.

use jiff::Timestamp;

use super::caller::{ANONYMOUS, LOCAL, Rights, SERVER};
use super::names::check_name;

/// How each token begins, so that one that is found somewhere is known as one.
pub const PREFIX: &str = "bgr_";

/// Names that the history has for the server itself and for callers without a token.
const OWN_NAMES: [&str; 3] = [ANONYMOUS, SERVER, LOCAL];

/// A token: who holds it, and for how long it is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// How its text begins: [`PREFIX`] and 16 hexadecimal digits.
    pub id: String,
    /// Of its whole text.
    pub sha256: [u8; 32],
    /// Unique among those of the fleet, or of one project: [`Self::principal`] is the principal.
    pub name: String,
    pub rights: Rights,
    /// Who made it.
    pub created_by: String,
    /// The id of the token that it was made with, where that was made by a call. Names are given
    /// anew when they are free, ids are not.
    pub created_by_token: Option<String>,
    /// The id of the token that it is taken back with: the one that it was made with, or, once that
    /// one is gone without it, the one that that one went with.
    pub goes_with: Option<String>,
    pub created_at: Timestamp,
    /// Not good from then on.
    pub expires_at: Timestamp,
    /// When a call was last let in by it, as far as it was written down.
    pub last_used_at: Option<Timestamp>,
}

/// Checks the name of who is to hold a token.
///
/// # Errors
/// The rule that it breaks.
pub fn check_principal(name: &str) -> Result<(), &'static str> {
    check_name(name)?;
    if is_own_name(name) {
        return Err("is what the history calls the server, or callers without a token");
    }
    Ok(())
}

/// Whether the history could mean the server by this, callers without a token, or a token's id,
/// however it is spelled.
pub fn is_own_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    OWN_NAMES.contains(&name.as_str()) || name.starts_with(PREFIX)
}

/// Whether this is the whole of an id, and no name.
pub fn is_id(text: &str) -> bool {
    let digits = text.strip_prefix(PREFIX);
    digits.is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

impl TokenRecord {
    /// Whether the server made it by itself: the first admin's.
    pub fn is_the_servers(&self) -> bool {
        self.created_by == SERVER && self.created_by_token.is_none()
    }

    /// Who holds it, as the history and the audit say it: `ci`, or `shop/ci` of the project `shop`.
    /// No name of the fleet's has a slash.
    pub fn principal(&self) -> String {
        match self.rights.project() {
            None => self.name.clone(),
            Some(project) => format!("{project}/{}", self.name),
        }
    }

    /// Whether this is its principal.
    pub fn is_of(&self, principal: &str) -> bool {
        match (self.rights.project(), principal.split_once('/')) {
            (None, None) => self.name == principal,
            (Some(own), Some((project, name))) => own.as_str() == project && self.name == name,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Whether it is good at that time.
    pub fn is_good(&self, at: Timestamp) -> bool {
        at < self.expires_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_servers_own_are_nobodys() {
        for name in OWN_NAMES {
            assert!(check_principal(name).is_err(), "{name}");
        }
        // What the history calls a host has a space in it.
        assert!(check_principal("host b0").is_err());
        assert!(check_principal("alice").is_ok());
    }

    #[test]
    fn an_id_is_no_name_and_a_name_is_no_id() {
        let id = "bgr_0123456789abcdef";
        assert!(is_id(id) && check_principal(id).is_err());
        for text in ["alice", "bgr_", "bgr_0123456789ABCDEF", "bgr_0123456789abcdef0"] {
            assert!(!is_id(text), "{text}");
        }
    }
}
