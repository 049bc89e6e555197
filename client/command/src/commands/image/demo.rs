//! `banger image build-demo`: a small guest from Debian's packages.
//!
//! Made on this machine by `banger-images`, then uploaded, or left in a directory.

use std::path::Path;

use banger_client::Images;
use banger_client::v1::{Image, ImageBoot, ImageKind, ImportImageRequest};
use banger_images::{DemoFiles, DemoSources, ImportError, Options, Step, build_demo};
use banger_wire::causes::with_causes;
use tokio::sync::watch;

use super::{ToldProgress, upload};
use crate::args::image::DemoArgs;
use crate::spec::DEMO;
use banger_terminal::failure::Failure;
use banger_terminal::progress::Progress;

/// What the demo guest boots with, by the names they are imported under.
const KERNEL: &str = "demo-kernel";
const INITRD: &str = "demo-initrd";

fn refused(error: ImportError) -> Failure {
    Failure::Invalid(with_causes(&error))
}

async fn build(wanted: &DemoArgs, to: &Path, progress: &Progress) -> Result<(), Failure> {
    let sources = DemoSources::find(&wanted.packages).map_err(refused)?;
    let options = Options { guest: wanted.guest_agent.clone(), ..Options::default() };
    let (cancel, files) = (options.cancel.clone(), DemoFiles::within(to));
    progress.say("making the demo guest");
    let (tell, mut heard) = watch::channel(None);
    let mut work = tokio::task::spawn_blocking(move || {
        let tell = |at: banger_images::Progress| {
            tell.send_replace(Some(at));
        };
        build_demo(&sources, &options, &files, &tell)
    });
    let work = async {
        let mut told = ToldProgress::new("making the demo guest".to_owned());
        loop {
            // Cancel-safe: the work goes on where it was, and only the newest report counts.
            tokio::select! {
                done = &mut work => return done,
                Ok(()) = heard.changed() => {
                    if let Some(at) = *heard.borrow_and_update() {
                        progress.say(&told.sentence(doing(at.step), at.done_bytes, at.total_bytes));
                    }
                }
            }
        }
    };
    let made = progress.during(work).await;
    if made.is_err() {
        cancel.cancel();
    }
    match made? {
        Ok(made) => made.map(drop).map_err(refused),
        Err(error) => Err(Failure::other(error.into())),
    }
}

fn doing(step: Step) -> &'static str {
    match step {
        Step::Pull => "pulling",
        Step::Check => "reading",
        Step::Write => "writing",
        Step::Digest => "reading it again",
    }
}

/// Leaves the files in a directory.
pub(super) async fn write(wanted: &DemoArgs, directory: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(directory)
        .map_err(|error| Failure::io(&format!("make {}", directory.display()), error))?;
    build(wanted, directory, &Progress::start()).await
}

/// Uploads them and makes images of them, in place of those that are there.
pub(super) async fn upload_all(api: &Images, wanted: &DemoArgs) -> Result<Vec<Image>, Failure> {
    let progress = Progress::start();
    let dir = tempfile::tempdir()
        .map_err(|error| Failure::io("make a directory for the demo guest", error))?;
    build(wanted, dir.path(), &progress).await?;
    let files = DemoFiles::within(dir.path());
    let mut images = Vec::new();
    let boot = ImageBoot { kernel: KERNEL.into(), initrd: INITRD.into(), boot_args: String::new() };
    for (name, kind, path, boot) in [
        (KERNEL, ImageKind::Kernel, files.kernel, None),
        (INITRD, ImageKind::Initrd, files.initrd, None),
        (DEMO, ImageKind::Root, files.root, Some(boot)),
    ] {
        let blob_sha256 = upload(api, name, &path, &progress).await?;
        let request = ImportImageRequest {
            name: name.to_owned(),
            blob_sha256,
            kind: kind.into(),
            replace: true,
            public: wanted.public.then_some(true),
            boot,
            ..ImportImageRequest::default()
        };
        images.push(super::made(api, request, &progress).await?);
    }
    Ok(images)
}
