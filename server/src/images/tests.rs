use std::fs;

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::model::fixtures::{at, caller, create, record_of, spec_with, vm_id};
use crate::model::ledger::{
    AnyMutation, CreateToken, CreateVm, DeleteImage, DeleteVm, LedgerConfig, Refusal, VmRef,
};
use crate::model::project::{Named, ProjectName};
use crate::model::spec::ImageDraft;
use crate::store::OpenStore;
use crate::testing::CopyImporter;

struct Fixture {
    images: Images,
    store: Store,
    clock: Arc<ManualClock>,
    directory: TempDir,
}

/// Jumps an hour ahead once it was looked at so often.
#[derive(Debug, Default)]
struct JumpingClock {
    looks: std::sync::atomic::AtomicUsize,
    jumps_after: std::sync::atomic::AtomicUsize,
}

impl JumpingClock {
    fn set(&self, jumps_after: usize) {
        self.looks.store(0, std::sync::atomic::Ordering::SeqCst);
        self.jumps_after.store(jumps_after, std::sync::atomic::Ordering::SeqCst);
    }

    fn looks(&self) -> usize {
        self.looks.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> jiff::Timestamp {
        let looks = self.looks.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        at(if looks < self.jumps_after.load(std::sync::atomic::Ordering::SeqCst) {
            1
        } else {
            3601
        })
    }
}

async fn fixture() -> Fixture {
    let clock = Arc::new(ManualClock::at(at(0)));
    fixture_at(Arc::clone(&clock) as SharedClock, clock).await
}

async fn fixture_at(shared: SharedClock, clock: Arc<ManualClock>) -> Fixture {
    let directory = TempDir::new().expect("a directory");
    let open = OpenStore::open(&directory.path().join("banger.db"), LedgerConfig::default()).await;
    let store = open.expect("opens").start(Arc::new(|_| Default::default()), Arc::new(|_| {}));
    let library = Library::open(directory.path().join("images"), 1 << 20, 0).expect("made");
    fs::create_dir(directory.path().join("imports")).expect("made");
    let settings = ImageSettings {
        import_dirs: vec![directory.path().join("imports")],
        guest_agent: directory.path().join("banger-guest"),
        ..ImageSettings::default()
    };
    let images =
        Images::new(store.clone(), Arc::new(library), Arc::new(CopyImporter), shared, settings);
    Fixture { images, store, clock, directory }
}

impl Fixture {
    async fn upload(&self, content: &[u8]) -> String {
        let mut upload =
            self.images.begin_upload("alice", ProjectName::default()).await.expect("begun");
        upload.append(bytes::Bytes::copy_from_slice(content)).await.expect("appended");
        upload.finish("a file".to_owned()).await.expect("kept").0
    }

    async fn import(&self, wish: Wish) -> Result<Arc<ImageRecord>, ImportFailure> {
        self.images.import(wish, &caller(), Arc::new(|_| {})).await
    }

    async fn import_content(&self, name: &str, content: &[u8]) -> Arc<ImageRecord> {
        let blob = self.upload(content).await;
        self.import(Wish { replace: true, ..wish(name, ImportSource::Blob(blob)) })
            .await
            .expect("imported")
    }

    fn contents(&self) -> Vec<String> {
        let dir = self.directory.path().join("images/sha256");
        let mut names: Vec<String> = fs::read_dir(dir)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    fn incoming(&self) -> usize {
        fs::read_dir(self.directory.path().join("images/incoming")).expect("readable").count()
    }
}

fn wish(name: &str, from: ImportSource) -> Wish {
    Wish {
        name: name.to_owned(),
        project: ProjectName::default(),
        public: None,
        trusted: true,
        from,
        kind: None,
        guest_agent: true,
        root_bytes: None,
        devices: Devices::default(),
        choice: None,
        platform: None,
        replace: false,
        boot: None,
    }
}

#[tokio::test]
async fn an_upload_becomes_an_image_with_its_digest_origin_and_owner() {
    let fixture = fixture().await;
    fs::write(fixture.directory.path().join("banger-guest"), b"guest").expect("written");
    let blob = fixture.upload(b"root").await;
    let image =
        fixture.import(wish("alpine", ImportSource::Blob(blob.clone()))).await.expect("imported");
    assert_eq!((image.kind, image.size_bytes, image.guest_agent), (StoredKind::Root, 4, true));
    assert_eq!((&*image.origin, &*image.created_by), ("upload a file", "alice"));
    assert_eq!(fixture.contents(), [image.sha256.as_str()]);
    assert_eq!(fixture.incoming(), 0);
    let again = fixture.import(wish("alpine", ImportSource::Blob(blob))).await.expect("the same");
    assert_eq!(again, image);
}

#[tokio::test]
async fn an_import_whose_token_expires_at_whatever_moment_before_its_end_names_nothing() {
    let clock = Arc::new(JumpingClock::default());
    let still = Arc::new(ManualClock::at(at(0)));
    let fixture = fixture_at(Arc::clone(&clock) as SharedClock, still).await;
    let token = Arc::new(record_of(1, "ci"));
    let by = Caller { token: Some(token.id.as_str().into()), ..caller() };
    fixture.store.submit(caller(), CreateToken(token)).await.expect("kept");
    clock.set(usize::MAX);
    let blob = fixture.upload(b"root").await;
    let import = async |jumps_after| {
        clock.set(jumps_after);
        let wish = wish("alpine", ImportSource::Blob(blob.clone()));
        fixture.images.import(wish, &by, Arc::new(|_| {})).await
    };
    let mut jumps_after = 0;
    loop {
        let named = import(jumps_after).await;
        if clock.looks() <= jumps_after {
            named.expect("the token was good to the end");
            break;
        }
        assert!(
            matches!(named, Err(ImportFailure::Store(MutateError::Refused(Refusal::CallerGone)))),
            "expired at the look {jumps_after}: {named:?}"
        );
        assert!(fixture.store.images(&caller()).is_empty(), "expired at the look {jumps_after}");
        jumps_after += 1;
    }
    assert!(jumps_after >= 2, "before and after it is kept");
}

#[tokio::test]
async fn without_its_binary_no_guest_agent_is_put_in_and_a_note_says_so() {
    let fixture = fixture().await;
    let image = fixture.import_content("alpine", b"root").await;
    assert!(!image.guest_agent);
    assert!(image.notes[0].contains("no guest agent was put in"), "{:?}", image.notes);
    let declined = Wish {
        guest_agent: false,
        ..wish("bare", ImportSource::Blob(fixture.upload(b"root").await))
    };
    let image = fixture.import(declined).await.expect("imported");
    assert!(!image.guest_agent && image.notes.is_empty(), "{:?}", image.notes);
}

#[tokio::test]
async fn a_name_goes_to_other_content_only_when_that_is_asked_for() {
    let fixture = fixture().await;
    let old = fixture.import_content("alpine", b"old").await;
    let blob = fixture.upload(b"new").await;
    let refused = fixture.import(wish("alpine", ImportSource::Blob(blob.clone()))).await;
    let refused = refused.expect_err("the name is taken");
    assert!(
        matches!(
            &refused,
            ImportFailure::Store(MutateError::Refused(Refusal::ImageNameTaken { sha256, .. }))
                if *sha256 == old.sha256
        ),
        "{refused}"
    );
    // What came in for it is nobody's, and goes.
    assert_eq!(fixture.contents().len(), 2);
    fixture.images.collect().await.expect("the store answers");
    assert_eq!(fixture.contents(), [old.sha256.as_str()]);
    let replacing = Wish { replace: true, ..wish("alpine", ImportSource::Blob(blob)) };
    let new = fixture.import(replacing).await.expect("replaced");
    fixture.images.collect().await.expect("the store answers");
    assert_eq!(fixture.contents(), [new.sha256.as_str()]);
}

#[tokio::test]
async fn content_stays_as_long_as_a_vm_or_a_name_refers_to_it() {
    let fixture = fixture().await;
    let kernel = fixture.import_content("k", b"\x7fELF kernel").await;
    let root = fixture.import_content("r", b"root").await;
    let spec = spec_with(|draft| {
        draft.kernel = Some(ImageDraft { name: "k".to_owned(), sha256: String::new() });
        draft.root_image = Some(ImageDraft { name: "r".to_owned(), sha256: String::new() });
    });
    let vm = AnyMutation::CreateVm(CreateVm { spec, ..create(1, "web") });
    fixture.store.submit(caller(), vm).await.expect("created");
    let newer = fixture.import_content("r", b"newer").await;
    let mut all = [kernel.sha256.clone(), root.sha256.clone(), newer.sha256.clone()];
    all.sort();
    fixture.images.collect().await.expect("the store answers");
    assert_eq!(fixture.contents(), all);
    let gone = AnyMutation::DeleteVm(DeleteVm { vm: VmRef::Id(vm_id(1)), etag: None });
    fixture.store.submit(caller(), gone).await.expect("no host ever held it");
    let forget =
        AnyMutation::DeleteImage(DeleteImage { image: Named::new(&ProjectName::default(), "k") });
    fixture.store.submit(caller(), forget).await.expect("unused");
    let unused = fixture.images.unused(all.iter().cloned().collect()).await;
    let unused = unused.expect("the store answers");
    assert_eq!(unused, [kernel.sha256.clone(), root.sha256.clone()].into());
    fixture.images.collect().await.expect("the store answers");
    assert_eq!(fixture.contents(), [newer.sha256.as_str()]);
}

#[tokio::test]
async fn a_source_that_is_refused_or_missing_leaves_nothing() {
    let fixture = fixture().await;
    let blob = fixture.upload(b"BAD").await;
    let refused =
        fixture.import(wish("bad", ImportSource::Blob(blob.clone()))).await.expect_err("refused");
    // Where the server keeps uploads is not told.
    let words = refused.to_string();
    assert!(words.contains("upload a file: nothing that boots"), "{words}");
    let missing =
        fixture.import(wish("x", ImportSource::Blob("0".repeat(64)))).await.expect_err("none");
    assert!(matches!(missing, ImportFailure::NoBlob(_)), "{missing}");
    fixture.clock.advance(jiff::SignedDuration::from_hours(25));
    let late = fixture.import(wish("x", ImportSource::Blob(blob))).await.expect_err("expired");
    assert!(matches!(late, ImportFailure::NoBlob(_)), "{late}");
    fixture.images.collect().await.expect("the store answers");
    assert_eq!((fixture.contents().len(), fixture.incoming()), (0, 0));
    let blobs = fixture.directory.path().join("images/blobs");
    assert_eq!(fs::read_dir(blobs).expect("readable").count(), 0);
}

#[tokio::test]
async fn a_path_of_the_server_is_imported_from_an_import_directory_only() {
    let fixture = fixture().await;
    let imports = fixture.directory.path().join("imports");
    fs::write(imports.join("vmlinux"), b"\x7fELF").expect("written");
    let path = imports.join("vmlinux").display().to_string();
    let image =
        fixture.import(wish("k", ImportSource::Path(path.clone()))).await.expect("imported");
    assert_eq!((image.kind, image.origin.clone()), (StoredKind::Kernel, format!("file {path}")));
    let outside = fixture.directory.path().join("banger.db").display().to_string();
    let refused =
        fixture.import(wish("x", ImportSource::Path(outside))).await.expect_err("outside");
    assert!(matches!(refused, ImportFailure::Path { .. }), "{refused}");
}

#[tokio::test]
async fn imports_of_one_name_at_once_make_one_image() {
    let fixture = fixture().await;
    let blob = fixture.upload(b"root").await;
    let imports = (0..8).map(|_| fixture.import(wish("alpine", ImportSource::Blob(blob.clone()))));
    let made = futures_util::future::join_all(imports).await;
    let made: Vec<_> = made.into_iter().map(|image| image.expect("imported")).collect();
    assert!(made.iter().all(|image| *image == made[0]));
    assert_eq!(fixture.contents(), [made[0].sha256.clone()]);
    assert_eq!(fixture.incoming(), 0);
}

#[tokio::test]
async fn uploads_that_say_nothing_hold_no_slot_that_others_need_and_are_given_up() {
    let mut fixture = fixture().await;
    fixture.images.settings.patience.idle = Duration::from_millis(50);
    let mut held = Vec::new();
    for _ in 0..UPLOADS_OF_ONE {
        held.push(
            fixture.images.begin_upload("greedy", ProjectName::default()).await.expect("begun"),
        );
    }
    let mut more = std::pin::pin!(fixture.images.begin_upload("greedy", ProjectName::default()));
    assert!(futures_util::poll!(&mut more).is_pending(), "it has its share");
    drop(
        fixture
            .images
            .begin_upload("modest", ProjectName::default())
            .await
            .expect("others are not kept waiting"),
    );
    let silent = held[0].next(std::future::pending::<()>(), |()| 0).await;
    assert!(matches!(silent, Err(KeepError::TooSlow(_))), "{silent:?}");
    held.remove(0);
    drop(more.await.expect("what was given up makes room"));
}
