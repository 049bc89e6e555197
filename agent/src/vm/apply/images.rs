//! Are the images there, and are they what the spec says? Changes nothing.

use super::Failed;
use crate::assignment::{Image, Shape};
use crate::host::{Change, HostError, ImageKind};
use crate::vm::effect::Effect;
use crate::vm::machine::Vm;
use crate::vm::phase::Reason;

pub(super) async fn check_images(vm: &Vm, shape: &Shape) -> Result<Change, Failed> {
    use Reason::{InitrdImageMissing, KernelImageMissing, RootImageMissing};
    let kernel = (&shape.kernel, KernelImageMissing, Some(ImageKind::Kernel));
    let root = (&shape.root_image, RootImageMissing, Some(ImageKind::Root));
    let initrd = shape.initrd.as_ref().map(|image| (image, InitrdImageMissing, None));
    for (image, missing, kind) in [Some(kernel), Some(root), initrd].into_iter().flatten() {
        check_image(vm, image, missing, kind).await?;
    }
    Ok(Change::AlreadySo)
}

async fn check_image(
    vm: &Vm,
    image: &Image,
    missing: Reason,
    kind: Option<ImageKind>,
) -> Result<(), Failed> {
    let host_error =
        |error: HostError| Failed::new(Reason::of(Effect::CheckImages, &error), error.chain());
    let absent = || Failed::new(missing, format!("{} is not in the image directory", image.name));
    let facts =
        vm.host().images.observe(&image.name).await.map_err(host_error)?.ok_or_else(absent)?;
    if kind.is_some_and(|kind| kind != facts.kind) {
        let is = match facts.kind {
            ImageKind::Kernel => "an uncompressed ELF kernel",
            ImageKind::Root => "an ext4 file system",
            ImageKind::Other => "neither an uncompressed ELF kernel nor an ext4 file system",
        };
        return Err(Failed::new(Reason::ImageNotUsable, format!("{} is {is}", image.name)));
    }
    if let Some(wanted) = &image.sha256 {
        let digest =
            vm.host().images.digest(&image.name).await.map_err(host_error)?.ok_or_else(absent)?;
        if digest != *wanted {
            return Err(Failed::new(
                Reason::ImageDigestMismatch,
                format!("{} has sha256 {digest}, the spec says {wanted}", image.name),
            ));
        }
    }
    Ok(())
}
