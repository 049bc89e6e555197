//! Typed ids and counters.
//!
//! Everything that names something in banger has its own type, so that a host can't be passed
//! where a VM is meant, and a revision can't be compared with a generation. Parsing is strict:
//! what comes from outside is refused here, before it reaches a path or a command.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that is no UUID in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a UUID of the form xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx in lower case")]
pub struct ParseIdError;

fn parse_canonical(text: &str) -> Result<Uuid, ParseIdError> {
    // Only the one form that `Display` prints: an id becomes part of paths and of kernel names,
    // where two spellings of one id would be two things. The nil UUID names nothing.
    let uuid = Uuid::try_parse(text).map_err(|_| ParseIdError)?;
    let mut canonical = [0; uuid::fmt::Hyphenated::LENGTH];
    if uuid.is_nil() || uuid.hyphenated().encode_lower(&mut canonical) != text {
        return Err(ParseIdError);
    }
    Ok(uuid)
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// From a UUID made elsewhere; time and randomness are the caller's.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_canonical(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

uuid_id! {
    /// A virtual machine, for ever: never changed, never reused.
    VmId
}

uuid_id! {
    /// A host of the fleet.
    HostId
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

counter! {
    /// Counts the changes of one VM's intent, from 1.
    Generation
}

counter! {
    /// Counts every change the server shows, over all VMs. Grows across restarts.
    Revision
}

counter! {
    /// Counts the lives of a server's store: raised when it is restored from a backup.
    Epoch
}

/// Orders intents for one VM: by epoch first, then by generation.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Version {
    /// Of the store the intent came from.
    pub epoch: Epoch,
    /// Of the intent.
    pub generation: Generation,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.generation)
    }
}

#[cfg(test)]
mod tests;
