//! How systemd's and the agent's words are read.

use super::*;

#[test]
fn a_unit_is_read_from_what_systemctl_shows() {
    let unit = Unit::parse(
        "MainPID=812\nNRestarts=0\nLoadState=loaded\nActiveState=active\nSubState=running\n\
         UnitFileState=enabled\nNeedDaemonReload=yes\n",
    );
    assert_eq!((unit.active.as_str(), unit.main_pid), ("active", 812));
    assert!(unit.needs_reload && unit.is_up());
    assert_eq!(Unit::parse("nonsense\n=\n"), Unit::default());
}

#[test]
fn only_what_was_stopped_on_purpose_is_left_alone() {
    let up = |active: &str| Unit { active: active.to_owned(), ..Unit::default() }.is_up();
    assert!(up("active") && up("activating") && up("failed"));
    assert!(!up("inactive") && !up("deactivating") && !up(""));
}

const PAGE: &str = "\
# HELP banger_agent_vms VMs of the host, by phase.
# TYPE banger_agent_vms gauge
banger_agent_vms{phase=\"preparing\"} 1
banger_agent_vms{phase=\"running\"} 12
banger_agent_vms{phase=\"paused\"} 2
banger_agent_vms{phase=\"stopped\"} 40
banger_agent_vms{phase=\"stopping\"} 1
banger_agent_epoch_total 9
banger_agent_epoch 7
# EOF
";

#[test]
fn the_agents_page_tells_its_starts_and_its_vms() {
    assert_eq!(gauge(PAGE, "banger_agent_epoch"), Some(7));
    assert_eq!(gauge(PAGE, "banger_agent_no"), None);
    assert_eq!(vms_with_process(PAGE), Some(15));
    assert_eq!(vms_with_process("# EOF\n"), None);
}
