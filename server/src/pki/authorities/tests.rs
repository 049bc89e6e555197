use tempfile::TempDir;

use super::*;
use crate::model::fixtures::at;

fn one() -> (TempDir, Authorities) {
    let directory = TempDir::new().expect("a directory");
    let made = Authorities::open_or_make(directory.path(), at(0)).expect("made");
    (directory, made)
}

fn opened(directory: &TempDir) -> Authorities {
    Authorities::open_or_make(directory.path(), at(9)).expect("it opens")
}

#[test]
fn a_second_ca_signs_while_the_first_is_trusted_and_shown_until_it_is_retired() {
    let (directory, first) = one();
    let path = directory.path();
    let old = first.signing().fingerprint();
    assert!(first.is_newest(None) && first.is_newest(Some(old)));
    let new = make_another(path, at(5)).expect("made");
    let both = opened(&directory);
    assert_eq!(both.signing().fingerprint(), new);
    assert_eq!(both.calling().fingerprint(), old, "every agent trusts it");
    assert_eq!(both.digests().len(), 2);
    let pems = both.trusted_pem();
    assert!(pems.starts_with(both.signing().certificate_pem()));
    assert!(pems.ends_with(both.calling().certificate_pem()));
    assert!(both.trusted_pem_from(&hex::encode(old)).starts_with(both.calling().certificate_pem()));
    assert!(!both.is_newest(None) && !both.is_newest(Some(old)) && both.is_newest(Some(new)));

    let there = CaOnDisk::all(path).expect("readable");
    assert_eq!(there.iter().map(|ca| ca.sha256).collect::<Vec<_>>(), [old, new]);
    assert!(there[0].has_signed(None) && there[0].has_signed(Some(old)));
    assert!(there[1].has_signed(Some(new)) && !there[1].has_signed(None));
    let aside = there[0].retire(path).expect("put aside");
    let left = opened(&directory);
    assert_eq!((left.digests(), left.calling().fingerprint()), (vec![new], new));
    assert!(!left.is_newest(None), "signed by one that is gone");
    assert_eq!(CertificateAuthority::fingerprint_in(&aside), Some(old), "it is kept aside");
    // And once more, with one that has a directory of its own.
    let third = make_another(path, at(6)).expect("made");
    assert_ne!(third, new);
    CaOnDisk::all(path).expect("readable")[0].retire(path).expect("put aside");
    assert_eq!(opened(&directory).digests(), [third]);
}

#[test]
fn what_was_cut_off_is_begun_again_or_ended_by_the_next() {
    let (directory, first) = one();
    let path = directory.path();
    // A `ca new` that died.
    fs::create_dir(path.join("ca-new")).expect("made");
    fs::write(path.join("ca-new/ca.key"), "half").expect("written");
    assert_eq!(opened(&directory).digests(), first.digests());
    let new = make_another(path, at(5)).expect("made");
    assert!(!path.join("ca-new").exists());
    // A `ca retire` that died between the two files of the first.
    fs::create_dir_all(path.join("retired/x")).expect("made");
    fs::rename(path.join("ca.key"), path.join("retired/x/ca.key")).expect("moved");
    assert_eq!(opened(&directory).digests(), [new], "no first is made again");
    assert_eq!(CaOnDisk::all(path).expect("readable").len(), 1);
}

#[test]
fn no_second_is_made_where_there_is_no_first() {
    let directory = TempDir::new().expect("a directory");
    assert!(make_another(directory.path(), at(0)).is_err());
    assert!(Authorities::look(directory.path()).expect("readable").is_none());
}
