//! Configurations that are taken and that are not.

use std::fs;

use super::*;

fn parse(text: &str) -> Result<AgentConfig, toml::de::Error> {
    toml::from_str(text)
}

fn problems(config: &AgentConfig) -> Vec<String> {
    match config.check() {
        Ok(()) => Vec::new(),
        Err(ConfigError::Invalid(problems)) => problems,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_empty_file_is_the_defaults_and_they_fit() {
    let config = parse("").unwrap();
    assert_eq!(config, AgentConfig::default());
    assert_eq!(problems(&config), Vec::<String>::new());
}

#[test]
fn an_unknown_key_is_refused_in_every_section() {
    for text in ["no_such = 1", "[guests]\nno_such = 1", "[tools]\nno_such = 1"] {
        assert!(parse(text).is_err(), "{text}");
    }
}

#[test]
fn all_problems_are_listed_at_once() {
    let config = parse(
        "listen = \"127.0.0.1:1\"\nmetrics_listen = \"127.0.0.1:1\"\ninstance = \"B\"\n\
         state_dir = \"state\"\n[tools]\njailer = \"jailer\"\n\
         [guests]\nuid_base = 0\nmax_files = 1\ncgroup_parent = \"../x\"\n[disks]\nalarm_percent = 100\n\
         [limits]\ntool_secs = 0\n\
         [sweep]\ngrace_secs = 0\nbudget_per_hour = 4001\n",
    )
    .unwrap();
    insta::assert_snapshot!(problems(&config).join("\n"), @r#"
    listen and metrics_listen are both 127.0.0.1:1
    instance is "B"; an instance tag is one letter a-z and then one of a-z and 0-9
    tools.jailer is jailer; must be an absolute path
    state_dir is state; must be an absolute path
    guests.cgroup_parent is "../x"; must be a relative path without "." and ".."
    guests.uid_base is 0; must be 1000 to 2000000000
    guests.max_files is 1; must be 64 to 1048576
    disks.alarm_percent is 100; must be 1 to 99
    limits.tool_secs is 0; must be 1 to 600
    sweep.grace_secs is 0; must be 1 to 86400
    sweep.budget_per_hour is 4001; must be at most 4000
    "#);
}

#[test]
fn what_the_sweep_goes_by_can_be_set() {
    let text = "[sweep]\ngrace_secs = 5\ninterval_secs = 7\nbudget_per_hour = 0\nautomatic = false";
    let settings = parse(text).unwrap().sweep();
    assert_eq!(settings.grace, Duration::from_secs(5));
    assert_eq!(settings.interval, Duration::from_secs(7));
    assert_eq!(settings.budget_per_hour, 0);
    assert!(!settings.automatic);
    assert!(AgentConfig::default().sweep().automatic);
}

#[test]
fn flags_go_over_the_file() {
    let overrides = Overrides {
        instance: Some("zz".to_owned()),
        state_dir: Some(PathBuf::from("/s")),
        jailer: Some(PathBuf::from("/j")),
        ..Overrides::default()
    };
    let config = AgentConfig::default().with(overrides);
    assert_eq!(config.jails(), Path::new("/s/jails"));
    let linux = config.linux();
    assert_eq!(linux.tools.get(&Tool::Jailer), Some(&PathBuf::from("/j")));
    assert_eq!(linux.bridge.as_str(), "zzbr0");
    assert_eq!(linux.chains.nat, "BANGER-ZZ-NAT");
    assert!(linux.cgroup_parent.ends_with("banger-guests.slice/zz"));
}

#[test]
fn a_file_that_is_not_there_or_no_toml_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent.toml");
    let missing = AgentConfig::load(Some(&path), Overrides::default()).unwrap_err();
    assert!(missing.to_string().contains("agent.toml"), "{missing}");
    fs::write(&path, "listen = 7").unwrap();
    let bad = AgentConfig::load(Some(&path), Overrides::default()).unwrap_err();
    assert!(matches!(bad, ConfigError::Parse { .. }));
}

#[test]
fn vmm_and_root_disks_are_left_to_the_machine_unless_they_are_said() {
    let auto = parse("").unwrap().linux();
    assert_eq!((auto.vmm, auto.root_disks), (None, None));
    let said = parse("vmm = \"qemu\"\nroot_disks = \"copy\"").unwrap().linux();
    let expected = (Some(crate::host::VmmKind::Qemu), Some(crate::host::RootDiskKind::Copy));
    assert_eq!((said.vmm, said.root_disks), expected);
    let said = parse("vmm = \"firecracker\"\nroot_disks = \"snapshot\"").unwrap().linux();
    assert!(said.vmm.is_some() && said.root_disks.is_some());
    assert!(parse("vmm = \"qmeu\"").is_err());
}

#[test]
fn guests_are_told_the_hosts_name_servers_unless_the_configuration_lists_others() {
    let dns = |line: &str| {
        let text = format!("[guests]\n{line}\n");
        toml::from_str::<AgentConfig>(&text).map(|config| config.guests.dns)
    };
    let resolved = |line: &str| {
        let of_the_host = || vec!["192.0.2.1".parse().expect("an address")];
        let told = dns(line).expect("is taken").resolve(of_the_host);
        told.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(resolved(""), ["192.0.2.1"]);
    assert_eq!(resolved(r#"dns = "host""#), ["192.0.2.1"]);
    assert_eq!(resolved("dns = []"), Vec::<String>::new());
    assert_eq!(resolved(r#"dns = ["198.51.100.7"]"#), ["198.51.100.7"]);
    let refused = dns(r#"dns = "hosts""#).expect_err("is no such word").to_string();
    assert!(refused.contains(r#""host", or a list of IPv4 addresses"#), "{refused}");
}
