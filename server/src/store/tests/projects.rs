//! Projects over restarts.

use sqlx::AssertSqlSafe;

use super::*;
use crate::model::caller::{ProjectRole, Rights};
use crate::model::fixtures::{project, project_record, record_of};
use crate::model::image::ImageRecord;
use crate::model::ledger::{CreateProject, CreateToken, DeleteImage, DeleteProject, UpdateProject};
use crate::model::project::{Named, Quota};

#[tokio::test]
async fn projects_and_what_belongs_to_them_are_there_after_a_restart() {
    let fixture = fixture().await;
    fixture.make(CreateProject(project_record("shop")).into()).await.expect("made");
    let web = |number, of: &str| CreateVm { project: project(of), ..create(number, "web") };
    fixture.make(web(1, "default").into()).await.expect("created");
    let image = |of: &str| {
        let (image, _) = crate::testing::image("r", crate::model::image::StoredKind::Root, b"r");
        let image = ImageRecord { project: project(of), ..ImageRecord::clone(&image) };
        PutImage { image: Arc::new(image), replace: false, public: None }
    };
    fixture.make(image("default").into()).await.expect("stored");
    fixture.make(image("shop").into()).await.expect("stored");
    let rights = Rights::Project(project("shop"), ProjectRole::Developer);
    let token = TokenRecord { rights, ..record_of(1, "ci") };
    fixture.make(CreateToken(Arc::new(token.clone())).into()).await.expect("made");
    fixture.make(CreateToken(Arc::new(record_of(2, "ci"))).into()).await.expect("made");

    let quota = Quota::of_numbers([9, 8, 7, 6, 5, 4, 3, 2]);
    let update = UpdateProject { name: project("shop"), quota };
    fixture.make(update.into()).await.expect("it is there");
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    let quota = Quota::of_numbers([9, 8, 7, 6, 5, 4, 3, 2]);
    let shop = ProjectRecord { quota, ..(*project_record("shop")).clone() };
    assert_eq!(fixture.store.projects(), [Arc::new(shop)]);
    let images = fixture.store.images(&caller());
    let images: Vec<String> = images.iter().map(|(image, _)| image.named().text()).collect();
    assert_eq!(images, ["r", "shop/r"]);
    assert_eq!(fixture.store.token(&token.id).as_deref(), Some(&token));
    // The name is free in a project and taken in the other, in the database too.
    let refused = fixture.make(web(2, "default").into()).await;
    assert!(matches!(refused, Err(MutateError::Refused(Refusal::VmNameTaken { .. }))));
}

#[tokio::test]
async fn how_long_a_root_image_is_outlives_a_restart_and_is_found_for_vms_of_before() {
    use crate::model::image::StoredKind;
    let fixture = fixture().await;
    fixture.make(CreateProject(project_record("shop")).into()).await.expect("made");
    for (name, kind) in [("vmlinux", StoredKind::Kernel), ("root.ext4", StoredKind::Root)] {
        let (image, _) = crate::testing::image(name, kind, name.as_bytes());
        let size_bytes = (2000 << 20) + 1;
        let image = ImageRecord { project: project("shop"), size_bytes, ..(*image).clone() };
        let put = PutImage { image: Arc::new(image), replace: false, public: None };
        fixture.make(put.into()).await.expect("stored");
    }
    let web = CreateVm { project: project("shop"), ..create(1, "web") };
    fixture.make(web.into()).await.expect("created");
    let (open, directory) = fixture.reopened().await;
    drop(open);
    let length = || async {
        let open = open_in(&directory).await;
        open.vms().map(|vm| vm.root_image_mib).collect::<Vec<_>>()
    };
    assert_eq!(length().await, [2001]);
    // As the server before left it: the column is the migration's.
    let mut connection = connect(&database(&directory)).await.expect("opens");
    let migration = include_str!("../../../migrations/0017_root_image_lengths.sql");
    let before = "ALTER TABLE vms DROP COLUMN root_image_mib";
    for statements in [before, migration] {
        let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut connection);
        done.await.expect("a table of VMs");
    }
    assert_eq!(length().await, [2001]);
}

#[tokio::test]
async fn a_create_that_only_asks_tells_no_id_that_is_gone_from_one_that_lives() {
    let fixture = fixture().await;
    for name in ["shop", "lab"] {
        fixture.make(CreateProject(project_record(name)).into()).await.expect("made");
    }
    use crate::model::image::StoredKind;
    for (name, kind) in [("vmlinux", StoredKind::Kernel), ("root.ext4", StoredKind::Root)] {
        let (image, _) = crate::testing::image(name, kind, name.as_bytes());
        let put = PutImage { image, replace: false, public: Some(true) };
        fixture.make(put.into()).await.expect("stored");
    }
    for number in [1, 2] {
        let create = CreateVm { project: project("lab"), ..create(number, "") };
        fixture.make(create.into()).await.expect("created");
    }
    // It has no host, so that it is gone at once.
    fixture.make(delete(2)).await.expect("deleted");
    let shop = crate::model::fixtures::caller_of("shop", ProjectRole::Developer);
    let asked = |number, of: &str, host: &str| CreateVm {
        project: project(of),
        spec: spec_with(|draft| draft.placement_host = host.to_owned()),
        ..create(number, "")
    };
    // However else the request is wrong: both in the same order.
    for (of, host) in [("shop", ""), ("shop", "one"), ("lab", ""), ("none", "")] {
        let answer = async |number| {
            let refused = fixture.store.check(&shop, asked(number, of, host)).await;
            let Err(MutateError::Refused(refused)) = refused else { panic!("{refused:?}") };
            refused.to_string().replace(&vm_id(number).to_string(), "ID")
        };
        assert_eq!(answer(1).await, answer(2).await, "{of} {host}");
    }
}

#[tokio::test]
async fn what_is_public_no_longer_and_a_quota_that_is_smaller_stay_so_over_a_restore() {
    use crate::model::image::StoredKind;
    let fixture = fixture().await;
    for name in ["shop", "lab"] {
        fixture.make(CreateProject(project_record(name)).into()).await.expect("made");
    }
    let quota = |name, vms, vcpus| {
        let quota = Quota { vms, vcpus, ..Quota::default() };
        AnyMutation::from(UpdateProject { name: project(name), quota })
    };
    let image = |name, public| {
        let (image, _) = crate::testing::image(name, StoredKind::Root, b"root");
        AnyMutation::from(PutImage { image, replace: true, public: Some(public) })
    };
    for made in [quota("shop", 9, 0), quota("lab", 1, 1)] {
        fixture.make(made).await.expect("there");
    }
    for name in ["base", "shut", "deleted"] {
        fixture.make(image(name, true)).await.expect("stored");
    }
    let web = CreateVm { project: project("shop"), ..create(1, "web") };
    let kernel = crate::testing::image("vmlinux", StoredKind::Kernel, b"kernel").0;
    let put = PutImage { image: kernel, replace: true, public: Some(true) };
    fixture.make(put.into()).await.expect("stored");
    fixture.make(image("root.ext4", true)).await.expect("stored");
    fixture.make(web.into()).await.expect("created");
    let copy = fixture.directory.path().join("copy");
    let note = BackupNote { made_at: at(5), version: "1".to_owned(), ca_sha256: "ca".to_owned() };
    backup(&database(&fixture.directory), &copy, &note).await.expect("made");
    let gone = DeleteImage { image: Named::new(&Default::default(), "deleted") };
    for since in [
        quota("shop", 3, 8),
        // More than then is the past's to say.
        quota("lab", 7, 0),
        image("shut", false),
        gone.into(),
        delete(1),
    ] {
        fixture.make(since).await.expect("it is there");
    }
    fixture.store.close().await;
    let path = database(&fixture.directory);
    let restored = restore(&path, &copy, at(10), RestoreTerms::default()).await.expect("restored");
    assert_eq!(restored.shut_out.images, ["deleted", "shut"]);
    assert_eq!(restored.shut_out.quotas, ["shop"]);
    let again: Vec<_> = restored.made_again.iter().map(|vm| vm.name.as_str()).collect();
    assert_eq!(again, ["shop/web"]);
    let open = open_in(&fixture.directory).await;
    let fixture = started(open, fixture.directory);
    let images = fixture.store.images(&caller());
    let public = images.iter().filter(|(image, _)| image.public);
    let public: Vec<_> = public.map(|(image, _)| image.name.as_str()).collect();
    assert_eq!(public, ["base", "root.ext4", "vmlinux"]);
    let quotas = fixture.store.projects();
    let quotas: Vec<_> =
        quotas.iter().map(|project| (project.quota.vms, project.quota.vcpus)).collect();
    assert_eq!(quotas, [(1, 1), (3, 8)], "of lab and shop");
}

#[tokio::test]
async fn a_later_project_by_the_same_name_hears_nothing_of_the_first() {
    let fixture = fixture().await;
    let shop = || project("shop");
    fixture.make(CreateProject(project_record("shop")).into()).await.expect("made");
    let kept = |name, kind| {
        let (image, _) = crate::testing::image(name, kind, b"public");
        PutImage { image, replace: false, public: Some(true) }
    };
    use crate::model::image::StoredKind;
    fixture.make(kept("vmlinux", StoredKind::Kernel).into()).await.expect("stored");
    fixture.make(kept("root.ext4", StoredKind::Root).into()).await.expect("stored");
    let web = CreateVm { project: shop(), ..create(1, "web") };
    fixture.make(web.into()).await.expect("created");
    // It has no host, so that it is gone at once.
    fixture.make(delete(1)).await.expect("deleted");
    let named = Named::new(&shop(), "web");
    let last = fixture.store.last_deleted(&named).await.expect("readable");
    assert_eq!(last, Some(vm_id(1)));
    assert_eq!(fixture.store.deleted_of(vm_id(1)).await.expect("readable"), Some(shop()));
    fixture.make(DeleteProject(shop()).into()).await.expect("empty");
    // A watch could resume from before, and would be told the VMs of the first.
    let again = fixture.make(CreateProject(project_record("shop")).into()).await;
    let Err(MutateError::Refused(Refusal::ProjectNameUsed { .. })) = again else {
        panic!("{again:?}")
    };
    let (open, directory) = fixture.reopened().await;
    let fixture = started(open, directory);
    fixture.make(CreateProject(project_record("shop")).into()).await.expect("made");
    assert_eq!(fixture.store.last_deleted(&named).await.expect("readable"), None);
    assert_eq!(fixture.store.deleted_of(vm_id(1)).await.expect("readable"), None);
    assert!(fixture.store.was_deleted(vm_id(1)).await.expect("readable"), "its id is used up");
}
