//! What a guest is told of itself: one document, in two forms.
//!
//! Where the VMM has a metadata service the guest asks it for the document, laid out as EC2 does
//! (`/latest/meta-data/…`, `/latest/user-data`). Elsewhere the same comes on a small read-only disk
//! with the label that cloud-init's NoCloud source looks for: `meta-data`, `user-data`,
//! `network-config`, and the whole document as `metadata.json`. The document of the spec is laid
//! over what banger knows, so that whoever says it otherwise has it so.
//!
//! Pure. Driven by the building of a jail and the start of a VMM. What can go wrong: nothing but a
//! document that does not fit, which the limit of 32 KiB on that of the spec rules out.

use std::io::{self, Cursor, Write as _};
use std::net::Ipv4Addr;

use banger_proto::ids::VmId;
use serde_json::{Map, Value, json};

use crate::assignment::Shape;

/// Of the disk, in bytes. The document of the spec, at most 32 KiB, is on it at most three times.
const DISK_BYTES: usize = 512 * 1024;

/// NoCloud looks for this, in either case.
const LABEL: [u8; 11] = *b"CIDATA     ";

/// Whom it is about, and what is known.
pub(super) struct Told<'a> {
    /// The VM.
    pub vm: VmId,
    /// What it is to be.
    pub shape: &'a Shape,
    /// Name servers of the host's choice.
    pub dns: &'a [Ipv4Addr],
}

pub(super) fn document(told: &Told<'_>) -> Value {
    let network = &told.shape.network;
    let mut document = json!({
        "latest": {
            "meta-data": {
                "instance-id": told.vm.to_string(),
                "local-hostname": told.shape.name,
                "hostname": told.shape.name,
                "local-ipv4": network.address.to_string(),
                "mac": network.mac.to_string(),
            },
        },
        "banger": {
            "address": format!("{}/{}", network.address, network.prefix),
            "gateway": network.gateway.to_string(),
            "dns": told.dns.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>(),
        },
    });
    let of_spec = told.shape.metadata_json.as_deref().map(serde_json::from_str::<Value>);
    if let Some(Ok(over)) = of_spec {
        lay_over(&mut document, over);
    }
    document
}

/// Objects are merged, anything else is replaced.
fn lay_over(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(there) => lay_over(there, value),
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// The files on the disk, each with its content. JSON is YAML as well.
fn files(told: &Told<'_>) -> [(&'static str, Vec<u8>); 4] {
    let document = document(told);
    let latest = &document["latest"];
    let mut meta_data = match &latest["meta-data"] {
        Value::Object(map) => map.clone(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    if let Some(keys) = meta_data.get("public-keys").map(key_list) {
        meta_data.insert("public-keys".to_owned(), keys);
    }
    let user_data = match &latest["user-data"] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    };
    [
        ("meta-data", Value::Object(meta_data).to_string().into_bytes()),
        ("user-data", user_data.into_bytes()),
        ("network-config", network_config(told).to_string().into_bytes()),
        ("metadata.json", document.to_string().into_bytes()),
    ]
}

/// EC2 has keys by number, `{"0": {"openssh-key": "ssh-ed25519 …"}}`; NoCloud has a list.
fn key_list(keys: &Value) -> Value {
    match keys {
        Value::Object(numbered) => {
            numbered.values().map(|key| key.get("openssh-key").unwrap_or(key).clone()).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            keys.clone()
        }
    }
}

/// cloud-init's network configuration, version 2.
fn network_config(told: &Told<'_>) -> Value {
    let network = &told.shape.network;
    let mut interface = json!({
        "match": { "macaddress": network.mac.to_string() },
        "addresses": [format!("{}/{}", network.address, network.prefix)],
        "routes": [{ "to": "0.0.0.0/0", "via": network.gateway.to_string() }],
    });
    if !told.dns.is_empty() {
        interface["nameservers"] = json!({ "addresses": told.dns });
    }
    json!({ "version": 2, "ethernets": { "guest": interface } })
}

/// The disk, byte for byte the same for the same input.
///
/// # Errors
/// When a document does not fit.
pub(super) fn disk(told: &Told<'_>) -> io::Result<Vec<u8>> {
    let mut bytes = Cursor::new(vec![0; DISK_BYTES]);
    // The serial number; it has no other use.
    let options = fatfs::FormatVolumeOptions::new().volume_label(LABEL).volume_id(0x6261_6e67);
    fatfs::format_volume(&mut bytes, options)?;
    let volume = fatfs::FileSystem::new(&mut bytes, fatfs::FsOptions::new())?;
    for (name, content) in files(told) {
        volume.root_dir().create_file(name)?.write_all(&content)?;
    }
    volume.unmount()?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests;
