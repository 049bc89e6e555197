//! Whatever is asked, in whatever order: nothing is given twice and nothing is over-booked.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use proptest::strategy::Strategy;

use super::*;

const VMS: u128 = 12;
const HOSTS: u128 = 3;

#[derive(Debug, Clone)]
enum Step {
    Create { vm: u128, name: u8, memory: u32, host: Option<u128> },
    Grow { vm: u128, memory: u32 },
    Power(u128, Power),
    Delete(u128),
    Forget(u128),
    PlacePending,
    Cordon(u128, bool),
    Capacity(u128, bool),
    RemoveHost(u128),
    JoinHost(u128),
}

fn step() -> impl Strategy<Value = Step> {
    let vm = 0..VMS;
    let host = 0..HOSTS;
    let memory = prop_oneof![Just(64_u32), Just(512), Just(2000)];
    let powers = prop_oneof![
        Just(START),
        Just(Power::Start { again: true }),
        Just(STOP),
        Just(Power::Pause),
        Just(Power::Resume),
        Just(Power::Reboot { grace: DEFAULT_STOP_GRACE, reset_root_disk: true }),
    ];
    prop_oneof![
        4 => (vm.clone(), 0..8_u8, memory.clone(), proptest::option::weighted(0.2, host.clone()))
            .prop_map(|(vm, name, memory, host)| Step::Create { vm, name, memory, host }),
        2 => (vm.clone(), memory).prop_map(|(vm, memory)| Step::Grow { vm, memory }),
        2 => (vm.clone(), powers).prop_map(|(vm, power)| Step::Power(vm, power)),
        2 => vm.clone().prop_map(Step::Delete),
        3 => vm.prop_map(Step::Forget),
        2 => Just(Step::PlacePending),
        1 => (host.clone(), any::<bool>()).prop_map(|(host, on)| Step::Cordon(host, on)),
        1 => (host.clone(), any::<bool>()).prop_map(|(host, on)| Step::Capacity(host, on)),
        1 => host.clone().prop_map(Step::RemoveHost),
        1 => host.prop_map(Step::JoinHost),
    ]
}

fn mutation(step: &Step, number: usize) -> Option<AnyMutation> {
    let id = |vm: u128| VmRef::Id(vm_id(vm));
    let sized = |memory: u32, host: Option<u128>| {
        spec_with(move |draft| {
            draft.memory_mib = memory;
            draft.placement_host = host.map(|host| format!("host{host}")).unwrap_or_default();
        })
    };
    Some(match step {
        Step::Create { vm, name, memory, host } => {
            let name = if *name == 0 { String::new() } else { format!("name{name}") };
            AnyMutation::CreateVm(CreateVm { spec: sized(*memory, *host), ..create(*vm, &name) })
        }
        Step::Grow { vm, memory } => {
            let spec = sized(*memory, None);
            AnyMutation::UpdateVm(UpdateVm {
                vm: id(*vm),
                etag: None,
                spec: NewSpec::Whole(spec),
                allow_restart: true,
            })
        }
        Step::Power(vm, power) => {
            AnyMutation::SetPower(SetPower { vm: id(*vm), etag: None, power: *power })
        }
        Step::Delete(vm) => AnyMutation::DeleteVm(DeleteVm { vm: id(*vm), etag: None }),
        Step::Forget(vm) => AnyMutation::Forget(Forget { vm: vm_id(*vm) }),
        Step::PlacePending => AnyMutation::PlacePending(PlacePending),
        Step::Cordon(host, cordoned) => AnyMutation::SetCordon(SetCordon {
            host: HostRef::Name(format!("host{host}")),
            etag: None,
            cordoned: *cordoned,
        }),
        Step::RemoveHost(host) => AnyMutation::DeleteHost(DeleteHost {
            host: HostRef::Name(format!("host{host}")),
            etag: None,
        }),
        Step::JoinHost(host) => AnyMutation::JoinHost(JoinHost {
            new_id: host_id(*host + 100 * u128::try_from(number).expect("small")),
            ..join(*host, &format!("token{number}"), &format!("host{host}"))
        }),
        Step::Capacity(..) => return None,
    })
}

/// What must be true after every step.
fn check(ledger: &Ledger) {
    let mut names = HashSet::new();
    let mut addresses = HashSet::new();
    let mut slots: HashMap<HostId, HashSet<u32>> = HashMap::new();
    let mut booked: HashMap<HostId, Resources> = HashMap::new();
    for vm in ledger.vms() {
        assert!(names.insert(&vm.name), "the name {} is there twice", vm.name);
        assert_eq!(vm.host.is_some(), vm.net.is_some());
        assert_eq!(vm.host.is_none(), vm.pending.is_some());
        let (Some(host), Some(net)) = (vm.host, vm.net) else { continue };
        assert!(net.slot >= 2);
        assert!(addresses.insert(net.address), "{} is there twice", net.address);
        assert!(slots.entry(host).or_default().insert(net.slot), "a slot is there twice");
        let sum = booked.entry(host).or_default();
        *sum = sum.plus(vm.spec.resources());
    }
    for (id, entry) in &ledger.hosts {
        let sum = booked.remove(id).unwrap_or_default();
        assert_eq!(entry.used().booked, sum, "the bookings of a host are not its VMs'");
        let limit = ledger.config.overcommit.limit(ROOM);
        assert!(sum.memory_mib <= limit.memory_mib, "memory is over-booked: {sum:?}");
        assert!(sum.vcpus <= limit.vcpus, "vCPUs are over-booked: {sum:?}");
    }
    assert!(booked.is_empty(), "VMs on hosts that are not there");
    let pending = ledger.vms().filter(|vm| vm.host.is_none()).count();
    assert_eq!(ledger.pending_count(), pending);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice_or_over_booked(steps in proptest::collection::vec(step(), 1..80)) {
        let mut ledger = Ledger::new(LedgerConfig::default());
        for host in 0..HOSTS {
            add_host(&mut ledger, host, &format!("host{host}"));
        }
        let mut used_up = HashSet::new();
        for (number, step) in (1..).zip(&steps) {
            let id_of = |ledger: &Ledger, host: u128| {
                ledger.host(&HostRef::Name(format!("host{host}"))).map(|host| host.id)
            };
            if let Step::Capacity(host, available) = step {
                if let Some(id) = id_of(&ledger, *host) {
                    ledger.set_capacity(id, Some(ROOM), *available);
                }
                continue;
            }
            if let Step::JoinHost(_) = step {
                let token = token(&format!("token{number}"));
                make(&mut ledger, AnyMutation::CreateJoinToken(CreateJoinToken(token))).expect("kept");
            }
            let mutation = mutation(step, number).expect("not a capacity");
            let before = ledger.vms().count();
            let first = make(&mut ledger, mutation.clone());
            check(&ledger);
            match (step, &first) {
                (Step::Create { vm, .. }, Ok(Outcome::Vm { intent, .. })) => {
                    prop_assert!(!used_up.contains(vm), "an id was used twice");
                    // The same again: the same VM, and nothing changes.
                    let again = make(&mut ledger, mutation);
                    let same = Ok(Outcome::Vm { intent: Arc::clone(intent), changed: false });
                    prop_assert_eq!(again, same);
                }
                (Step::Delete(vm) | Step::Forget(vm), Ok(Outcome::VmGone(_))) => {
                    used_up.insert(*vm);
                }
                (Step::JoinHost(host), Ok(_)) => {
                    let id = id_of(&ledger, *host).expect("joined");
                    ledger.set_capacity(id, Some(ROOM), true);
                }
                (_, Err(_)) => prop_assert_eq!(ledger.vms().count(), before),
                _ => {}
            }
        }
    }

    /// What the writer does after a failure: everything from the stored rows.
    #[test]
    fn a_ledger_made_anew_from_its_rows_is_the_same(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut ledger = Ledger::new(LedgerConfig::default());
        for host in 0..HOSTS {
            add_host(&mut ledger, host, &format!("host{host}"));
        }
        for (number, step) in (1..).zip(&steps) {
            if let Some(mutation) = mutation(step, number) {
                let _ = make(&mut ledger, mutation);
            }
        }
        let mut anew = Ledger::new(ledger.config().clone());
        anew.apply(&ledger.hosts().cloned().map(Change::put).collect::<Vec<_>>());
        anew.apply(&ledger.vms().cloned().map(Change::put).collect::<Vec<_>>());
        anew.keep_capacities_of(&ledger);
        check(&anew);
        for (id, entry) in &ledger.hosts {
            let new = anew.hosts.get(id).expect("there");
            prop_assert_eq!(new.used(), entry.used());
            prop_assert_eq!(new.candidate(ledger.config().overcommit).has_free_slot, entry.candidate(ledger.config().overcommit).has_free_slot);
        }
        prop_assert_eq!(&anew.names, &ledger.names);
        prop_assert_eq!(&anew.pending, &ledger.pending);
    }
}
