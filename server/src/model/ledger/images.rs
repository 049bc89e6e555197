//! Deciding about images: names, and to which content a VM is pinned.
//!
//! A content is in use while the spec of a VM that is known refers to it, one that is being deleted
//! included: its host may still stand on it. A name is in use while a VM that is not being deleted
//! refers to the content it stands for.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use banger_proto::ids::VmId;

use super::{Change, Decided, Ledger, Outcome, Refusal};
use crate::model::image::{ImageRecord, StoredKind};
use crate::model::intent::{Desired, VmIntent};
use crate::model::spec::{ImageRef, SpecProblem, VmSpec};

/// Most names of images.
const MAX_IMAGES: usize = 10_000;

/// How many VMs an error names at most.
const NAMED: usize = 5;

/// Names of images, and who uses which content.
#[derive(Debug, Clone, Default)]
pub(super) struct ImageTable {
    names: std::collections::BTreeMap<String, Arc<ImageRecord>>,
    users: HashMap<String, BTreeSet<VmId>>,
}

impl ImageTable {
    pub(super) fn put(&mut self, image: &Arc<ImageRecord>) {
        self.names.insert(image.name.clone(), Arc::clone(image));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    pub(super) fn book(&mut self, intent: &VmIntent) {
        for digest in intent.spec.stored_images() {
            self.users.entry(digest.to_owned()).or_default().insert(intent.id);
        }
    }

    pub(super) fn release(&mut self, intent: &VmIntent) {
        for digest in intent.spec.stored_images() {
            let Some(users) = self.users.get_mut(digest) else { continue };
            users.remove(&intent.id);
            if users.is_empty() {
                self.users.remove(digest);
            }
        }
    }
}

impl Ledger {
    /// Every image, by name.
    pub fn images(&self) -> impl Iterator<Item = &Arc<ImageRecord>> {
        self.images.names.values()
    }

    /// One image.
    pub fn image(&self, name: &str) -> Option<&Arc<ImageRecord>> {
        self.images.names.get(name)
    }

    /// How many VMs use this content.
    pub fn image_users(&self, sha256: &str) -> usize {
        self.images.users.get(sha256).map_or(0, BTreeSet::len)
    }

    /// The digests of every content that a name or a VM refers to.
    pub fn kept_contents(&self) -> BTreeSet<String> {
        let named = self.images.names.values().map(|image| image.sha256.clone());
        named.chain(self.images.users.keys().cloned()).collect()
    }

    pub(super) fn put_image(
        &self,
        image: &Arc<ImageRecord>,
        replace: bool,
    ) -> Result<Decided, Refusal> {
        match self.image(&image.name) {
            Some(known) if known.sha256 == image.sha256 && known.kind == image.kind => {
                let outcome = Outcome::Image { image: Arc::clone(known), changed: false };
                return Ok(Decided { changes: Vec::new(), outcome });
            }
            Some(known) if !replace => {
                let (name, sha256) = (known.name.clone(), known.sha256.clone());
                return Err(Refusal::ImageNameTaken { name, sha256 });
            }
            Some(_) => {}
            None if self.images.names.len() >= MAX_IMAGES => {
                return Err(Refusal::LimitReached { what: "images", limit: MAX_IMAGES });
            }
            None => {}
        }
        let outcome = Outcome::Image { image: Arc::clone(image), changed: true };
        Ok(Decided { changes: vec![Change::PutImage(Arc::clone(image))], outcome })
    }

    pub(super) fn delete_image(&self, name: &str) -> Result<Decided, Refusal> {
        let image =
            self.image(name).ok_or_else(|| Refusal::ImageNotFound { name: name.to_owned() })?;
        let uses = |intent: &Arc<VmIntent>| {
            intent.desired != Desired::Absent
                && intent.spec.images().any(|(_, used)| {
                    used.name == name && used.stored_digest() == Some(image.sha256.as_str())
                })
        };
        let users = self.images.users.get(&image.sha256).into_iter().flatten();
        let mut vms: Vec<String> = users
            .filter_map(|vm| self.vms.get(vm))
            .filter(|intent| uses(intent))
            .map(|intent| intent.name.clone())
            .collect();
        if vms.is_empty() {
            let outcome = Outcome::ImageGone(Arc::clone(image));
            return Ok(Decided { changes: vec![Change::RemoveImage(name.to_owned())], outcome });
        }
        vms.sort_unstable();
        let more = vms.len().saturating_sub(NAMED);
        vms.truncate(NAMED);
        Err(Refusal::ImageInUse { name: name.to_owned(), vms, more })
    }

    /// The spec with every image of the server pinned to its content. What a VM has already (`old`)
    /// it keeps, as long as the request says nothing else.
    pub(super) fn pin_images(
        &self,
        spec: &Arc<VmSpec>,
        old: Option<&VmSpec>,
    ) -> Result<Arc<VmSpec>, Refusal> {
        let mut problems = Vec::new();
        let pinned = spec.map_images(|field, asked| {
            let held = old
                .and_then(|old| old.images().find(|(at, _)| *at == field).map(|(_, image)| image));
            self.pin(field, asked, held).unwrap_or_else(|problem| {
                problems.push(problem);
                asked.clone()
            })
        });
        if !problems.is_empty() {
            return Err(Refusal::InvalidFields(problems));
        }
        Ok(if pinned == **spec { Arc::clone(spec) } else { Arc::new(pinned) })
    }

    fn pin(
        &self,
        field: &'static str,
        asked: &ImageRef,
        held: Option<&ImageRef>,
    ) -> Result<ImageRef, SpecProblem> {
        let no_other_content = |held: &&ImageRef| {
            held.name == asked.name
                && (held.sha256 == asked.sha256 || held.stored && asked.sha256.is_none())
        };
        if let Some(held) = held.filter(no_other_content) {
            return Ok(held.clone());
        }
        let Some(image) = self.image(&asked.name) else { return Ok(asked.clone()) };
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
            let why = format!(
                "is {:?}, which is {}; {} is needed",
                image.name,
                image.kind.noun(),
                wanted.noun()
            );
            return Err(SpecProblem::new(format!("{field}.name"), why));
        }
        Ok(ImageRef::stored(&image.name, &image.sha256))
    }
}
