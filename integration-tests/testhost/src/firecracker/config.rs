//! The bodies of the API's requests, as Firecracker 1.16 reads them.
//!
//! Driven by [`super::action`]. An unknown field is refused wherever the real one refuses it; a
//! field that stays unread here is still checked for its type.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `PUT /actions`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ActionType {
    /// Writes the metrics now.
    FlushMetrics,
    /// Boots the guest.
    InstanceStart,
    /// Presses Ctrl-Alt-Del.
    SendCtrlAltDel,
}

/// Body of `PUT /actions`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActionBody {
    /// Which.
    pub action_type: ActionType,
}

/// Body of `PUT /boot-source`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootSource {
    /// An uncompressed ELF kernel.
    pub kernel_image_path: String,
    /// An initial RAM disk.
    pub initrd_path: Option<String>,
    /// The kernel's command line.
    pub boot_args: Option<String>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct TokenBucket {
    /// Tokens in all.
    pub size: u64,
    /// Tokens more, once.
    pub one_time_burst: Option<u64>,
    /// Milliseconds until it is full again.
    pub refill_time: u64,
}

/// Limits of one device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimiter {
    /// Bytes.
    pub bandwidth: Option<TokenBucket>,
    /// Operations.
    pub ops: Option<TokenBucket>,
}

/// Whether the guest's flushes reach the disk.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub enum CacheType {
    /// They do not.
    #[default]
    Unsafe,
    /// They do.
    Writeback,
}

/// How the real one would do disk I/O.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum IoEngine {
    /// io_uring.
    Async,
    /// pread and pwrite.
    Sync,
}

/// Body of `PUT /drives/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drive {
    /// The same as in the path.
    pub drive_id: String,
    /// Of the boot partition.
    pub partuuid: Option<String>,
    /// Whether it is `/dev/vda`.
    pub is_root_device: bool,
    /// See [`CacheType`].
    #[serde(default)]
    pub cache_type: CacheType,
    /// Opened without the right to write.
    pub is_read_only: Option<bool>,
    /// The file or block device.
    pub path_on_host: Option<String>,
    /// Its limits.
    pub rate_limiter: Option<RateLimiter>,
    /// See [`IoEngine`].
    pub io_engine: Option<IoEngine>,
    /// Of a vhost-user back end, instead of a path.
    pub socket: Option<String>,
}

/// Body of `PATCH /drives/{id}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DriveUpdate {
    /// The same as in the path.
    pub drive_id: String,
    /// Another file.
    pub path_on_host: Option<String>,
    /// Other limits.
    pub rate_limiter: Option<RateLimiter>,
}

/// A MAC address: six bytes in hexadecimal with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl TryFrom<String> for Mac {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const REFUSED: &str = "The provided MAC address is invalid.";
        let mut bytes = [0; 6];
        let parts: Vec<&str> = text.split(':').collect();
        if parts.len() != bytes.len() || parts.iter().any(|part| part.len() != 2) {
            return Err(REFUSED);
        }
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = u8::from_str_radix(part, 16).map_err(|_| REFUSED)?;
        }
        Ok(Self(bytes))
    }
}

impl From<Mac> for String {
    fn from(Mac([a, b, c, d, e, f]): Mac) -> Self {
        format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Body of `PUT /network-interfaces/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterface {
    /// The same as in the path.
    pub iface_id: String,
    /// The tap.
    pub host_dev_name: String,
    /// The guest's address.
    pub guest_mac: Option<Mac>,
    /// Bytes.
    pub mtu: Option<u16>,
    /// Limits on what the guest receives.
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits on what it sends.
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// Body of `PATCH /network-interfaces/{id}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkInterfaceUpdate {
    /// The same as in the path.
    pub iface_id: String,
    /// Limits on what the guest receives.
    pub rx_rate_limiter: Option<RateLimiter>,
    /// Limits on what it sends.
    pub tx_rate_limiter: Option<RateLimiter>,
}

/// Body of `PUT /vsock`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// Deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock_id: Option<String>,
    /// The guest's context id.
    pub guest_cid: u32,
    /// The socket to make.
    pub uds_path: String,
}

/// A severity, in any case of letters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Level(String);

impl TryFrom<String> for Level {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const LEVELS: [&str; 7] = ["off", "trace", "debug", "info", "warn", "warning", "error"];
        if LEVELS.iter().any(|known| text.eq_ignore_ascii_case(known)) {
            return Ok(Self(text));
        }
        Err("Invalid LevelFilter")
    }
}

/// Body of `PUT /logger`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logger {
    /// A file or pipe.
    pub log_path: Option<PathBuf>,
    /// From which severity on.
    pub level: Option<Level>,
    /// Print it.
    pub show_level: Option<bool>,
    /// Print file and line.
    pub show_log_origin: Option<bool>,
    /// Only this one.
    pub module: Option<String>,
}

/// Body of `PUT /metrics`. The real one lets unknown fields pass here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Metrics {
    /// A file or pipe.
    pub metrics_path: PathBuf,
}

/// Body of `PUT /serial`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// A file or pipe for the guest's console.
    pub serial_out_path: Option<PathBuf>,
    /// Its limit.
    pub rate_limiter: Option<TokenBucket>,
}

/// Body of `PUT /entropy`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {
    /// Its limits.
    pub rate_limiter: Option<RateLimiter>,
}

/// Which dialect of the metadata service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MmdsVersion {
    /// Deprecated.
    #[default]
    V1,
    /// With session tokens.
    V2,
}

/// Body of `PUT /mmds/config`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MmdsConfig {
    /// See [`MmdsVersion`].
    #[serde(default)]
    pub version: MmdsVersion,
    /// Which interfaces reach it.
    pub network_interfaces: Vec<String>,
    /// Link-local; 169.254.169.254 where not set.
    pub ipv4_address: Option<Ipv4Addr>,
    /// Answer as EC2's does.
    #[serde(default)]
    pub imds_compat: bool,
}

/// How the guest's memory is backed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum HugePages {
    /// Small pages.
    #[default]
    None,
    /// 2 MiB pages.
    #[serde(rename = "2M")]
    TwoMebibytes,
}

/// The processor masks the real one still knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuTemplate {
    C3,
    T2,
    T2S,
    T2CL,
    T2A,
    V1N1,
    None,
}

/// Body of `PUT /machine-config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineConfig {
    /// 1 to 32.
    pub vcpu_count: u8,
    /// Not 0.
    pub mem_size_mib: usize,
    /// Two threads a core.
    #[serde(default)]
    pub smt: bool,
    /// Deprecated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_template: Option<CpuTemplate>,
    /// For incremental snapshots.
    #[serde(default)]
    pub track_dirty_pages: bool,
    /// See [`HugePages`].
    #[serde(default)]
    pub huge_pages: HugePages,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            vcpu_count: 1,
            mem_size_mib: 128,
            smt: false,
            cpu_template: None,
            track_dirty_pages: false,
            huge_pages: HugePages::None,
        }
    }
}

/// Body of `PATCH /machine-config`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineConfigUpdate {
    /// As in [`MachineConfig`].
    pub vcpu_count: Option<u8>,
    /// As in [`MachineConfig`].
    pub mem_size_mib: Option<usize>,
    /// As in [`MachineConfig`].
    pub smt: Option<bool>,
    /// As in [`MachineConfig`].
    pub cpu_template: Option<CpuTemplate>,
    /// As in [`MachineConfig`].
    pub track_dirty_pages: Option<bool>,
    /// As in [`MachineConfig`].
    pub huge_pages: Option<HugePages>,
}

/// What `PATCH /vm` wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum VmState {
    /// Stop the vCPUs.
    Paused,
    /// Let them run.
    Resumed,
}

/// Body of `PATCH /vm`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// Which.
    pub state: VmState,
}
