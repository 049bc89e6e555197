//! From a request to what it wants of the machine.
//!
//! Driven by [`super::serve`]. Pure. A request that no path takes, or whose body is wrong, is
//! refused here with the real one's sentence; whether the machine can do it now is
//! [`super::machine`]'s to say.

use serde::de::DeserializeOwned;

use super::config::{
    ActionBody, ActionType, BootSource, Drive, DriveUpdate, Entropy, Logger, MachineConfig,
    MachineConfigUpdate, Metrics, MmdsConfig, MmdsVersion, NetworkInterface,
    NetworkInterfaceUpdate, Serial, Vm, VmState, Vsock,
};
use super::http::{Method, Request, Response};

/// What a request wants.
#[derive(Debug)]
pub enum Action {
    InstanceInfo,
    Version,
    FullConfig,
    GetMachineConfig,
    GetMmds,
    FlushMetrics,
    Start,
    CtrlAltDel,
    BootSource(BootSource),
    Drive(Box<Drive>),
    UpdateDrive(DriveUpdate),
    Network(NetworkInterface),
    UpdateNetwork(NetworkInterfaceUpdate),
    Logger(Logger),
    Metrics(Metrics),
    Serial(Serial),
    MachineConfig(MachineConfigUpdate),
    Mmds(serde_json::Value),
    PatchMmds(serde_json::Value),
    MmdsConfig(MmdsConfig),
    Vsock(Vsock),
    Entropy(Entropy),
    Unplug,
    Pause,
    Resume,
}

/// An action, and whether asking for it so is deprecated.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub action: Action,
    /// Answer with a `Deprecation` header.
    pub deprecated: bool,
}

impl From<Action> for Asked {
    fn from(action: Action) -> Self {
        Self { action, deprecated: false }
    }
}

/// Understands a request.
///
/// # Errors
///
/// The answer to send instead.
pub fn parse(request: &Request) -> Result<Asked, Response> {
    let mut parts = request.path.trim_start_matches('/').split_terminator('/');
    let first = parts.next().unwrap_or_default();
    let second = parts.next();
    let body = request.body.as_deref();
    match (request.method, first, body) {
        (Method::Get, "", None) => Ok(Action::InstanceInfo.into()),
        (Method::Get, "version", None) => Ok(Action::Version.into()),
        (Method::Get, "vm", None) if second == Some("config") => Ok(Action::FullConfig.into()),
        (Method::Get, "machine-config", None) => Ok(Action::GetMachineConfig.into()),
        (Method::Get, "mmds", None) => Ok(Action::GetMmds.into()),
        (Method::Get, _, Some(_)) => Err(refuse("GET request cannot have a body.")),
        (Method::Put, path, Some(body)) => put(path, second, body),
        (Method::Put, _, None) => Err(refuse("Empty PUT request.")),
        (Method::Patch, path, Some(body)) => patch(path, second, body),
        (Method::Patch, _, None) => Err(refuse("Empty PATCH request.")),
        (Method::Delete, "drives" | "pmem" | "network-interfaces", None) => {
            checked_id(second)?;
            Ok(Action::Unplug.into())
        }
        (Method::Delete, _, Some(_)) => Err(refuse("Empty Delete request.")),
        (method, path, None) => Err(no_such_path(method, path)),
    }
}

fn put(path: &str, second: Option<&str>, body: &[u8]) -> Result<Asked, Response> {
    match path {
        "actions" => Ok(match json::<ActionBody>(body)?.action_type {
            ActionType::FlushMetrics => Action::FlushMetrics.into(),
            ActionType::InstanceStart => Action::Start.into(),
            ActionType::SendCtrlAltDel => Action::CtrlAltDel.into(),
        }),
        "boot-source" => Ok(Action::BootSource(json(body)?).into()),
        "drives" => {
            let id = checked_id(second)?;
            let drive: Drive = json(body)?;
            if drive.drive_id != id {
                return Err(refuse("The id from the path does not match the id from the body!"));
            }
            Ok(Action::Drive(Box::new(drive)).into())
        }
        "network-interfaces" => {
            let id = checked_id(second)?;
            let interface: NetworkInterface = json(body)?;
            same_interface(id, &interface.iface_id)?;
            Ok(Action::Network(interface).into())
        }
        "logger" => Ok(Action::Logger(json(body)?).into()),
        "metrics" => Ok(Action::Metrics(json(body)?).into()),
        "serial" => Ok(Action::Serial(json(body)?).into()),
        "machine-config" => {
            let config: MachineConfig = json(body)?;
            let deprecated = config.cpu_template.is_some();
            let action = Action::MachineConfig(MachineConfigUpdate {
                vcpu_count: Some(config.vcpu_count),
                mem_size_mib: Some(config.mem_size_mib),
                smt: Some(config.smt),
                cpu_template: config.cpu_template,
                track_dirty_pages: Some(config.track_dirty_pages),
                huge_pages: Some(config.huge_pages),
            });
            Ok(Asked { action, deprecated })
        }
        "mmds" => match second {
            None => Ok(Action::Mmds(json(body)?).into()),
            Some("config") => {
                let config: MmdsConfig = json(body)?;
                let deprecated = config.version == MmdsVersion::V1;
                Ok(Asked { action: Action::MmdsConfig(config), deprecated })
            }
            Some(other) => Err(refuse(&format!("Unrecognized PUT request path `{other}`."))),
        },
        "vsock" => {
            let vsock: Vsock = json(body)?;
            let deprecated = vsock.vsock_id.is_some();
            Ok(Asked { action: Action::Vsock(vsock), deprecated })
        }
        "entropy" => Ok(Action::Entropy(json(body)?).into()),
        other => Err(no_such_path(Method::Put, other)),
    }
}

fn patch(path: &str, second: Option<&str>, body: &[u8]) -> Result<Asked, Response> {
    match path {
        "drives" => {
            let id = checked_id(second)?;
            let update: DriveUpdate = json(body)?;
            if update.drive_id != id {
                return Err(refuse("The id from the path does not match the id from the body!"));
            }
            Ok(Action::UpdateDrive(update).into())
        }
        "network-interfaces" => {
            let id = checked_id(second)?;
            let update: NetworkInterfaceUpdate = json(body)?;
            same_interface(id, &update.iface_id)?;
            Ok(Action::UpdateNetwork(update).into())
        }
        "machine-config" => {
            let update: MachineConfigUpdate = json(body)?;
            if update == MachineConfigUpdate::default() {
                return Err(refuse("Empty PATCH request."));
            }
            let deprecated = update.cpu_template.is_some();
            Ok(Asked { action: Action::MachineConfig(update), deprecated })
        }
        "mmds" => Ok(Action::PatchMmds(json(body)?).into()),
        "vm" => Ok(match json::<Vm>(body)?.state {
            VmState::Paused => Action::Pause.into(),
            VmState::Resumed => Action::Resume.into(),
        }),
        other => Err(no_such_path(Method::Patch, other)),
    }
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Response> {
    serde_json::from_slice(body).map_err(|error| json_refusal(&error.to_string()))
}

fn json_refusal(error: &str) -> Response {
    refuse(&format!("An error occurred when deserializing the json body of a request: {error}."))
}

fn refuse(sentence: &str) -> Response {
    Response::fault(400, sentence)
}

fn no_such_path(method: Method, path: &str) -> Response {
    refuse(&format!("Invalid request method and/or path: {method} {path}."))
}

fn same_interface(path: &str, body: &str) -> Result<(), Response> {
    if path == body {
        return Ok(());
    }
    Err(refuse(&format!(
        "The id from the path [{path}] does not match the id from the body [{body}]!"
    )))
}

fn checked_id(id: Option<&str>) -> Result<&str, Response> {
    match id {
        None | Some("") => Err(refuse("The ID cannot be empty.")),
        Some(id) if id.chars().all(|c| c == '_' || c.is_alphanumeric()) => Ok(id),
        Some(_) => Err(refuse(
            "API Resource IDs can only contain alphanumeric characters and underscores.",
        )),
    }
}
