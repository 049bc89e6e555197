//! That two set-ups on one machine have nothing in common.

use super::*;

fn claimed(share: &Share, hosts: usize) -> Taken {
    let start = u64::from(share.first_uid);
    Taken {
        tags: (0..hosts).map(|index| share.tag(index)).collect(),
        uids: std::iter::once(start..start + u64::from(UIDS)).collect(),
        networks: network(&share.pool).into_iter().collect(),
    }
}

#[test]
fn two_set_ups_share_no_tag_no_address_and_no_user_id() {
    let first = choose(&Taken::default()).unwrap();
    let taken = claimed(&first, 1);
    let second = choose(&taken).unwrap();
    for index in 0..usize::from(HOSTS) {
        assert!(!taken.tags.contains(&second.tag(index)));
        assert!(!taken.uids[0].contains(&u64::from(second.first_uid(index))));
    }
    assert!(!overlap(network(&second.pool).unwrap(), taken.networks[0]));
    assert_eq!((first.pool.as_str(), second.pool.as_str()), ("10.64.0.0/16", "10.65.0.0/16"));
}

#[test]
fn sixteen_agents_have_tags_that_an_agent_takes_and_user_ids_of_their_own() {
    let share = choose(&Taken::default()).unwrap();
    let tags: BTreeSet<_> = (0..usize::from(HOSTS)).map(|index| share.tag(index)).collect();
    assert_eq!(tags.len(), usize::from(HOSTS));
    for tag in &tags {
        let bytes = tag.as_bytes();
        assert!(bytes.len() == 2 && bytes[0].is_ascii_lowercase(), "{tag}");
        assert!(bytes[1].is_ascii_lowercase() || bytes[1].is_ascii_digit(), "{tag}");
    }
    assert_eq!(share.first_uid(15) - share.first_uid(14), UIDS_PER_AGENT);
}

#[test]
fn what_the_machine_uses_itself_is_not_taken() {
    let taken = Taken {
        networks: vec![network("10.64.3.0/24").unwrap(), network("10.65.0.0/20").unwrap()],
        uids: vec![200_000..204_096, 265_600..265_601],
        ..Taken::default()
    };
    let share = choose(&taken).unwrap();
    assert_eq!(share.pool, "10.66.0.0/16");
    assert_eq!(share.first_uid, FIRST_UID + 2 * UIDS);
}

#[test]
fn ids_of_accounts_and_subordinate_ids_are_somebodys() {
    assert_eq!(owned("alice:165536:65536", true), Some(165_536..231_072));
    assert_eq!(owned("batch:x:200100:200100::/:/bin/sh", false), Some(200_100..200_101));
    assert_eq!(owned("broken line", true), None);
    let status = "Name:\tx\nUid:\t0\t200007\t0\t0\nGid:\t1\t1\t1\t1\n";
    assert_eq!(users(status).collect::<Vec<_>>(), [0, 200_007, 0, 0]);
}

#[test]
fn a_machine_on_which_everything_is_taken_is_said() {
    let all = Taken { networks: vec![(0, 0)], ..Taken::default() };
    assert!(choose(&all).is_err());
}

#[test]
fn bridges_and_taps_of_other_agents_show_their_tags() {
    assert_eq!(tag_of_link("b0br0"), Some("b0"));
    assert_eq!(tag_of_link("bg-abcdefghijkl"), Some("bg"));
    assert_eq!(tag_of_link("eth0"), None);
    assert_eq!(tag_of_link("lo"), None);
}

#[cfg(target_endian = "little")]
#[test]
fn routes_of_the_kernel_are_read_without_the_default_one() {
    let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU";
    assert_eq!(route(header), None);
    let default = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
    assert_eq!(route(default), None);
    let network = "eth0\t0003400A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
    assert_eq!(route(network), Some((u32::from(Ipv4Addr::new(10, 64, 3, 0)), 24)));
}

#[test]
fn a_share_goes_into_configurations_beside_what_somebody_has_set() {
    let share = choose(&Taken::default()).unwrap();
    let pool = "guest_pool = \"10.64.0.0/16\"\nguest_prefix = 20\n";
    assert_eq!(share.server_config(""), pool);
    let images = "[images]\nguest_agent = \"/x\"\n";
    assert_eq!(share.server_config(images), format!("{pool}{images}"));
    let set = "guest_pool = \"10.9.0.0/16\"\n";
    assert_eq!(share.server_config(set), set);

    assert_eq!(share.agent_config(1, ""), "[guests]\nuid_base = 204096\n");
    assert_eq!(
        share.agent_config(0, "vmm = \"qemu\""),
        "vmm = \"qemu\"\n[guests]\nuid_base = 200000\n"
    );
    let guests = "[guests]\nmax_files = 99\n[sweep]\n";
    assert_eq!(
        share.agent_config(0, guests),
        "[guests]\nuid_base = 200000\nmax_files = 99\n[sweep]\n"
    );
    let set = "[guests]\nuid_base = 7000\n";
    assert_eq!(share.agent_config(0, set), set);
    assert_eq!(Share::of_a_simulation().agent_config(0, ""), "");
}

#[test]
fn a_share_is_taken_out_of_a_configuration_as_it_was_put_in() {
    let share = Share { letter: 'c', pool: "10.65.0.0/16".to_owned(), first_uid: 265_536 };
    let server = "# mine\n[images]\nguest_agent = \"/x\"\n";
    assert_eq!(share.without_server_config(&share.server_config(server)), server);
    let agent = "[guests]\nmax_neighbours = 9\n";
    assert_eq!(share.without_agent_config(2, &share.agent_config(2, agent)), agent);
    for theirs in ["guest_pool = \"10.0.0.0/16\"\n", "[guests]\nuid_base = 7\n"] {
        assert_eq!(share.without_server_config(theirs), theirs);
        assert_eq!(share.without_agent_config(0, theirs), theirs);
    }
}
