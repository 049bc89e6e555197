//! The image service: uploads, imports, and where each image is.
//!
//! What an import makes of its source is for [`crate::images`]; here a request is read, and an
//! answer put together from the store, the facts of the hosts and the transfers under way.

mod progress;

use std::collections::BTreeMap;
use std::sync::Arc;

use banger_images::{Devices, Platform, Report};
use banger_proto::bounds::MAX_CHUNK_BYTES;
use banger_proto::v1;
use banger_proto::v1::image_service_server::ImageService;
use banger_proto::words::steers;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tonic::{Request, Response, Status, Streaming};
use tracing::info;

use super::auth::LetIn;
use super::page::{Cursor, MAX_PAGE_BYTES, PageQuery, page_size};
use super::uses::Use;
use super::{Api, ResponseStream, convert, once, status};
use crate::images::{ImportSource, Wish};
use crate::model::access::{Action, Of, Resource, authorize};
use crate::model::audit::{AuditObject, AuditedKind};
use crate::model::caller::Caller;
use crate::model::image::{Boot, ImageRecord, StoredKind, digest_of, is_reserved};
use crate::model::ledger::{DeleteImage, Refusal};
use crate::model::names;
use crate::model::project::{Named, ProjectName};
use crate::model::spec::SpecProblem;
use crate::reconcile::ImageStanding;
use crate::store::MutateError;

/// Largest root file system that can be asked for, in MiB.
const MAX_ROOT_MIB: u32 = 1 << 20;

/// Longest file name of an upload that is remembered, in bytes.
const MAX_FILE_NAME: usize = 255;

/// Longest name of one image among several, in bytes: as of a reference.
const MAX_CHOICE: usize = 512;

/// Longest path of an import, in bytes.
const MAX_PATH: usize = 4096;

/// Answers calls about images.
#[derive(Debug, Clone)]
pub struct ImageApi {
    api: Api,
}

impl ImageApi {
    /// Over the server's parts.
    pub fn new(api: Api) -> Self {
        Self { api }
    }

    /// Images as they are shown, to who may know the hosts with those that have them or are being
    /// sent them.
    fn shown(&self, images: &[(Arc<ImageRecord>, usize)], caller: &Caller) -> Vec<v1::Image> {
        let mut at: BTreeMap<&str, Vec<v1::ImageHost>> = BTreeMap::new();
        let wanted: BTreeMap<&str, u64> =
            images.iter().map(|(image, _)| (image.sha256.as_str(), image.size_bytes)).collect();
        let hosts = if caller.sees_hosts() { self.api.view.hosts() } else { Vec::new() };
        for host in hosts {
            let (record, facts) = (&host.view.record, host.view.facts.as_deref());
            // What a host has is in its facts, what is under way in the transfers.
            for (digest, size) in &wanted {
                let (bytes_present, error) =
                    match self.api.delivery.standing(record.id, facts, digest) {
                        ImageStanding::Here => (*size, String::new()),
                        ImageStanding::Coming { sent, .. } => {
                            (sent.min(size.saturating_sub(1)), String::new())
                        }
                        ImageStanding::Failed { error, .. } => (0, error),
                        ImageStanding::Missing => continue,
                    };
                at.entry(digest).or_default().push(v1::ImageHost {
                    host_id: record.id.to_string(),
                    host_name: record.name.clone(),
                    bytes_present,
                    error,
                });
            }
        }
        images
            .iter()
            .map(|(image, users)| {
                let hosts = at.get(image.sha256.as_str()).cloned().unwrap_or_default();
                convert::image(image, *users, hosts, caller)
            })
            .collect()
    }

    fn one(&self, named: &Named, caller: &Caller) -> Result<v1::Image, Status> {
        let missing = || not_found(&named.text());
        let found = self.api.store.image(named, caller).ok_or_else(missing)?;
        self.shown(&[found], caller).pop().ok_or_else(missing)
    }

    async fn import(
        &self,
        wish: Wish,
        caller: Caller,
        report: Report,
    ) -> Result<v1::Image, Status> {
        let image = self.api.images.import(wish, &caller, report).await;
        let image = image.map_err(|failure| status::import_failed(failure, &caller))?;
        info!(image = image.name, sha256 = image.sha256, origin = image.origin, "image imported");
        // The name may stand for something else, or nothing, by now.
        let named = image.named();
        let shown = self.shown(&[(image, 0)], &caller).pop();
        match (self.one(&named, &caller), shown) {
            (Ok(image), _) | (Err(_), Some(image)) => Ok(image),
            (Err(status), None) => Err(status),
        }
    }

    fn wish(&self, message: v1::ImportImageRequest, caller: &Caller) -> Result<Wish, Status> {
        let permitted = |action, what| {
            authorize(caller, action, what, Of::Any).map_err(|why| status::not_permitted(&why))
        };
        // What the ledger would refuse once the image is made.
        if message.public.is_some() {
            permitted(Action::Change, Resource::PublicImage)?;
        }
        let trusted = permitted(Action::Read, Resource::ImportSource);
        if !message.source.is_empty() {
            trusted.clone()?;
        }
        let mut problems = Vec::new();
        if let Err(why) = check_name(&message.name) {
            problems.push(SpecProblem::new("name", why));
        }
        let kind = match v1::ImageKind::try_from(message.kind) {
            Ok(v1::ImageKind::Unspecified) => None,
            Ok(v1::ImageKind::Kernel) => Some(StoredKind::Kernel),
            Ok(v1::ImageKind::Root) => Some(StoredKind::Root),
            Ok(v1::ImageKind::Initrd) => Some(StoredKind::Initrd),
            Err(_) => {
                problems.push(SpecProblem::new("kind", "is not a value of its type"));
                None
            }
        };
        if message.root_size_mib > MAX_ROOT_MIB {
            let why = format!("is {}; must be at most {MAX_ROOT_MIB}", message.root_size_mib);
            problems.push(SpecProblem::new("root_size_mib", why));
        }
        let devices = match v1::DeviceNodes::try_from(message.device_nodes) {
            Ok(v1::DeviceNodes::Unspecified | v1::DeviceNodes::Keep) => Devices::Keep,
            Ok(v1::DeviceNodes::LeaveOut) => Devices::LeaveOut,
            Ok(v1::DeviceNodes::Refuse) => Devices::Refuse,
            Err(_) => {
                problems.push(SpecProblem::new("device_nodes", "is not a value of its type"));
                Devices::Refuse
            }
        };
        if message.choice.len() > MAX_CHOICE || message.choice.contains(steers) {
            problems.push(SpecProblem::new("choice", "is not the name of an image"));
        }
        let platform = match &*message.platform {
            "" => None,
            text => text
                .parse::<Platform>()
                .map_err(|why| problems.push(SpecProblem::new("platform", why.to_string())))
                .ok(),
        };
        let boot = message.boot.map(|boot| boot_of(boot, kind, &mut problems));
        let given = [&message.source, &message.blob_sha256, &message.registry_reference];
        let from = match given.map(|text| !text.is_empty()) {
            [true, false, false] => {
                if message.source.len() > MAX_PATH || message.source.contains('\0') {
                    problems.push(SpecProblem::new("source", "is not a path"));
                }
                Some(ImportSource::Path(message.source))
            }
            [false, true, false] => {
                let digest = message.blob_sha256.to_ascii_lowercase();
                if let Err(why) = names::check_sha256(&digest) {
                    problems.push(SpecProblem::new("blob_sha256", why));
                }
                Some(ImportSource::Blob(digest))
            }
            [false, false, true] => match message.registry_reference.parse() {
                Ok(reference) => Some(ImportSource::Registry(reference)),
                Err(why) => {
                    problems.push(SpecProblem::new("registry_reference", format!("{why}")));
                    None
                }
            },
            _ => {
                let why = "or blob_sha256 or registry_reference must be set, exactly one of them";
                problems.push(SpecProblem::new("source", why));
                None
            }
        };
        let from = super::all_or_problems(from, problems)?;
        let project = self.api.project(&message.project, caller)?;
        Ok(Wish {
            name: message.name,
            project,
            public: message.public,
            trusted: trusted.is_ok(),
            from,
            kind,
            guest_agent: !message.without_guest_agent,
            root_bytes: (message.root_size_mib > 0).then(|| u64::from(message.root_size_mib) << 20),
            devices,
            choice: Some(message.choice).filter(|choice| !choice.is_empty()),
            platform,
            replace: message.replace,
            boot,
        })
    }

    fn list(
        &self,
        caller: &Caller,
        mut message: v1::ListImagesRequest,
    ) -> Result<v1::ListImagesResponse, Status> {
        let token = std::mem::take(&mut message.page_token);
        let query = PageQuery::of("ListImages", &message).seen_by(caller);
        let size = page_size(message.page_size)?;
        let after = self.api.pages.read(&query, &token)?.map(|cursor| cursor.after);
        // By a digest of the name: a token has room for a number, and an image that goes or comes
        // between two pages moves no other.
        let mut images = self.api.store.images(caller);
        if !message.project.is_empty() {
            let project = self.api.project(&message.project, caller)?;
            images.retain(|(image, _)| image.project == project);
        }
        images.sort_by_cached_key(|(image, _)| key(image.project.as_str(), &image.name));
        images.retain(|(image, _)| {
            after.is_none_or(|after| key(image.project.as_str(), &image.name) > after)
        });
        let more = images.len() > size;
        images.truncate(size);
        let mut shown = Vec::new();
        let (mut bytes, mut cut) = (0, false);
        for image in self.shown(&images, caller) {
            bytes += image.encoded_len() + 8;
            if bytes > MAX_PAGE_BYTES && !shown.is_empty() {
                cut = true;
                break;
            }
            shown.push(image);
        }
        let next_page_token = match shown.last() {
            Some(last) if more || cut => {
                let after = key(&last.project, &last.name);
                self.api
                    .pages
                    .token(&query, Cursor { revision: Default::default(), after, total: 0 })
            }
            Some(_) | None => String::new(),
        };
        Ok(v1::ListImagesResponse { images: shown, next_page_token })
    }
}

/// A number by which images are ordered over pages.
fn key(project: &str, name: &str) -> u128 {
    let digest = Sha256::digest(format!("{project}/{name}"));
    digest.iter().take(16).fold(0, |key, byte| (key << 8) | u128::from(*byte))
}

/// An image as a request of this caller names it.
fn named(text: &str, caller: &Caller) -> Result<Named, Status> {
    Named::parse(text, &caller.home()).map_err(|_| not_found(text))
}

fn not_found(name: &str) -> Status {
    status::refused(&Refusal::ImageNotFound { name: name.chars().take(200).collect() })
}

/// What an image is to be booted with. The ledger looks at what it names.
fn boot_of(boot: v1::ImageBoot, kind: Option<StoredKind>, problems: &mut Vec<SpecProblem>) -> Boot {
    if kind.is_some_and(|kind| kind != StoredKind::Root) {
        problems.push(SpecProblem::new("boot", "is for root file systems"));
    }
    let initrd = Some(boot.initrd).filter(|name| !name.is_empty());
    for (field, name) in [("boot.kernel", Some(&boot.kernel)), ("boot.initrd", initrd.as_ref())] {
        if let Some(Err(why)) = name.map(|name| names::check_image_name(name)) {
            problems.push(SpecProblem::new(field, why));
        }
    }
    if let Err(why) = names::check_boot_args(&boot.boot_args) {
        problems.push(SpecProblem::new("boot.boot_args", why));
    }
    Boot { kernel: boot.kernel, initrd, boot_args: boot.boot_args }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    names::check_image_name(name)?;
    if is_reserved(name) || digest_of(name).is_some() {
        return Err("must not begin with 'sha256-': files that the server brings are called so");
    }
    Ok(())
}

#[tonic::async_trait]
impl ImageService for ImageApi {
    async fn import_image(
        &self,
        request: Request<v1::ImportImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        let caller = self.api.caller(&request)?;
        let wish = self.wish(request.into_inner(), &caller)?;
        self.import(wish, caller, Arc::new(|_| {})).await.map(Response::new)
    }

    type ImportImageWithProgressStream = ResponseStream<v1::ImportImageProgress>;

    async fn import_image_with_progress(
        &self,
        request: Request<v1::ImportImageRequest>,
    ) -> Result<Response<Self::ImportImageWithProgressStream>, Status> {
        let caller = self.api.caller(&request)?;
        let wish = self.wish(request.into_inner(), &caller)?;
        let service = self.clone();
        let import = |report| async move { service.import(wish, caller, report).await };
        Ok(Response::new(progress::told(import)))
    }

    async fn get_image(
        &self,
        request: Request<v1::GetImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        let caller = self.api.caller(&request)?;
        let named = named(&request.get_ref().name, &caller)?;
        Ok(Response::new(self.one(&named, &caller)?))
    }

    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        let caller = self.api.caller(&request)?;
        Ok(Response::new(self.list(&caller, request.into_inner())?))
    }

    async fn delete_image(
        &self,
        request: Request<v1::DeleteImageRequest>,
    ) -> Result<Response<v1::Image>, Status> {
        let key = once::key(request.get_ref())?;
        let v1::DeleteImageRequest { name, allow_missing, .. } = request.get_ref().clone();
        let caller = self.api.caller(&request)?;
        let missing = || Response::new(v1::Image { name: name.clone(), ..v1::Image::default() });
        let named = match named(&name, &caller) {
            Ok(named) => named,
            Err(_) if allow_missing => return Ok(missing()),
            Err(status) => return Err(status),
        };
        let delete = DeleteImage { image: named };
        match self.api.store.submit_once(caller.clone(), key, delete).await {
            Ok(image) => {
                info!(image = image.name, sha256 = image.sha256, "image deleted");
                self.api.delivery.tidy_soon();
                Ok(Response::new(convert::image(&image, 0, Vec::new(), &caller)))
            }
            Err(MutateError::Refused(Refusal::DoneAndGone { .. })) => Ok(missing()),
            Err(MutateError::Refused(Refusal::ImageNotFound { .. })) if allow_missing => {
                Ok(missing())
            }
            Err(error) => Err(status::mutation_failed(error)),
        }
    }

    async fn upload_blob(
        &self,
        request: Request<Streaming<v1::UploadBlobRequest>>,
    ) -> Result<Response<v1::UploadBlobResponse>, Status> {
        let caller = self.api.caller(&request)?;
        let let_in = LetIn::of(&request);
        let stream = request.into_inner();
        let begun = uploaded(&caller.home(), "");
        let mut using = Use::begin(&self.api, &caller, &let_in, begun, Vec::new()).await?;
        let mut project = caller.home();
        let kept = self.upload(&caller, stream, &mut project).await;
        let sha256 = kept.as_ref().map(|kept| &*kept.sha256).unwrap_or_default();
        using.about(uploaded(&project, sha256));
        using.end(kept.as_ref());
        kept.map(Response::new)
    }
}

impl ImageApi {
    async fn upload(
        &self,
        caller: &Caller,
        mut stream: Streaming<v1::UploadBlobRequest>,
        project: &mut ProjectName,
    ) -> Result<v1::UploadBlobResponse, Status> {
        let failed = |failure| status::keep_failed(failure, caller);
        let upload = self.api.images.begin_upload(&caller.party(), project.clone()).await;
        let mut upload = upload.map_err(failed)?;
        let mut file_name = None;
        let bytes_of = |part: &Result<Option<v1::UploadBlobRequest>, Status>| {
            let part = part.as_ref().ok().and_then(Option::as_ref);
            part.map_or(0, |part| part.data.len() as u64)
        };
        // A stream that breaks off is an error here, and the upload goes with it.
        while let Some(message) =
            upload.next(stream.message(), bytes_of).await.map_err(failed)??
        {
            if file_name.is_none() {
                *project = self.api.project(&message.project, caller)?;
                upload.is_for(project.clone());
            }
            if file_name.is_none() && message.size_bytes > 0 {
                // What would not be kept is refused before it was sent.
                upload.expect(message.size_bytes).map_err(failed)?;
            }
            if message.data.len() > MAX_CHUNK_BYTES {
                let why = format!("has more than {MAX_CHUNK_BYTES} bytes");
                return Err(status::invalid_field("data", why));
            }
            file_name.get_or_insert_with(|| printable(&message.file_name));
            if !message.data.is_empty() {
                upload.append(message.data.into()).await.map_err(failed)?;
            }
        }
        // It may have gone meanwhile, and what was uploaded to it with it.
        self.api.project(project.as_str(), caller)?;
        let (sha256, size_bytes) =
            upload.finish(file_name.unwrap_or_default()).await.map_err(failed)?;
        Ok(v1::UploadBlobResponse { sha256, size_bytes })
    }
}

/// An upload, in the audit: of its project, as far as that has been said.
fn uploaded(project: &ProjectName, sha256: &str) -> AuditObject {
    AuditObject::new(AuditedKind::Upload, sha256, &Caller::party_of(project))
}

/// A file's name as it may be shown: shortened, without characters that steer whatever shows it.
fn printable(name: &str) -> String {
    let mut shown: String = name.chars().filter(|c| !steers(*c)).collect();
    while shown.len() > MAX_FILE_NAME {
        shown.pop();
    }
    shown
}
