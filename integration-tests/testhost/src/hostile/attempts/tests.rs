use super::*;
use crate::hostile::marked;

fn scene() -> Scene {
    let party = |n| Party { address: Ipv4Addr::new(10, 64, 0, n), mac: [2, 0xfc, 10, 64, 0, n] };
    Scene {
        own: party(2),
        gateway: party(1),
        victim: party(3),
        uplink: Ipv4Addr::new(192, 0, 2, 2),
        outside: Ipv4Addr::new(192, 0, 2, 1),
    }
}

#[test]
fn a_scene_is_one_word_and_read_back() {
    let word = scene().to_string();
    assert!(!word.contains(char::is_whitespace), "{word}");
    assert_eq!(word.parse(), Ok(scene()));
    let short = word.rsplit_once(',').expect("it has several parts").0;
    let long = format!("{word},1.2.3.4");
    for bad in ["", "10.64.0.2-02fc0a400002", short, &long, &word.replace("02fc", "2fc")] {
        assert_eq!(bad.parse::<Scene>().map_err(|bad| bad.0), Err(bad.to_owned()), "{bad}");
    }
}

/// Else what arrives somewhere could not be told.
#[test]
fn every_frame_of_every_attempt_is_known_by_its_mark() {
    for (number, attempt) in attempts(&scene()).iter().enumerate() {
        assert!(!attempt.frames.is_empty(), "{}", attempt.name);
        for frame in &attempt.frames {
            assert_eq!(marked(frame), u16::try_from(number).ok(), "{}: {frame:x?}", attempt.name);
        }
    }
}

/// What a guest says to be is either its own, or not; the table does not say one of the other.
#[test]
fn what_may_come_to_the_router_is_said_by_itself() {
    let scene = scene();
    let own = |frame: &[u8]| {
        let address = scene.own.address.octets();
        let by_ip = frame[12..14] == [8, 0] && frame[26..30] == address && frame[34..36] != [0, 67];
        let by_arp =
            frame[12..14] == [8, 6] && frame[28..32] == address && frame[22..28] == scene.own.mac;
        frame[6..12] == scene.own.mac && (by_ip || by_arp)
    };
    for attempt in attempts(&scene) {
        let all = attempt.frames.iter().all(|frame| own(frame));
        let any = attempt.frames.iter().any(|frame| own(frame));
        match attempt.reach {
            Reach::NotItsOwn => assert!(!any, "{}", attempt.name),
            Reach::Closed | Reach::Router => assert!(all, "{}", attempt.name),
            Reach::Bridge => {}
        }
    }
}

#[test]
fn every_metadata_service_that_is_known_is_tried() {
    let others = banger_wire::metadata_services::IPV4.map(|address| address.octets());
    let link_local: Vec<_> = METADATA.into_iter().filter(|a| !others.contains(a)).collect();
    assert!(link_local.contains(&[169, 254, 169, 254]), "{link_local:?}");
    assert!(link_local.iter().all(|a| Ipv4Addr::from(*a).is_link_local()), "{link_local:?}");
    assert_eq!(METADATA.len(), link_local.len() + others.len(), "each of the list is there, once");
    let made = attempts(&scene());
    let tried = made.iter().find(|attempt| attempt.name == "metadata services").expect("it is");
    for address in METADATA {
        let is_there = tried.frames.iter().any(|frame| frame[30..34] == address);
        assert!(is_there, "{address:?}");
    }
}
