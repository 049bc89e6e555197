//! What the API is told before the start, as paths and JSON. No I/O.

use serde_json::{Map, Value, json};

use crate::host::{Drive, NetInterface, PathPart, RateLimit, VmmConfig, in_jail};

/// The guest's one interface.
const INTERFACE: &str = "eth0";

/// One request.
#[derive(Debug, PartialEq)]
pub(super) struct Put {
    pub(super) path: String,
    pub(super) body: Value,
    /// Words in a refusal that mean that it was done before.
    pub(super) again: Option<&'static str>,
}

fn put(path: impl Into<String>, body: Value) -> Put {
    Put { path: path.into(), body, again: None }
}

/// A file in the jail as the VMM sees it.
fn seen(name: &PathPart) -> String {
    format!("/{name}")
}

/// A limiter that lets through `limit` each second on average; `None` without one.
fn limiter(limit: RateLimit) -> Option<Value> {
    let bucket = |size: u64| json!({ "size": size, "refill_time": 1000 });
    let mut body = Map::new();
    if limit.bytes_per_second > 0 {
        body.insert("bandwidth".to_owned(), bucket(limit.bytes_per_second));
    }
    if limit.ops_per_second > 0 {
        body.insert("ops".to_owned(), bucket(limit.ops_per_second));
    }
    (!body.is_empty()).then_some(Value::Object(body))
}

fn with(mut body: Value, name: &str, value: Option<Value>) -> Value {
    if let (Some(object), Some(value)) = (body.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
    body
}

fn drive(drive: &Drive) -> Put {
    let body = json!({
        "drive_id": drive.id,
        "path_on_host": seen(&drive.name),
        "is_root_device": drive.root,
        "is_read_only": drive.read_only,
        // The default, "Unsafe", tells the guest there is nothing to flush: its fsync would
        // promise what a crash of the host does not keep.
        "cache_type": "Writeback",
        "io_engine": "Sync",
    });
    put(format!("/drives/{}", drive.id), with(body, "rate_limiter", limiter(drive.limit)))
}

fn interface(interface: &NetInterface) -> Put {
    let body = json!({
        "iface_id": INTERFACE,
        "host_dev_name": interface.tap.as_str(),
        "guest_mac": interface.mac.to_string(),
    });
    // The VMM receives (rx) from the tap what the guest receives.
    let body = with(body, "rx_rate_limiter", limiter(interface.receive));
    let body = with(body, "tx_rate_limiter", limiter(interface.send));
    put(format!("/network-interfaces/{INTERFACE}"), body)
}

/// All requests in the order they are made. Logger and metrics first, so that what goes wrong with
/// the others is in the log.
pub(super) fn puts(config: &VmmConfig) -> Result<Vec<Put>, serde_json::Error> {
    let mut puts = vec![
        put(
            "/logger",
            json!({
                "log_path": in_jail::LOG,
                "level": "Info",
                "show_level": true,
                "show_log_origin": false,
            }),
        ),
        // The only one that a VMM takes but once (`MetricsError::AlreadyInitialized`).
        Put {
            again: Some("Reinitialization of metrics"),
            ..put("/metrics", json!({ "metrics_path": in_jail::METRICS }))
        },
        put(
            "/machine-config",
            json!({
                "vcpu_count": config.vcpus,
                "mem_size_mib": config.memory_mib,
                "smt": false,
                "track_dirty_pages": false,
            }),
        ),
    ];
    let source = json!({
        "kernel_image_path": seen(&config.kernel),
        "boot_args": config.boot_args,
    });
    let initrd = config.initrd.as_ref().map(|name| Value::String(seen(name)));
    puts.push(put("/boot-source", with(source, "initrd_path", initrd)));
    puts.extend(config.drives.iter().map(drive));
    if let Some(net) = &config.interface {
        puts.push(interface(net));
        // Always, since it cannot be switched on later, and a document may come while it runs.
        // Version 2 asks for a session token, which a forwarded request does not have.
        puts.push(put(
            "/mmds/config",
            json!({ "version": "V2", "network_interfaces": [INTERFACE] }),
        ));
        let document = config.metadata_json.as_deref().unwrap_or("{}");
        puts.push(put("/mmds", serde_json::from_str(document)?));
    }
    if let Some(cid) = config.vsock_cid {
        puts.push(put("/vsock", json!({ "guest_cid": cid, "uds_path": in_jail::VSOCK })));
    }
    puts.push(put("/entropy", json!({})));
    Ok(puts)
}
