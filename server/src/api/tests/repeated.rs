//! Every change can be sent again without being made twice: by a `request_id`, or by what it is.

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::api::auth::METHODS;
use crate::model::access::Action;

/// Changes without a `request_id`, and why a repetition does no harm, or what it does.
const WITHOUT: [(&str, &str); 10] = [
    (
        "CreateJoinToken",
        "a second token, which expires unused; nobody keeps the first one's secret",
    ),
    ("JoinHost", "the same token with the same key is answered alike"),
    ("DrainHost", "it is not there yet"),
    ("ImportImage", "the same content by the same name is the same image"),
    ("ImportImageWithProgress", "the same content by the same name is the same image"),
    ("UploadBlob", "the same content has the same digest"),
    ("AttachConsole", "a conversation with a guest, which is not begun again by itself"),
    ("ExecVm", "a conversation with a guest, which is not begun again by itself"),
    ("ForwardVm", "a conversation with a guest, which is not begun again by itself"),
    ("CopyToVm", "the same files are there as after the first"),
];

/// The field names of a method's request.
fn fields_of(path: &str) -> Vec<String> {
    let set = FileDescriptorSet::decode(banger_proto::FILE_DESCRIPTOR_SET).expect("descriptors");
    let (service, method) = path.trim_start_matches('/').split_once('/').expect("a path");
    let ours = set.file.iter().filter(|file| file.package() == "banger.v1");
    let services = ours.clone().flat_map(|file| &file.service);
    let service = services
        .filter(|found| service.ends_with(&format!(".{}", found.name())))
        .find_map(|found| found.method.iter().find(|found| found.name() == method))
        .unwrap_or_else(|| panic!("{path} is not described"));
    let message = service.input_type().trim_start_matches(".banger.v1.");
    let mut messages = ours.flat_map(|file| &file.message_type);
    let message = messages.find(|found| found.name() == message).expect("its request is described");
    message.field.iter().map(|field| field.name().to_owned()).collect()
}

#[test]
fn every_change_has_a_request_id_or_says_what_its_repetition_does() {
    let changes = METHODS
        .iter()
        .filter(|(path, action, _)| *action == Action::Change && path.starts_with("/banger.v1."));
    let (mut with, mut without) = (0, Vec::new());
    for (path, _, _) in changes {
        let name = path.rsplit('/').next().expect("a path has a last part");
        match fields_of(path).iter().any(|field| field == "request_id") {
            true => with += 1,
            false => without.push(name),
        }
    }
    without.sort_unstable();
    let mut listed = WITHOUT.map(|(name, _)| name);
    listed.sort_unstable();
    assert_eq!(without, listed);
    assert!(with >= 14, "{with}");
    // The page names what a program sends again at its own risk; what opens a guest it need not.
    let page = include_str!("../../../../docs/ERRORS.md");
    for name in ["CreateJoinToken", "ImportImage", "UploadBlob"] {
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/ERRORS.md");
    }
}
