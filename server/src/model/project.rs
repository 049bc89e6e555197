//! Projects: the border between people on one fleet.
//!
//! Every VM, image and upload belongs to one, for good; names are unique within it. Who sees what
//! of which project is decided in [`super::access`]. The project [`ProjectName::default`] is always
//! there and is no row: whoever asks for no other never hears of projects.

use std::fmt;
use std::sync::{Arc, LazyLock};

use jiff::Timestamp;

use super::host::Resources;
use super::names::check_name;

/// What the project is called that is always there.
pub const DEFAULT: &str = "default";

static DEFAULT_NAME: LazyLock<Arc<str>> = LazyLock::new(|| DEFAULT.into());

/// The name of a project: a DNS label. Whether there is such a project is the ledger's to say.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectName(Arc<str>);

impl ProjectName {
    /// A name as somebody has written it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text == DEFAULT {
            return Ok(Self::default());
        }
        check_name(text)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_default(&self) -> bool {
        *self.0 == *DEFAULT
    }
}

/// The project that is always there.
impl Default for ProjectName {
    fn default() -> Self {
        Self(Arc::clone(&DEFAULT_NAME))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name in a project: what finds a living VM, or an image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    pub project: ProjectName,
    pub name: String,
}

impl Named {
    pub fn new(project: &ProjectName, name: &str) -> Self {
        Self { project: project.clone(), name: name.to_owned() }
    }

    /// One as somebody has written it: `name`, which is of their own project `home`, or
    /// `project/name`. What is behind the slash is not looked at.
    ///
    /// # Errors
    /// The rule that the name of the project breaks.
    pub fn parse(text: &str, home: &ProjectName) -> Result<Self, &'static str> {
        match text.split_once('/') {
            None => Ok(Self::new(home, text)),
            Some((project, name)) => Ok(Self::new(&ProjectName::parse(project)?, name)),
        }
    }

    /// As it is written where nobody's own project is meant: `name` is of `default`.
    pub fn text(&self) -> String {
        match self.project.is_default() {
            true => self.name.clone(),
            false => format!("{}/{}", self.project, self.name),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Debug form: a name from outside may hold anything.
        write!(f, "{:?}", self.text())
    }
}

/// A project that was made: a row of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRecord {
    pub name: ProjectName,
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    pub quota: Quota,
}

/// What a project may come to; 0: nothing bounds that, or what the server is set to bound it by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    pub vms: u64,
    pub vcpus: u64,
    pub memory_mib: u64,
    pub disk_mib: u64,
    /// What images and uploads take on the server.
    pub image_mib: u64,
    /// Calls that watch or wait, at a time; 0: `limits.project_watches`.
    pub watches: u64,
    /// Calls that carry bytes of guests and images, at a time; 0: `limits.project_streams`.
    pub streams: u64,
    /// 0: `limits.project_calls_per_second`.
    pub calls_per_second: u64,
}

/// What every project may have at a time whose quota says nothing else; 0: as much as it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectBounds {
    pub watches: u64,
    pub streams: u64,
    pub calls_per_second: u32,
}

/// What of a quota would be passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverQuota {
    pub what: &'static str,
    pub allowed: u64,
    /// So much is used of it, by others than what was asked for.
    pub used: u64,
    /// So much was asked for.
    pub wanted: u64,
}

impl Quota {
    /// How many numbers it has.
    pub const NUMBERS: usize = 8;

    /// The quota that bounds by both: of each number the smaller, where one bounds it at all.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let smaller = |a: u64, b: u64| match (a, b) {
            (0, bound) | (bound, 0) => bound,
            (a, b) => a.min(b),
        };
        let (own, other) = (self.numbers(), other.numbers());
        Self::of_numbers(std::array::from_fn(|at| smaller(own[at], other[at])))
    }

    /// All of it, in one order.
    pub fn numbers(self) -> [u64; Self::NUMBERS] {
        let Self { vms, vcpus, memory_mib, disk_mib, .. } = self;
        let Self { image_mib, watches, streams, calls_per_second, .. } = self;
        [vms, vcpus, memory_mib, disk_mib, image_mib, watches, streams, calls_per_second]
    }

    /// Back from its numbers.
    pub fn of_numbers(numbers: [u64; Self::NUMBERS]) -> Self {
        let [vms, vcpus, memory_mib, disk_mib, image_mib, watches, streams, calls_per_second] =
            numbers;
        Self { vms, vcpus, memory_mib, disk_mib, image_mib, watches, streams, calls_per_second }
    }

    /// Whether so many bytes more fit beside what images take already.
    ///
    /// # Errors
    /// They would be too many.
    pub fn check_images(self, used: u64, wanted: u64) -> Result<(), OverQuota> {
        let allowed = self.image_mib.saturating_mul(1 << 20);
        if allowed == 0 || wanted == 0 || used.saturating_add(wanted) <= allowed {
            return Ok(());
        }
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let (what, allowed) = ("MiB of images and uploads", self.image_mib);
        Err(OverQuota { what, allowed, used: mib(used), wanted: mib(wanted) })
    }

    /// Whether a VM that counts for `wants`, where it did for `had`, fits beside what others of the
    /// project use. What does not grow always does: a quota that was made smaller takes nothing
    /// away.
    ///
    /// # Errors
    /// What would be passed, the first.
    pub fn check(
        self,
        others: Resources,
        had: Resources,
        wants: Resources,
    ) -> Result<(), OverQuota> {
        let of = |r: Resources| [r.guests.into(), r.vcpus.into(), r.memory_mib, r.disk_mib];
        let allowed = [self.vms, self.vcpus, self.memory_mib, self.disk_mib];
        let whats = ["VMs", "vCPUs", "MiB of memory", "MiB of disk"];
        let (others, had, wants): ([u64; 4], [u64; 4], [u64; 4]) = (of(others), of(had), of(wants));
        let rows = whats.into_iter().zip(allowed).zip(others).zip(had).zip(wants);
        for ((((what, allowed), used), had), wanted) in rows {
            if allowed > 0 && wanted > had && used.saturating_add(wanted) > allowed {
                return Err(OverQuota { what, allowed, used, wanted });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_its_own_project_unless_it_says_another() {
        let home = ProjectName::parse("shop").expect("a label");
        for (text, project, name) in
            [("web", "shop", "web"), ("lab/web", "lab", "web"), ("default/web", "default", "web")]
        {
            let named = Named::parse(text, &home).expect("written well");
            assert_eq!((named.project.as_str(), named.name.as_str()), (project, name), "{text}");
        }
        assert!(Named::parse("/web", &home).is_err() && Named::parse("A/web", &home).is_err());
        // A second slash is in the name, whose own rules refuse it.
        assert_eq!(Named::parse("a/b/c", &home).map(|named| named.name), Ok("b/c".to_owned()));
    }

    #[test]
    fn a_quota_bounds_what_grows_and_nothing_that_it_does_not_name() {
        let of = |guests, vcpus| Resources { guests, vcpus, ..Resources::default() };
        let quota = Quota { vms: 2, vcpus: 8, ..Quota::default() };
        let none = Resources::default();
        assert_eq!(quota.check(of(1, 4), none, of(1, 4)), Ok(()));
        let passed = |what, allowed, used, wanted| Err(OverQuota { what, allowed, used, wanted });
        assert_eq!(quota.check(of(2, 4), none, of(1, 1)), passed("VMs", 2, 2, 1));
        assert_eq!(quota.check(of(1, 5), none, of(1, 4)), passed("vCPUs", 8, 5, 4));
        // It was made smaller since: what is there stays, and may shrink.
        assert_eq!(quota.check(of(9, 90), of(1, 4), of(1, 4)), Ok(()));
        assert_eq!(quota.check(of(9, 90), of(1, 4), of(1, 5)), passed("vCPUs", 8, 90, 5));
        let memory = Resources { memory_mib: u64::MAX, ..of(1, 1) };
        assert_eq!(quota.check(none, none, memory), Ok(()), "nothing bounds memory");
    }

    #[test]
    fn of_two_quotas_the_smaller_number_bounds_and_none_is_no_bound() {
        let one = Quota::of_numbers([2, 0, 9, 0, 0, 7, 0, 9]);
        let other = Quota::of_numbers([3, 4, 8, 0, 5, 0, 0, 4]);
        let both = Quota::of_numbers([2, 4, 8, 0, 5, 7, 0, 4]);
        assert_eq!((one.and(other), other.and(one)), (both, both));
        assert_eq!(both.numbers(), [2, 4, 8, 0, 5, 7, 0, 4]);
    }

    #[test]
    fn bytes_of_images_are_bounded_to_the_last_one() {
        let quota = Quota { image_mib: 2, ..Quota::default() };
        assert_eq!(quota.check_images(1 << 20, 1 << 20), Ok(()));
        let what = "MiB of images and uploads";
        let passed = OverQuota { what, allowed: 2, used: 1, wanted: 2 };
        assert_eq!(quota.check_images(1 << 20, (1 << 20) + 1), Err(passed));
        assert_eq!(quota.check_images(u64::MAX, 0), Ok(()), "it takes nothing");
        assert!(quota.check_images(u64::MAX, 1).is_err());
        assert_eq!(Quota::default().check_images(u64::MAX, u64::MAX), Ok(()));
    }

    #[test]
    fn a_project_is_called_as_a_vm_may_be() {
        for bad in ["", "Shop", "-shop", "shop/web", "a b", "0190f5e1-0000-7000-8000-000000000000"]
        {
            assert!(ProjectName::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(ProjectName::parse("default"), Ok(ProjectName::default()));
    }
}
