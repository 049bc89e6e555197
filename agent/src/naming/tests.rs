//! Names stay as they are, fit, and lead back to their VM.

use super::*;

fn id(text: &str) -> VmId {
    text.parse().expect("a test id")
}

#[test]
fn names_of_a_vm_never_change_between_versions() {
    let names = Naming::default().vm(id("0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90"));
    insta::assert_debug_snapshot!(names, @r#"
    VmNames {
        dir: 0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90,
        jail: 0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90,
        tap: bg-4uga2taummux,
        snapshot: banger-bg-0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90,
        rules: 0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90,
    }
    "#);
}

#[test]
fn every_name_leads_back_to_its_vm() {
    let naming = Naming::new("x9".parse().unwrap());
    let vm = id("0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90");
    let names = naming.vm(vm);
    assert_eq!(naming.vm_of_snapshot(&names.snapshot), Some(vm));
    assert_eq!(vm_of_jail(&names.jail), Some(vm));
    assert_eq!(vm_of_rules(&names.rules), Some(vm));
    assert_eq!(vm_of_dir(&names.dir), Some(vm));
    assert!(naming.is_tap(&names.tap));
    assert_eq!(names.tap.as_str().len(), 15);
}

#[test]
fn names_of_another_instance_are_not_ours() {
    let vm = id("0193a7e2-3f40-7c21-9d5e-2b8f4c6a1e90");
    let other = Naming::new("zz".parse().unwrap()).vm(vm);
    assert_eq!(Naming::default().vm_of_snapshot(&other.snapshot), None);
    assert!(!Naming::default().is_tap(&other.tap));
    assert!(!Naming::default().is_tap(&TapName::new("bg-tap0").unwrap()));
}

#[test]
fn an_instance_tag_is_two_characters_that_no_tool_misreads() {
    for text in ["", "b", "bgx", "9a", "-a", "a-", "B1", "a.", "é"] {
        assert!(text.parse::<InstanceTag>().is_err(), "{text:?}");
    }
    assert_eq!("b7".parse::<InstanceTag>().unwrap().as_str(), "b7");
}

#[test]
fn every_constant_file_name_is_valid() {
    for name in [file::RECORD, file::HANDLES, file::COW, file::WORK] {
        assert_eq!(part(name).as_str(), name);
    }
    for name in [in_jail::KERNEL, in_jail::INITRD, in_jail::ROOT, in_jail::WORK] {
        assert_eq!(part(name).as_str(), name);
    }
}
