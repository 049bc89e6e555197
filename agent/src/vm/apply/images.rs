//! Are the images there, and are they what the spec says? Changes nothing.

use super::{Failed, Hands, Trouble};
use crate::assignment::Image;
use crate::host::{Change, ImageKind};
use crate::report::phase::Reason;

pub(super) async fn check_images(hands: &Hands<'_>) -> Result<Change, Trouble> {
    use Reason::{InitrdImageMissing, KernelImageMissing, RootImageMissing};
    let shape = hands.shape()?;
    let kernel = (&shape.kernel, KernelImageMissing, Some(ImageKind::Kernel));
    let root = (&shape.root_image, RootImageMissing, Some(ImageKind::Root));
    let initrd = shape.initrd.as_ref().map(|image| (image, InitrdImageMissing, None));
    for (image, missing, kind) in [Some(kernel), Some(root), initrd].into_iter().flatten() {
        check_image(hands, image, missing, kind).await?;
    }
    Ok(Change::AlreadySo)
}

async fn check_image(
    hands: &Hands<'_>,
    image: &Image,
    missing: Reason,
    kind: Option<ImageKind>,
) -> Result<(), Trouble> {
    let absent = || Failed::new(missing, format!("{} is not in the image directory", image.name));
    let facts = hands.host.images.observe(&image.name).await?.ok_or_else(absent)?;
    if kind.is_some_and(|kind| kind != facts.kind) {
        let is = match facts.kind {
            ImageKind::Kernel => "an uncompressed ELF kernel",
            ImageKind::Root => "an ext4 file system",
            ImageKind::Other => "neither an uncompressed ELF kernel nor an ext4 file system",
        };
        let said = format!("{} is {is}", image.name);
        return Err(Failed::new(Reason::ImageNotUsable, said).into());
    }
    if let Some(wanted) = &image.sha256 {
        let digest = hands.host.images.digest(&image.name).await?.ok_or_else(absent)?;
        if digest != *wanted {
            let said = format!("{} has sha256 {digest}, the spec says {wanted}", image.name);
            return Err(Failed::new(Reason::ImageDigestMismatch, said).into());
        }
    }
    Ok(())
}
