//! Every kernel-visible name, as a pure function of the instance tag and the VM's id.
//!
//! So everything the agent made can be found again with no file at all. Driven by the plan, by
//! adoption and by the orphan sweep; nothing else makes up a name. What can go wrong: a name too
//! long for the kernel. The lengths are proven beside each function and by a test.
//!
//! Changing any of these names orphans what an earlier version made: teach [`Naming`] to find the
//! old ones too. A test holds each name.

use std::fmt;
use std::str::FromStr;

use banger_proto::ids::VmId;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::host::{BackingFile, DmName, GuestKey, ImageName, JailId, LinkName, PathPart, TapName};

/// Files in a VM's scratch directory.
pub mod file {
    /// The last accepted assignment.
    pub const RECORD: &str = "vm.json";
    /// Hints to the kernel objects.
    pub const HANDLES: &str = "handles.json";
    /// The store of what the guest wrote over its root image.
    pub const COW: &str = "root.cow";
    /// The root disk, where it is a copy of its image.
    pub const ROOT: &str = "root.img";
    /// The second disk.
    pub const WORK: &str = "work.img";
    /// What the guest was told, as a disk, where it has no metadata service.
    pub const SEED: &str = "seed.img";
}

/// Two characters that keep several agents on one machine apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceTag([u8; 2]);

/// A text that is no instance tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an instance tag is one letter a-z and then one of a-z and 0-9")]
pub struct BadTag;

impl InstanceTag {
    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("both bytes were checked to be ASCII")
    }
}

impl Default for InstanceTag {
    fn default() -> Self {
        Self(*b"bg")
    }
}

impl FromStr for InstanceTag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        match *text.as_bytes() {
            [a @ b'a'..=b'z', b @ (b'a'..=b'z' | b'0'..=b'9')] => Ok(Self([a, b])),
            _ => Err(BadTag),
        }
    }
}

impl TryFrom<String> for InstanceTag {
    type Error = BadTag;

    fn try_from(text: String) -> Result<Self, BadTag> {
        text.parse()
    }
}

impl From<InstanceTag> for String {
    fn from(tag: InstanceTag) -> Self {
        tag.as_str().to_owned()
    }
}

impl fmt::Display for InstanceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for InstanceTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Makes the names of one instance's objects, and reads them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Naming {
    tag: InstanceTag,
}

impl Naming {
    /// For one instance.
    #[must_use]
    pub const fn new(tag: InstanceTag) -> Self {
        Self { tag }
    }

    /// The tag of the instance.
    #[must_use]
    pub const fn tag(self) -> InstanceTag {
        self.tag
    }

    /// All names of one VM.
    #[must_use]
    pub fn vm(self, id: VmId) -> VmNames {
        let uuid = id.to_string();
        VmNames {
            dir: PathPart::new(&uuid).expect("a UUID is 36 of [0-9a-f-], first a digit or letter"),
            jail: JailId::new(&uuid).expect("a UUID is 36 of [0-9a-f-], at most 64"),
            tap: TapName::new(format!("{}{}", self.tap_prefix(), short_hash(&uuid)))
                .expect("2 of the tag, 1 dash, 12 of base 32: 15 in all"),
            snapshot: DmName::new(format!("{}{uuid}", self.snapshot_prefix()))
                .expect("7 of \"banger-\", 2 of the tag, 1 dash, 36 of the id: 46 of 127"),
            rules: GuestKey::new(&uuid).expect("a UUID is 36 of [0-9a-f-], at most 64"),
        }
    }

    /// What the names of our taps begin with.
    #[must_use]
    pub fn tap_prefix(self) -> String {
        format!("{}-", self.tag)
    }

    /// What the names of our snapshots begin with.
    #[must_use]
    pub fn snapshot_prefix(self) -> String {
        format!("banger-{}-", self.tag)
    }

    /// The comment on a guest's rules.
    #[must_use]
    pub fn rule_mark(self, key: &GuestKey) -> String {
        format!("banger:{}:{key}", self.tag)
    }

    /// The bridge of the guests.
    #[must_use]
    pub fn bridge(self) -> LinkName {
        LinkName::new(format!("{}br0", self.tag)).expect("2 of the tag and 3: 5 of 15")
    }

    /// The VM a snapshot belongs to; `None` when it is not of this instance.
    #[must_use]
    pub fn vm_of_snapshot(self, name: &DmName) -> Option<VmId> {
        name.as_str().strip_prefix(&self.snapshot_prefix())?.parse().ok()
    }

    /// Whether a tap's name has the form of banger's. Whose it is can only be told by making the
    /// names of the VMs there are.
    #[must_use]
    pub fn is_tap(self, name: &TapName) -> bool {
        name.as_str().strip_prefix(&self.tap_prefix()).is_some_and(|rest| {
            rest.len() == HASH_CHARACTERS && rest.bytes().all(|b| BASE32.contains(&b))
        })
    }
}

/// The VM a jail belongs to.
#[must_use]
pub fn vm_of_jail(id: &JailId) -> Option<VmId> {
    id.as_str().parse().ok()
}

/// The VM a guest's rules belong to.
#[must_use]
pub fn vm_of_rules(key: &GuestKey) -> Option<VmId> {
    key.as_str().parse().ok()
}

/// The VM a scratch directory belongs to.
#[must_use]
pub fn vm_of_dir(dir: &PathPart) -> Option<VmId> {
    dir.as_str().parse().ok()
}

/// The names of one VM's objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmNames {
    /// Its scratch directory.
    pub dir: PathPart,
    /// Its jail.
    pub jail: JailId,
    /// Its tap.
    pub tap: TapName,
    /// Its root disk.
    pub snapshot: DmName,
    /// What marks its firewall rules.
    pub rules: GuestKey,
}

impl VmNames {
    /// A file in the scratch directory, by one of the names in [`mod@file`].
    #[must_use]
    pub fn file(&self, name: &'static str) -> PathPart {
        part(name)
    }

    /// What the copy-on-write loop device stands on.
    #[must_use]
    pub fn cow(&self) -> BackingFile {
        BackingFile::Scratch { dir: self.dir.clone(), file: part(file::COW) }
    }

    /// The root disk's file, where it is a copy of its image.
    #[must_use]
    pub fn root_copy(&self) -> BackingFile {
        BackingFile::Scratch { dir: self.dir.clone(), file: part(file::ROOT) }
    }

    /// The disk with what the guest is told.
    #[must_use]
    pub fn seed(&self) -> BackingFile {
        BackingFile::Scratch { dir: self.dir.clone(), file: part(file::SEED) }
    }

    /// The second disk's file.
    #[must_use]
    pub fn work(&self) -> BackingFile {
        BackingFile::Scratch { dir: self.dir.clone(), file: part(file::WORK) }
    }
}

/// What the shared loop device of an image stands on.
#[must_use]
pub const fn base(image: ImageName) -> BackingFile {
    BackingFile::Image(image)
}

/// Names of files and devices inside a jail, as the VMM is told them.
pub mod in_jail {
    /// The kernel.
    pub const KERNEL: &str = "kernel";
    /// The initial RAM disk.
    pub const INITRD: &str = "initrd";
    /// The root disk's block device.
    pub const ROOT: &str = "rootfs";
    /// The second disk.
    pub const WORK: &str = "work";
    /// The disk with what the guest was told.
    pub const SEED: &str = "seed";
}

/// A file name that is one of our constants.
///
/// # Panics
/// When it is not a valid one, which a test of this file rules out for all of them.
#[must_use]
pub fn part(name: &'static str) -> PathPart {
    PathPart::new(name).expect("the constants of this file are valid file names")
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const HASH_CHARACTERS: usize = 12;

/// The first 60 bits of the text's SHA-256 in base 32 (RFC 4648, lower case). Among a million VMs
/// of one host two would share a name with a probability of one in two million; a name that is
/// taken is an error, never shared.
fn short_hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let mut bits = 0_u64;
    for byte in &digest[..8] {
        bits = bits << 8 | u64::from(*byte);
    }
    (0..HASH_CHARACTERS)
        .map(|i| {
            let five = bits >> (64 - 5 * (i + 1)) & 31;
            char::from(BASE32[five as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests;
