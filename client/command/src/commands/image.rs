//! `banger image`: images of the server, brought there from files of this machine, from
//! registries, or made from packages.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use banger_client::Images;
use banger_client::v1::{
    DeleteImageRequest, DeviceNodes, Image, ImageBoot, ImageKind, ImportImageRequest, ImportStep,
    ListImagesResponse,
};

use super::{for_each, near};
use crate::args::Global;
use crate::args::image::{DemoArgs, DevicesArg, ImageCommand, ImportArgs, KindArg};
use crate::clock::now;
use crate::output::hosts::{server_image, server_images};
use crate::pack::{Broken, Pack};
use crate::session::Session;
use banger_terminal::ask::confirm;
use banger_terminal::failure::Failure;
use banger_terminal::progress::{Count, Progress, Rate};

mod demo;

pub(super) async fn run(global: &Global, command: ImageCommand) -> Result<(), Failure> {
    // The one command that can do without a server.
    if let ImageCommand::BuildDemo(DemoArgs { directory: Some(directory), .. }) = &command {
        let ImageCommand::BuildDemo(wanted) = &command else { return Ok(()) };
        return demo::write(wanted, directory).await;
    }
    let session = &Session::open(global).await?;
    near::named(session, act(session, command).await).await
}

async fn act(session: &Session, command: ImageCommand) -> Result<(), Failure> {
    let api = &session.client.images();
    match command {
        ImageCommand::Import(wanted) => {
            let image = import(api, wanted).await?;
            one_or_more(session, vec![image])
        }
        ImageCommand::BuildDemo(wanted) => {
            let images = demo::upload_all(api, &wanted).await?;
            print(session, images)
        }
        ImageCommand::Ls => print(session, api.list_all().await?),
        ImageCommand::Get { images } => {
            let read = |name: String| async move { Ok(api.get(&name).await?) };
            let (found, outcome) = for_each(&images, read).await;
            one_or_more(session, found)?;
            outcome
        }
        ImageCommand::Rm { images, allow_missing, yes } => {
            confirm(&format!("delete the images {}", images.join(", ")), yes)?;
            let call = |name: String| async move {
                Ok(api
                    .delete(DeleteImageRequest { name, allow_missing, ..Default::default() })
                    .await?)
            };
            let (gone, outcome) = for_each(&images, call).await;
            print(session, gone)?;
            outcome
        }
    }
}

fn kind(kind: KindArg) -> ImageKind {
    match kind {
        KindArg::Kernel => ImageKind::Kernel,
        KindArg::Initrd => ImageKind::Initrd,
        KindArg::Root => ImageKind::Root,
    }
}

fn device_nodes(devices: DevicesArg) -> DeviceNodes {
    match devices {
        DevicesArg::Keep => DeviceNodes::Keep,
        DevicesArg::LeaveOut => DeviceNodes::LeaveOut,
        DevicesArg::Refuse => DeviceNodes::Refuse,
    }
}

async fn import(api: &Images, wanted: ImportArgs) -> Result<Image, Failure> {
    let progress = Progress::start();
    let mut request = ImportImageRequest {
        name: wanted.name,
        source: wanted.server_path.unwrap_or_default(),
        registry_reference: wanted.registry.unwrap_or_default(),
        kind: wanted.kind.map_or(ImageKind::Unspecified, kind).into(),
        without_guest_agent: wanted.no_guest_agent,
        root_size_mib: wanted.root_size.unwrap_or_default(),
        replace: wanted.replace,
        device_nodes: device_nodes(wanted.devices).into(),
        choice: wanted.image.unwrap_or_default(),
        platform: wanted.platform.map(|platform| platform.to_string()).unwrap_or_default(),
        blob_sha256: String::new(),
        boot: wanted.kernel.map(|kernel| ImageBoot {
            kernel,
            initrd: wanted.initrd.unwrap_or_default(),
            boot_args: wanted.boot_args.unwrap_or_default(),
        }),
        public: wanted.public,
        project: String::new(),
    };
    if let Some(path) = &wanted.source {
        request.blob_sha256 = upload(api, &request.name, path, &progress).await?;
    }
    made(api, request, &progress).await
}

/// Has the server make an image, and says how far it is.
async fn made(
    api: &Images,
    request: ImportImageRequest,
    progress: &Progress,
) -> Result<Image, Failure> {
    let what = format!("the server makes image {}", request.name);
    progress.say(&what);
    let mut told = ToldProgress::new(what);
    let import = api.import_with_progress(request, |at| {
        let total = (at.total_bytes > 0).then_some(at.total_bytes);
        progress.say(&told.sentence(doing(at.step()), at.done_bytes, total));
    });
    Ok(progress.during(import).await??)
}

fn doing(step: ImportStep) -> &'static str {
    match step {
        ImportStep::Unspecified => "waiting",
        ImportStep::Pull => "pulling",
        ImportStep::Check => "checking",
        ImportStep::Write => "writing",
        ImportStep::Digest => "reading it again",
    }
}

/// How far an image is, in words.
struct ToldProgress {
    what: String,
    doing: &'static str,
    begun: Instant,
    rate: Rate,
}

impl ToldProgress {
    fn new(what: String) -> Self {
        Self { what, doing: "", begun: Instant::now(), rate: Rate::default() }
    }

    fn sentence(&mut self, doing: &'static str, done: u64, total: Option<u64>) -> String {
        if doing != self.doing {
            // Each step counts its own bytes.
            (self.doing, self.rate) = (doing, Rate::default());
        }
        let count = Count::new(total);
        count.add(done);
        self.rate.sentence(&format!("{}, {doing}", self.what), self.begun.elapsed(), &count)
    }
}

/// Brings a file or directory to the server. Answers its digest.
async fn upload(
    api: &Images,
    image: &str,
    path: &Path,
    progress: &Progress,
) -> Result<String, Failure> {
    let pack = Pack::open(path).map_err(|failure| {
        if path.exists() || !Path::new(image).exists() {
            return failure;
        }
        // The other way round it would be there.
        Failure::Usage(format!(
            "there is no file {}, and {image} is one: the name of the image comes first, as in \
             `banger image import {} {image}`",
            path.display(),
            path.display()
        ))
    })?;
    let (name, count) = (pack.name.clone(), pack.count.clone());
    let notes = Arc::clone(&pack.notes);
    let (parts, mut failed) = pack.into_parts();
    let mut upload = std::pin::pin!(api.upload(&name, count.of(), parts));
    let work = async {
        let mut can_fail = true;
        loop {
            // Cancel-safe: the upload goes on where it was.
            tokio::select! {
                biased;
                broken = &mut failed, if can_fail => match broken {
                    Ok(Broken { error, .. }) => return Err(Failure::other(error)),
                    // All of it was read.
                    Err(_) => can_fail = false,
                },
                done = &mut upload => return Ok(done?.sha256),
            }
        }
    };
    let what = format!("uploading {name}");
    let sha256 = progress.during(progress.counting(&what, &count, work)).await??;
    for note in notes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        progress.note(note);
    }
    Ok(sha256)
}

fn one_or_more(session: &Session, images: Vec<Image>) -> Result<(), Failure> {
    let message = ListImagesResponse { images, next_page_token: String::new() };
    session.printer.whole(
        &message,
        |m| m.images.iter().map(|image| image.name.clone()).collect(),
        |m| m.images.iter().map(|image| server_image(image, now())).collect::<Vec<_>>().join("\n"),
    )
}

fn print(session: &Session, images: Vec<Image>) -> Result<(), Failure> {
    let message = ListImagesResponse { images, next_page_token: String::new() };
    session.printer.whole(
        &message,
        |m| m.images.iter().map(|image| image.name.clone()).collect(),
        |m| if m.images.is_empty() { String::new() } else { server_images(&m.images, now()) },
    )
}
