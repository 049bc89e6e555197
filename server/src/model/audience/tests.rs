use super::*;

const OF_PROJECT: Audience = Audience { secrets: Secrets::Shown, sees_hosts: false };
const OF_FLEET: Audience = Audience { secrets: Secrets::Shown, sees_hosts: true };

#[test]
fn each_audience_has_a_place_of_its_own() {
    for (index, audience) in Audience::ALL.into_iter().enumerate() {
        assert_eq!(audience.index(), index);
    }
}

#[test]
fn of_a_sentence_viewers_see_nothing_that_a_guest_has_printed() {
    let panicked = "the guest's kernel panicked";
    for (sentence, seen) in [
        (format!("{panicked}; its console ends: Kernel panic - not syncing: a … | b"), panicked),
        // Of an earlier agent, and in the history.
        (format!("{panicked}: Kernel panic - not syncing: a; its console ends: b"), panicked),
        (format!("{panicked}: Kernel panic - not syncing: a; its console says nothing"), panicked),
        ("it ended; its console ends: a; its console ends: b".to_owned(), "it ended"),
        ("the guest shut down".to_owned(), "the guest shut down"),
    ] {
        for audience in Audience::ALL {
            let told = audience.told("GUEST_PANIC", &sentence);
            match audience.secrets {
                Secrets::Hidden => assert_eq!(told, seen),
                Secrets::Shown => assert_eq!(told, sentence),
            }
        }
    }
}

#[test]
fn of_what_a_host_says_a_project_reads_what_is_about_its_vm_alone() {
    let words = "address 10.64.0.2 is that of VM 0192f0c1; 4096 bytes are free";
    for reason in ["ADDRESS_IN_USE", "DISK_FULL", "ROOT_DISK_NEARLY_FULL", "AGENT_REFUSED", "NEW"] {
        assert_eq!(OF_PROJECT.told(reason, words), WITHHELD, "{reason}");
        assert_eq!(OF_FLEET.told(reason, words), words, "{reason}");
        assert_eq!(OF_PROJECT.told(reason, ""), "", "{reason}");
    }
    for reason in OF_THE_VM {
        assert_eq!(OF_PROJECT.told(reason, "of the VM"), "of the VM", "{reason}");
    }
}

#[test]
fn of_what_is_answered_to_a_call_into_a_guest_a_project_reads_what_is_the_guests() {
    let words = "VM 0192: could not read /var/lib/banger/vms/0192/console.log";
    for reason in ["CONSOLE_UNAVAILABLE", "STORE_UNAVAILABLE", "HOST_REFUSED", "INTERNAL", "NEW"] {
        assert_eq!(OF_PROJECT.told_by_guest(reason, words), WITHHELD, "{reason}");
        assert_eq!(OF_FLEET.told_by_guest(reason, words), words, "{reason}");
    }
    for reason in OF_THE_GUEST {
        assert_eq!(OF_PROJECT.told_by_guest(reason, "of the guest"), "of the guest", "{reason}");
    }
    assert_eq!(OF_PROJECT.told_by_guest("NEW", ""), "");
}

#[test]
fn why_an_image_is_not_there_a_project_reads_without_the_hosts_words() {
    let failed = format!("image a{TRANSFER_FAILED}one: the agent at 192.0.2.7:7072 refused");
    assert_eq!(
        OF_PROJECT.told("IMAGE_TRANSFER", &failed),
        "image a could not be brought to its host"
    );
    assert_eq!(OF_FLEET.told("IMAGE_TRANSFER", &failed), failed);
    let coming = "image a is brought to host one: 30 % of 9 MiB";
    assert_eq!(OF_PROJECT.told("IMAGE_TRANSFER", coming), coming);
}

#[test]
fn why_a_vm_has_no_host_is_the_servers_own_word_and_told_to_whoever_sees_the_vm() {
    for why in crate::model::placement::NoHost::ALL {
        let sentence = why.sentence();
        assert_eq!(OF_PROJECT.told(why.reason(), sentence), sentence, "{}", why.reason());
    }
}
