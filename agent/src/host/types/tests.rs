//! What may name a kernel object, and what may not.

use super::*;

#[test]
fn a_name_that_a_tool_could_read_as_an_option_or_a_path_is_refused() {
    for text in ["", "-rf", ".", "..", ".hidden", "a/b", "a b", "a\n", "a\0", "ä", "_a", "a:b"] {
        assert!(PathPart::new(text).is_err(), "{text:?}");
        assert!(TapName::new(text).is_err(), "{text:?}");
        assert!(DmName::new(text).is_err(), "{text:?}");
        assert!(JailId::new(text).is_err(), "{text:?}");
        assert!(LinkName::new(text).is_err(), "{text:?}");
    }
    assert!(PathPart::new("root.cow").is_ok());
    assert!(TapName::new("bg.0").is_err());
}

#[test]
fn a_tap_name_is_at_most_fifteen_bytes() {
    assert!(TapName::new("bg-abcdefghijkl").is_ok());
    assert!(TapName::new("bg-abcdefghijklm").is_err());
}

#[test]
fn a_name_read_from_json_is_checked_too() {
    assert!(serde_json::from_str::<PathPart>("\"../x\"").is_err());
    assert_eq!(serde_json::from_str::<PathPart>("\"x\"").unwrap().as_str(), "x");
    assert!(serde_json::from_str::<Pid>("0").is_err());
}

#[test]
fn a_pid_is_never_zero_nor_negative() {
    assert_eq!(Pid::new(0), None);
    assert_eq!(Pid::new(u32::MAX), None);
    assert_eq!(Pid::new(1).unwrap().get(), 1);
}

#[test]
fn an_ethernet_address_prints_as_it_was_read() {
    assert_eq!("02:fc:0a:40:00:02".parse::<MacAddress>().unwrap().to_string(), "02:fc:0a:40:00:02");
    for text in ["", "02:fc:0a:40:00", "02:fc:0a:40:00:02:03", "2:fc:0a:40:00:02", "02-fc"] {
        assert!(text.parse::<MacAddress>().is_err(), "{text:?}");
    }
}

#[test]
fn a_subnet_has_no_bits_beyond_its_prefix() {
    let subnet: Subnet = "10.64.16.0/20".parse().unwrap();
    assert!(subnet.contains("10.64.31.255".parse().unwrap()));
    assert!(!subnet.contains("10.64.32.0".parse().unwrap()));
    for text in ["10.64.16.1/20", "10.64.16.0", "10.64.16.0/33", "10.64.16.0/0", "x/20"] {
        assert!(text.parse::<Subnet>().is_err(), "{text:?}");
    }
}

#[test]
fn a_device_number_reads_major_and_minor() {
    assert_eq!("253:4".parse::<DeviceNumber>(), Ok(DeviceNumber { major: 253, minor: 4 }));
    assert!("253".parse::<DeviceNumber>().is_err());
}
