//! A spec that leaves open what it boots with, and what it is once that was found.
//!
//! A request that names no kernel means the one that its root image carries. That it was left open
//! is part of the request, so that a repetition is known again whatever the image carries by then;
//! what the VM gets is written out, so that it stays what it was. The ledger joins the two.

use super::{DEFAULT_BOOT_ARGS, ImageRef, VmSpec};
use crate::model::image::Boot;

impl VmSpec {
    /// Whether the kernel is left to the root image, and with it what else is not said of the boot.
    pub fn leaves_boot_open(&self) -> bool {
        self.kernel.name.is_empty()
    }

    /// The same, booted with what an image carries. What the request says of the rest stays.
    pub(in crate::model) fn booted_with(&self, boot: &Boot) -> Self {
        let file = |name: &str| ImageRef { name: name.to_owned(), ..ImageRef::open() };
        let initrd = boot.initrd.as_deref().map(file);
        self.booted(file(&boot.kernel), initrd, &boot.boot_args)
    }

    /// The same, booted as another spec is.
    pub(in crate::model) fn booted_as(&self, other: &Self) -> Self {
        self.booted(other.kernel.clone(), other.initrd.clone(), &other.boot_args)
    }

    fn booted(&self, kernel: ImageRef, initrd: Option<ImageRef>, boot_args: &str) -> Self {
        let said = [&self.boot_args, boot_args].into_iter().find(|args| !args.is_empty());
        Self {
            kernel,
            initrd: self.initrd.clone().or(initrd),
            boot_args: said.unwrap_or(DEFAULT_BOOT_ARGS).to_owned(),
            ..self.clone()
        }
    }
}
