//! The series of what each guest sends and receives, made for one page from what was counted last:
//! a VM that is gone is in no later page.

use std::collections::BTreeMap;

use banger_proto::ids::VmId;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::host::Traffic;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGuest {
    vm: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OneWay {
    vm: String,
    direction: &'static str,
}

/// The series.
pub(super) fn series(traffic: &BTreeMap<VmId, Traffic>) -> Registry {
    let (bytes, packets) = (Family::<OneWay, Counter>::default(), Family::default());
    let refused = Family::<OfGuest, Counter>::default();
    for (vm, traffic) in traffic {
        let vm = vm.to_string();
        for (direction, length, number) in [
            ("sent", traffic.sent_bytes, traffic.sent_packets),
            ("received", traffic.received_bytes, traffic.received_packets),
        ] {
            let one_way = OneWay { vm: vm.clone(), direction };
            bytes.get_or_create(&one_way).inc_by(length);
            let counter: &Counter = &packets.get_or_create(&one_way);
            counter.inc_by(number);
        }
        refused.get_or_create(&OfGuest { vm }).inc_by(traffic.refused_packets);
    }
    let mut registry = Registry::with_prefix("banger_agent");
    let help = "Bytes that a guest has sent or received by its tap";
    registry.register("vm_network_bytes", help, bytes);
    let help = "Frames that a guest has sent or received by its tap";
    registry.register("vm_network_packets", help, packets);
    let help = "Packets of a guest that its host did not let through";
    registry.register("vm_refused_packets", help, refused);
    registry
}
