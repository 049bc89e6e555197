//! The metadata the guest would read: stored, merged and bounded, as the real one does.
//!
//! Driven by [`Machine::act`]. The guest played here never reads it; requests see what they wrote.

use serde_json::{Value, json};

use super::{Done, Machine, OK, Refusal};
use crate::firecracker::config;

impl Machine {
    pub(super) fn set_mmds_config(&mut self, config: config::MmdsConfig) -> Done {
        let refuse = |sentence| Err(Refusal::new(format!("MMMDS config error: {sentence}")));
        if let Some(address) = config.ipv4_address {
            let [a, b, c, _] = address.octets();
            if (a, b) != (169, 254) || c == 0 || c == 255 {
                return refuse("The MMDS IPv4 address is not link local.");
            }
        }
        if config.network_interfaces.is_empty() {
            return refuse(
                "The list of network interface IDs that allow forwarding MMDS requests is empty.",
            );
        }
        let known = |id: &String| self.networks.iter().any(|(net, _)| net.iface_id == *id);
        if !config.network_interfaces.iter().all(known) {
            return refuse(
                "The list of network interface IDs provided contains at least one ID that does \
                 not correspond to any existing network interface.",
            );
        }
        self.mmds.get_or_insert(Value::Null);
        self.mmds_config = Some(config);
        OK
    }

    pub(super) fn put_mmds(&mut self, value: Value) -> Done {
        if value.to_string().len() > self.mmds_limit {
            return Err(mmds_full());
        }
        self.mmds = Some(value);
        OK
    }

    pub(super) fn patch_mmds(&mut self, patch: &Value) -> Done {
        let Some(value) = self.mmds.as_ref().filter(|value| !value.is_null()) else {
            return Err(mmds_missing());
        };
        let mut value = value.clone();
        merge(&mut value, patch);
        self.put_mmds(value)
    }
}

pub(super) fn empty(value: Value) -> Value {
    if value.is_null() { json!({}) } else { value }
}

pub(super) fn mmds_missing() -> Refusal {
    Refusal::new("MMDS error: The MMDS data store is not initialized.")
}

fn mmds_full() -> Refusal {
    let sentence = "MMDS limit exceeded error: The MMDS patch request doesn't fit.";
    Refusal { status: 413, sentence: sentence.to_owned() }
}

/// RFC 7396.
fn merge(value: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    if let Value::Object(value) = value {
        for (key, change) in patch {
            if change.is_null() {
                value.remove(key);
            } else {
                merge(value.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
    }
}
