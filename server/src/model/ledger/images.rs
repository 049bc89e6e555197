//! Deciding about images: names, and to which content a VM is pinned.
//!
//! A content is in use while the spec of a VM that is known refers to it, one that is being deleted
//! included: its host may still stand on it. A name is in use while a VM that is not being deleted
//! refers to the content it stands for.
//!
//! A name in a spec is that of an image of the VM's project or, where that has none, of a public
//! one, which are images of `default`. Nothing that is said of a name tells of an image that is
//! neither.
//!
//! A name that is no image of the server is a file on hosts, which are the fleet's: it is for VMs
//! of `default` alone, and never a file that the server has brought there. It is refused when every
//! host has said which files it has and none has this one; as long as one has not been heard, or
//! none has joined, nobody knows, and the VM is taken.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use banger_proto::ids::VmId;

use super::change::Rows;
use super::{Change, Decided, Edit, Ledger, Outcome, Refusal};
use crate::model::access::{Action, Of, Resource, authorize};
use crate::model::caller::Caller;
use crate::model::image::{Boot, ImageRecord, StoredKind, digest_of};
use crate::model::intent::{Desired, VmIntent};
use crate::model::project::{Named, ProjectName};
use crate::model::spec::{ImageRef, SpecProblem, VmSpec};

/// Most names of images.
const MAX_IMAGES: usize = 10_000;

/// Most of one project but `default`, which is the operators': the others have room.
const MAX_IMAGES_OF_PROJECT: usize = 1_000;

/// How many VMs an error names at most.
const NAMED: usize = 5;

/// Give a name to a content that is here.
#[derive(Debug, Clone)]
pub struct PutImage {
    /// Whether it is public is said beside it.
    pub image: Arc<ImageRecord>,
    /// Also when the name stands for other content.
    pub replace: bool,
    /// Whether it is to be public; `None`: as it is.
    pub public: Option<bool>,
}

/// Forget the name of an image that no VM uses by it.
#[derive(Debug, Clone)]
pub struct DeleteImage {
    pub image: Named,
}

/// How many names an error suggests at most, and of how many it looks for those that are near: this
/// is decided while others wait.
const SUGGESTED: usize = 3;
const MOST_COMPARED: usize = 2_000;

/// What the images of a project come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageUse {
    pub images: usize,
    /// How long their contents are together, one with two names twice.
    pub bytes: u64,
}

/// Names of images, and who uses which content.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageTable {
    names: Rows<ImageRecord>,
    of_projects: HashMap<ProjectName, ImageUse>,
    /// The names of those of `default` that are public.
    public: BTreeSet<String>,
    /// By digest and by project.
    users: HashMap<String, HashMap<ProjectName, BTreeSet<VmId>>>,
}

impl ImageTable {
    pub(super) fn apply(&mut self, edit: &Edit<ImageRecord>) {
        if let Some(old) = self.names.get(&edit.key())
            && let Some(its) = self.of_projects.get_mut(&old.project)
        {
            its.images -= 1;
            its.bytes -= old.size_bytes;
            if its.images == 0 {
                self.of_projects.remove(&old.project);
            }
        }
        let (Edit::Put(row) | Edit::Remove { last: row, .. }) = edit;
        if row.project.is_default() {
            match edit {
                Edit::Put(new) if new.public => drop(self.public.insert(new.name.clone())),
                Edit::Put(_) | Edit::Remove { .. } => drop(self.public.remove(&row.name)),
            }
        }
        if let Edit::Put(new) = edit {
            let its = self.of_projects.entry(new.project.clone()).or_default();
            its.images += 1;
            its.bytes = its.bytes.saturating_add(new.size_bytes);
        }
        self.names.apply(edit);
    }

    pub(super) fn book(&mut self, intent: &VmIntent) {
        for digest in intent.spec.stored_images() {
            let users = self.users.entry(digest.to_owned()).or_default();
            users.entry(intent.project.clone()).or_default().insert(intent.id);
        }
    }

    pub(super) fn release(&mut self, intent: &VmIntent) {
        for digest in intent.spec.stored_images() {
            let Some(users) = self.users.get_mut(digest) else { continue };
            if let Some(its) = users.get_mut(&intent.project) {
                its.remove(&intent.id);
                if its.is_empty() {
                    users.remove(&intent.project);
                }
            }
            if users.is_empty() {
                self.users.remove(digest);
            }
        }
    }
}

impl Ledger {
    /// Every image, by name.
    pub fn images(&self) -> impl Iterator<Item = &Arc<ImageRecord>> {
        self.images.names.iter()
    }

    /// Those that are there for this caller: of a project's the project's own and those that are
    /// public, so that no others are looked at.
    pub fn images_for(&self, caller: &Caller) -> Vec<&Arc<ImageRecord>> {
        let Some(own) = caller.only() else { return self.images().collect() };
        let its = self.images.names.from(&Named::new(own, ""));
        let its = its.take_while(|image| image.project == *own);
        let public = self.images.public.iter().filter(|_| !own.is_default());
        let public =
            public.filter_map(|name| self.image(&Named::new(&ProjectName::default(), name)));
        its.chain(public).collect()
    }

    pub fn image(&self, named: &Named) -> Option<&Arc<ImageRecord>> {
        self.images.names.get(named)
    }

    /// What a name means to a VM of this project: its own image, else a public one.
    pub fn image_for(&self, project: &ProjectName, name: &str) -> Option<&Arc<ImageRecord>> {
        let public = || {
            let shared = self.image(&Named::new(&ProjectName::default(), name));
            shared.filter(|image| image.public)
        };
        self.image(&Named::new(project, name)).or_else(public)
    }

    /// How many VMs use this content, of those that this caller sees.
    pub fn image_users(&self, sha256: &str, caller: &Caller) -> usize {
        let Some(users) = self.images.users.get(sha256) else { return 0 };
        match caller.only() {
            None => users.values().map(BTreeSet::len).sum(),
            Some(own) => users.get(own).map_or(0, BTreeSet::len),
        }
    }

    /// What the images of a project come to.
    pub fn image_use(&self, project: &ProjectName) -> ImageUse {
        self.images.of_projects.get(project).copied().unwrap_or_default()
    }

    /// Refuses an image that would take its project past its quota. `had`: what it takes already.
    fn check_image_quota(&self, image: &ImageRecord, had: u64) -> Result<(), Refusal> {
        let Some(project) = self.projects.get(&image.project) else { return Ok(()) };
        // One that becomes no longer takes nothing.
        let wanted = if image.size_bytes > had { image.size_bytes } else { 0 };
        let used = self.image_use(&image.project).bytes.saturating_sub(had);
        let refused =
            |passed| Refusal::QuotaExceeded { project: image.project.to_string(), passed };
        project.quota.check_images(used, wanted).map_err(refused)
    }

    /// The digests of every content that a name or a VM refers to.
    pub fn kept_contents(&self) -> BTreeSet<String> {
        let named = self.images.names.iter().map(|image| image.sha256.clone());
        named.chain(self.images.users.keys().cloned()).collect()
    }

    /// Those of these contents that neither a name nor a VM refers to.
    pub fn unused_contents(&self, mut digests: BTreeSet<String>) -> BTreeSet<String> {
        for image in self.images.names.iter() {
            digests.remove(&image.sha256);
        }
        digests.retain(|digest| !self.images.users.contains_key(digest));
        digests
    }

    pub(super) fn put_image(&self, put: &PutImage, caller: &Caller) -> Result<Decided, Refusal> {
        let PutImage { image, replace, public } = put;
        self.check_project(&image.project, caller)?;
        let known = self.image(&image.named());
        let was_public = known.is_some_and(|known| known.public);
        let public = public.unwrap_or(was_public);
        if public || was_public {
            check_public(&image.project, caller)?;
        }
        let image = &Arc::new(ImageRecord { public, ..ImageRecord::clone(image) });
        // What an image boots with stays unless the import says otherwise.
        let kept = known.filter(|known| image.boot.is_none() && known.kind == image.kind);
        let image = &match kept.and_then(|known| known.boot.clone()) {
            Some(boot) => Arc::new(ImageRecord { boot: Some(boot), ..ImageRecord::clone(image) }),
            None => Arc::clone(image),
        };
        self.check_boot(image)?;
        match known {
            Some(known)
                if known.sha256 == image.sha256
                    && known.kind == image.kind
                    && known.boot == image.boot =>
            {
                if public != was_public {
                    let image = Arc::new(ImageRecord { public, ..ImageRecord::clone(known) });
                    let outcome = Outcome::Image { image: Arc::clone(&image), changed: true };
                    return Ok(Decided { changes: vec![Change::put(image)], outcome });
                }
                let outcome = Outcome::Image { image: Arc::clone(known), changed: false };
                return Ok(Decided { changes: Vec::new(), outcome });
            }
            Some(known) if !*replace => {
                let (name, sha256) = (known.name.clone(), known.sha256.clone());
                return Err(Refusal::ImageNameTaken { name, sha256 });
            }
            Some(_) => {}
            None if self.images.names.len() >= MAX_IMAGES => {
                return Err(Refusal::LimitReached { what: "images", limit: MAX_IMAGES });
            }
            None if !image.project.is_default()
                && self.image_use(&image.project).images >= MAX_IMAGES_OF_PROJECT =>
            {
                let (what, limit) = ("images of a project", MAX_IMAGES_OF_PROJECT);
                return Err(Refusal::LimitReached { what, limit });
            }
            None => {}
        }
        self.check_image_quota(image, known.map_or(0, |known| known.size_bytes))?;
        let outcome = Outcome::Image { image: Arc::clone(image), changed: true };
        Ok(Decided { changes: vec![Change::put(Arc::clone(image))], outcome })
    }

    /// Whether what an image is to be booted with can be that. A name that is no image of the
    /// server is a file of the hosts, as in a spec.
    fn check_boot(&self, image: &ImageRecord) -> Result<(), Refusal> {
        let Some(boot) = &image.boot else { return Ok(()) };
        let mut problems = Vec::new();
        if image.kind != StoredKind::Root {
            let why =
                format!("is for root file systems; {:?} is {}", image.name, image.kind.noun());
            problems.push(SpecProblem::new("boot", why));
        }
        for (field, name, wanted) in boot.images() {
            let found = self.image_for(&image.project, name);
            let wrong = found.filter(|named| named.kind != wanted);
            problems.extend(wrong.map(|named| wrong_kind(field.to_owned(), named, wanted)));
            // What everybody may boot has to be there for everybody.
            if image.public && !found.is_some_and(|named| named.public) {
                let why = format!("is {name:?}, which is no public image, and this one is to be");
                problems.push(SpecProblem::new(field, why));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Refusal::InvalidFields(problems)) }
    }

    pub(super) fn delete_image(&self, named: &Named, caller: &Caller) -> Result<Decided, Refusal> {
        let seen =
            self.image(named).filter(|image| caller.only().is_none_or(|own| image.is_for(own)));
        let image = seen.ok_or_else(|| Refusal::ImageNotFound { name: named.text() })?;
        if image.public {
            // VMs of others stand on it, and who they are only callers of the fleet may know.
            authorize(caller, Action::Change, Resource::PublicImage, Of::Any)
                .map_err(Refusal::NotPermitted)?;
        }
        let name = image.name.as_str();
        let means = |project: &ProjectName| {
            self.image_for(project, name).is_some_and(|meant| Arc::ptr_eq(meant, image))
        };
        let carriers: Vec<String> = self
            .images()
            .filter(|other| {
                other.boot.iter().flat_map(Boot::images).any(|(_, carried, _)| carried == name)
                    && means(&other.project)
            })
            .map(|other| other.named().text())
            .take(NAMED)
            .collect();
        if !carriers.is_empty() {
            return Err(Refusal::ImageCarried { name: named.text(), by: carriers });
        }
        let uses = |intent: &Arc<VmIntent>| {
            intent.desired != Desired::Absent
                && means(&intent.project)
                && intent.spec.images().any(|(_, used)| {
                    used.name == name && used.stored_digest() == Some(image.sha256.as_str())
                })
        };
        let users = self.images.users.get(&image.sha256).into_iter();
        let users = users.flat_map(|users| users.values().flatten());
        let mut vms: Vec<String> = users
            .filter_map(|vm| self.vms.get(vm))
            .filter(|intent| uses(intent))
            .map(|intent| intent.named().text())
            .collect();
        if vms.is_empty() {
            let outcome = Outcome::ImageGone(Arc::clone(image));
            return Ok(Decided {
                changes: vec![Change::remove(Arc::clone(image), caller.at)],
                outcome,
            });
        }
        vms.sort_unstable();
        let more = vms.len().saturating_sub(NAMED);
        vms.truncate(NAMED);
        Err(Refusal::ImageInUse { name: named.text(), vms, more })
    }

    /// The spec with every image of the server pinned to its content. What a VM has already (`old`)
    /// it keeps, as long as the request says nothing else.
    pub(super) fn pin_images(
        &self,
        spec: &Arc<VmSpec>,
        old: Option<&VmSpec>,
        project: &ProjectName,
    ) -> Result<Arc<VmSpec>, Refusal> {
        let spec = &self.with_boot(spec, old, project)?;
        let mut problems = Vec::new();
        let mut nowhere = None;
        let pinned = spec.map_images(|field, asked| {
            let held = old
                .and_then(|old| old.images().find(|(at, _)| *at == field).map(|(_, image)| image));
            let known = held.is_some_and(|held| match project.is_default() {
                true => held.name == asked.name,
                false => keeps(asked, held),
            }) || self.image_for(project, &asked.name).is_some();
            if !known && self.is_nowhere(&asked.name, project) {
                nowhere.get_or_insert((field, asked.name.clone()));
            }
            self.pin(field, asked, held, project).unwrap_or_else(|problem| {
                problems.push(problem);
                asked.clone()
            })
        });
        if let Some((field, name)) = nowhere {
            let near = self.near_images(&name, project);
            return Err(Refusal::ImageNowhere { field, name, near });
        }
        if !problems.is_empty() {
            return Err(Refusal::InvalidFields(problems));
        }
        Ok(if pinned == **spec { Arc::clone(spec) } else { Arc::new(pinned) })
    }

    /// How long the root image of a spec is that was pinned, in MiB, rounded up. 0 for a file of
    /// the hosts, and for what a VM (`old`) keeps of which nobody noted it.
    pub(super) fn root_image_mib(
        &self,
        pinned: &VmSpec,
        old: Option<&VmIntent>,
        project: &ProjectName,
    ) -> u64 {
        let root = pinned.root_image();
        let Some(digest) = root.stored_digest() else { return 0 };
        match self.image_for(project, &root.name).filter(|image| image.sha256 == digest) {
            Some(image) => image.size_bytes.div_ceil(1 << 20),
            None => old
                .filter(|old| old.spec.root_image().stored_digest() == Some(digest))
                .map_or(0, |old| old.root_image_mib),
        }
    }

    /// The spec with what it leaves open of its boot: as the VM has it, where it keeps its root
    /// image, else as that image carries it.
    fn with_boot(
        &self,
        spec: &Arc<VmSpec>,
        old: Option<&VmSpec>,
        project: &ProjectName,
    ) -> Result<Arc<VmSpec>, Refusal> {
        if !spec.leaves_boot_open() {
            return Ok(Arc::clone(spec));
        }
        let root = spec.root_image();
        if let Some(old) = old.filter(|old| keeps(root, old.root_image())) {
            return Ok(Arc::new(spec.booted_as(old)));
        }
        let image = self
            .image_for(project, &root.name)
            .ok_or_else(|| Refusal::NothingCarried { root: root.name.clone() })?;
        match &image.boot {
            Some(boot) => Ok(Arc::new(spec.booted_with(boot))),
            None => {
                let why = format!(
                    "is not set, and the image {:?} carries none (it can be imported with one)",
                    image.name
                );
                Err(Refusal::InvalidFields(vec![SpecProblem::new("spec.kernel", why)]))
            }
        }
    }

    /// Whether no host has a file of this name that a VM of this project may boot from, for
    /// certain.
    fn is_nowhere(&self, name: &str, project: &ProjectName) -> bool {
        // What the server has brought there may be another project's.
        if !project.is_default() || digest_of(name).is_some() {
            return true;
        }
        let lacks = |files: &Arc<BTreeSet<String>>| !files.contains(name);
        !self.hosts.is_empty()
            && self.hosts.values().all(|host| host.image_files.as_ref().is_some_and(lacks))
    }

    /// Names of images and of hosts' files that a mistyped one may have meant, the nearest first.
    fn near_images(&self, wanted: &str, project: &ProjectName) -> Vec<String> {
        let most = 1 + wanted.chars().count() / 4;
        let files = self.hosts.values().filter_map(|host| host.image_files.as_ref()).take(8);
        let files = files.flat_map(|files| files.iter()).filter(|file| digest_of(file).is_none());
        let files = files.filter(|_| project.is_default());
        let mut found: Vec<(usize, &String)> = self
            .images
            .names
            .iter()
            .filter(|image| image.is_for(project))
            .map(|image| &image.name)
            .chain(files)
            .filter(|name| name.len().abs_diff(wanted.len()) <= most || name.starts_with(wanted))
            .take(MOST_COMPARED)
            .filter_map(|name| {
                let begun = wanted.len() >= 3 && name.starts_with(wanted);
                let apart = strsim::damerau_levenshtein(wanted, name);
                (begun || apart <= most).then_some((if begun { 1 } else { apart }, name))
            })
            .collect();
        found.sort();
        found.dedup();
        found.into_iter().take(SUGGESTED).map(|(_, name)| name.clone()).collect()
    }

    fn pin(
        &self,
        field: &'static str,
        asked: &ImageRef,
        held: Option<&ImageRef>,
        project: &ProjectName,
    ) -> Result<ImageRef, SpecProblem> {
        if let Some(held) = held.filter(|held| keeps(asked, held)) {
            return Ok(held.clone());
        }
        let found = self.image_for(project, &asked.name);
        let Some(image) = found else { return Ok(asked.clone()) };
        if asked.sha256.as_ref().is_some_and(|digest| *digest != image.sha256) {
            let why = format!("is not that of the image {}: that is {}", image.name, image.sha256);
            return Err(SpecProblem::new(format!("{field}.sha256"), why));
        }
        let wanted = match field {
            "spec.kernel" => StoredKind::Kernel,
            "spec.initrd" => StoredKind::Initrd,
            _ => StoredKind::Root,
        };
        if image.kind != wanted {
            return Err(wrong_kind(format!("{field}.name"), image, wanted));
        }
        Ok(ImageRef::stored(&image.name, &image.sha256))
    }
}

/// Whether this caller may say of an image of this project that it is public, or no longer.
fn check_public(project: &ProjectName, caller: &Caller) -> Result<(), Refusal> {
    authorize(caller, Action::Change, Resource::PublicImage, Of::Project(project))
        .map_err(Refusal::NotPermitted)?;
    if project.is_default() {
        return Ok(());
    }
    let why = "is for images of the project default";
    Err(Refusal::InvalidFields(vec![SpecProblem::new("public", why)]))
}

/// Whether a request means the content that the VM has.
fn keeps(asked: &ImageRef, held: &ImageRef) -> bool {
    held.name == asked.name
        && (held.sha256 == asked.sha256 || held.stored && asked.sha256.is_none())
}

fn wrong_kind(field: String, image: &ImageRecord, wanted: StoredKind) -> SpecProblem {
    let (is, wanted) = (image.kind.noun(), wanted.noun());
    SpecProblem::new(field, format!("is {:?}, which is {is}; {wanted} is needed", image.name))
}
