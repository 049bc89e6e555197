//! The disk is read back by the library that wrote it; its label and files are what NoCloud looks
//! for (cloud-init's documentation, "NoCloud").

use std::io::Read as _;

use super::*;
use crate::vm::fixtures::{shape, vm_id};

const DNS: [Ipv4Addr; 1] = [Ipv4Addr::new(192, 0, 2, 53)];

fn with(metadata: &str) -> Shape {
    Shape { metadata_json: Some(metadata.to_owned()), ..shape(1) }
}

fn told<'a>(shape: &'a Shape, dns: &'a [Ipv4Addr]) -> Told<'a> {
    Told { vm: vm_id(1), shape, dns }
}

/// The disk's label, and a file of it.
fn read(bytes: Vec<u8>, name: &str) -> (String, String) {
    let volume =
        fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).expect("is a volume");
    let mut text = String::new();
    volume.root_dir().open_file(name).expect("is there").read_to_string(&mut text).expect("reads");
    (String::from_utf8_lossy(volume.volume_label_as_bytes()).into_owned(), text)
}

fn json_of(shape: &Shape, name: &str) -> Value {
    let bytes = disk(&told(shape, &DNS)).expect("fits");
    serde_json::from_str(&read(bytes, name).1).expect("is JSON")
}

#[test]
fn a_guest_is_told_its_name_its_address_and_the_way_out() {
    let shape = shape(1);
    let document = document(&told(&shape, &DNS));
    assert_eq!(document["latest"]["meta-data"]["local-hostname"], "vm-1");
    assert_eq!(document["latest"]["meta-data"]["local-ipv4"], "10.64.0.2");
    assert_eq!(document["banger"]["gateway"], "10.64.0.1");
    assert_eq!(document["banger"]["dns"], json!(["192.0.2.53"]));
}

#[test]
fn what_the_spec_says_is_laid_over_what_banger_knows() {
    let shape = with(r#"{"latest":{"meta-data":{"hostname":"mine"}},"banger":7,"app":[1]}"#);
    let document = document(&told(&shape, &DNS));
    assert_eq!(document["latest"]["meta-data"]["hostname"], "mine");
    assert_eq!(document["latest"]["meta-data"]["local-hostname"], "vm-1");
    assert_eq!((&document["banger"], &document["app"]), (&json!(7), &json!([1])));
}

#[test]
fn the_disk_is_one_that_no_cloud_finds_with_all_it_reads() {
    let shape = with(
        r##"{"latest":{"meta-data":{"public-keys":{"0":{"openssh-key":"ssh-ed25519 AAAA me"}}},
            "user-data":"#cloud-config\nhostname: é\n"}}"##,
    );
    let bytes = disk(&told(&shape, &DNS)).expect("fits");
    let (label, user_data) = read(bytes, "user-data");
    assert_eq!((&*label, &*user_data), ("CIDATA", "#cloud-config\nhostname: é\n"));
    let meta_data = json_of(&shape, "meta-data");
    assert_eq!(meta_data["public-keys"], json!(["ssh-ed25519 AAAA me"]));
    assert_eq!(meta_data["instance-id"], vm_id(1).to_string());
    let guest = &json_of(&shape, "network-config")["ethernets"]["guest"];
    assert_eq!(guest["match"]["macaddress"], "02:fc:0a:40:00:02");
    assert_eq!(guest["addresses"], json!(["10.64.0.2/20"]));
    assert_eq!(guest["routes"], json!([{ "to": "0.0.0.0/0", "via": "10.64.0.1" }]));
    assert_eq!(guest["nameservers"]["addresses"], json!(["192.0.2.53"]));
    assert_eq!(json_of(&shape, "metadata.json"), document(&told(&shape, &DNS)));
}

#[test]
fn the_same_makes_the_same_disk_and_another_name_another() {
    let (one, mut other) = (shape(1), shape(1));
    assert_eq!(disk(&told(&one, &[])).expect("fits"), disk(&told(&one, &[])).expect("fits"));
    other.name = "other".to_owned();
    assert_ne!(disk(&told(&one, &[])).expect("fits"), disk(&told(&other, &[])).expect("fits"));
}

#[test]
fn the_largest_document_of_the_api_fits_and_one_that_is_none_of_cloud_inits_does_no_harm() {
    let most = format!(r#"{{"latest":{{"user-data":"{}"}}}}"#, "\\u0001".repeat(5400));
    assert!((32_000..=32 * 1024).contains(&most.len()), "{}", most.len());
    let shape = with(&most);
    assert_eq!(json_of(&shape, "metadata.json")["latest"]["user-data"], "\u{1}".repeat(5400));
    for odd in [r#"{"latest":7}"#, r#"{"latest":{"meta-data":[],"user-data":{"a":1}}}"#] {
        assert!(disk(&told(&with(odd), &[])).is_ok(), "{odd}");
    }
}
