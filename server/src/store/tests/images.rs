//! Images over restarts.

use super::*;
use crate::model::image::{Boot, ImageRecord, StoredKind};
use crate::model::project::{Named, ProjectName};
use crate::testing::image;

fn put(image: Arc<ImageRecord>) -> AnyMutation {
    AnyMutation::PutImage(PutImage { image, replace: true, public: None })
}

#[tokio::test]
async fn images_and_what_vms_are_pinned_to_are_there_after_a_restart() {
    let fixture = fixture().await;
    let (record, digest) = image("r", StoredKind::Root, b"root");
    let odd = ImageRecord {
        origin: "file it's \"odd\"".to_owned(),
        notes: vec!["one".to_owned(), "é\"\\".to_owned()],
        guest_agent: true,
        boot: Some(Boot {
            kernel: "k".to_owned(),
            initrd: Some("i".to_owned()),
            boot_args: "quiet \"x\"".to_owned(),
        }),
        ..ImageRecord::clone(&record)
    };
    let odd = Arc::new(odd);
    fixture.make(put(Arc::clone(&odd))).await.expect("stored");
    fixture.make(put(image("k", StoredKind::Kernel, b"old").0)).await.expect("stored");
    let (newer, kernel) = image("k", StoredKind::Kernel, b"new");
    fixture.make(put(newer)).await.expect("replaced");
    fixture.make(put(image("gone", StoredKind::Initrd, b"x").0)).await.expect("stored");
    let gone = AnyMutation::DeleteImage(DeleteImage {
        image: Named::new(&ProjectName::default(), "gone"),
    });
    fixture.make(gone).await.expect("deleted");
    let spec = spec_with(|draft| {
        draft.root_image = Some(ImageDraft { name: "r".to_owned(), sha256: String::new() });
    });
    let vm = AnyMutation::CreateVm(CreateVm { spec, ..create(1, "web") });
    fixture.make(vm).await.expect("created");
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    assert_eq!(
        fixture.store.image(&Named::new(&ProjectName::default(), "r"), &caller()),
        Some((odd, 1))
    );
    let names: Vec<_> = fixture
        .store
        .images(&caller())
        .into_iter()
        .map(|(image, _)| image.sha256.clone())
        .collect();
    assert_eq!(names, [kernel.clone(), digest.clone()]);
    let vm = fixture.store.vm(&VmRef::Id(vm_id(1))).expect("there");
    assert_eq!(vm.spec.root_image().stored_digest(), Some(&*digest));
    let kept = fixture.store.ask(KeptContents).await.expect("answers");
    assert_eq!(kept, [kernel, digest].into());
}
