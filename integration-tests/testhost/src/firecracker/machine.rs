//! The machine behind the API: what was configured, whether it runs, what it refuses when.
//!
//! Driven by [`super::serve`], one request at a time. Before the start everything may be
//! configured and nothing paused; after it the reverse. Refusals carry the real one's sentences.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use super::action::Action;
use super::config::{self, MachineConfig};
use super::devices::Disk;
use super::guest::{Guest, Hardware};
use super::http::Response;
use super::log::{self, Log};

use self::mmds::{empty, mmds_missing};

mod configure;
mod mmds;

const AFTER_START: &str = "The requested operation is not supported after starting the microVM.";
const BEFORE_START: &str = "The requested operation is not supported before starting the microVM.";

/// A request that was understood and refused.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    /// 400 or 413.
    pub status: u16,
    /// For the `fault_message`.
    pub sentence: String,
}

impl Refusal {
    fn new(sentence: impl Into<String>) -> Self {
        Self { status: 400, sentence: sentence.into() }
    }
}

/// Bytes for the answer, or that it was done.
type Done = Result<Option<Value>, Refusal>;

/// Played where the interface has no address of its own.
const DEFAULT_MAC: [u8; 6] = [0x06, 0, 0, 0, 0, 1];

const OK: Done = Ok(None);

/// One machine.
#[derive(Debug)]
pub struct Machine {
    id: String,
    log: Log,
    mmds_limit: usize,
    config: MachineConfig,
    boot_source: Option<config::BootSource>,
    disks: Vec<Disk>,
    networks: Vec<(config::NetworkInterface, File)>,
    vsock: Option<(config::Vsock, UnixListener)>,
    entropy: Option<config::Entropy>,
    metrics: Option<File>,
    serial: Option<config::Serial>,
    mmds: Option<Value>,
    mmds_config: Option<config::MmdsConfig>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    guest: Guest,
    paused: bool,
}

impl Machine {
    /// Nothing configured yet.
    pub fn new(id: String, log: Log, mmds_limit: usize) -> Self {
        Self {
            id,
            log,
            mmds_limit,
            config: MachineConfig::default(),
            boot_source: None,
            disks: Vec::new(),
            networks: Vec::new(),
            vsock: None,
            entropy: None,
            metrics: None,
            serial: None,
            mmds: None,
            mmds_config: None,
            running: None,
        }
    }

    /// Writes a line to the log.
    pub fn log(&mut self, text: &str) {
        self.log.line(text);
    }

    /// Carries out an action, or refuses. `ended` is called when a guest started here ends.
    pub fn act(&mut self, action: Action, ended: impl FnOnce() + Send + 'static) -> Response {
        let done = if self.running.is_some() {
            self.act_running(action)
        } else {
            self.act_before_start(action, ended)
        };
        match done {
            Ok(None) => Response::no_content(),
            Ok(Some(value)) => Response::json(&value),
            Err(refusal) => {
                self.log(&format!(
                    "Received Error. Status code: {}. Message: {refusal}",
                    refusal.status
                ));
                Response::fault(refusal.status, &refusal.sentence)
            }
        }
    }

    fn act_before_start(&mut self, action: Action, ended: impl FnOnce() + Send + 'static) -> Done {
        match action {
            Action::InstanceInfo
            | Action::Version
            | Action::FullConfig
            | Action::GetMachineConfig => Ok(Some(self.show(&action))),
            Action::GetMmds => Ok(Some(empty(self.mmds.get_or_insert(Value::Null).clone()))),
            Action::Mmds(value) => self.put_mmds(value),
            Action::PatchMmds(value) => self.patch_mmds(&value),
            Action::BootSource(source) => self.set_boot_source(source),
            Action::Drive(drive) => self.set_drive(*drive),
            Action::Network(interface) => self.set_network(interface),
            Action::Logger(logger) => self.set_logger(logger),
            Action::Metrics(metrics) => self.open_metrics(&metrics.metrics_path).map(|()| None),
            Action::Serial(serial) => {
                self.serial = Some(serial);
                OK
            }
            Action::MachineConfig(update) => self.set_machine_config(&update),
            Action::MmdsConfig(config) => self.set_mmds_config(config),
            Action::Vsock(vsock) => self.set_vsock(vsock),
            Action::Entropy(entropy) => {
                self.entropy = Some(entropy);
                OK
            }
            Action::Start => self.start(ended),
            Action::FlushMetrics
            | Action::CtrlAltDel
            | Action::Pause
            | Action::Resume
            | Action::UpdateDrive(_)
            | Action::UpdateNetwork(_)
            | Action::Unplug => Err(Refusal::new(BEFORE_START)),
        }
    }

    fn act_running(&mut self, action: Action) -> Done {
        match action {
            Action::InstanceInfo
            | Action::Version
            | Action::FullConfig
            | Action::GetMachineConfig => Ok(Some(self.show(&action))),
            Action::GetMmds => match &self.mmds {
                Some(value) => Ok(Some(empty(value.clone()))),
                None => Err(mmds_missing()),
            },
            Action::Mmds(_) if self.mmds.is_none() => Err(mmds_missing()),
            Action::Mmds(value) => self.put_mmds(value),
            Action::PatchMmds(value) => self.patch_mmds(&value),
            Action::FlushMetrics => {
                self.write_metrics();
                OK
            }
            Action::CtrlAltDel => {
                if let Some(running) = &self.running {
                    running.guest.press_ctrl_alt_del();
                }
                OK
            }
            Action::Pause => self.set_paused(true),
            Action::Resume => self.set_paused(false),
            Action::UpdateDrive(update) => self.update_drive(update),
            Action::UpdateNetwork(update) => {
                let known = self.networks.iter().any(|(net, _)| net.iface_id == update.iface_id);
                if known {
                    return OK;
                }
                Err(Refusal::new(format!(
                    "Network config error: Unable to update the net device: Error manipulating \
                     the device: {}",
                    update.iface_id
                )))
            }
            Action::Drive(_) | Action::Network(_) | Action::Unplug => {
                Err(Refusal::new("PCI is not enabled"))
            }
            Action::BootSource(_)
            | Action::Logger(_)
            | Action::Metrics(_)
            | Action::Serial(_)
            | Action::MachineConfig(_)
            | Action::MmdsConfig(_)
            | Action::Vsock(_)
            | Action::Entropy(_)
            | Action::Start => Err(Refusal::new(AFTER_START)),
        }
    }

    fn show(&self, action: &Action) -> Value {
        let state = match &self.running {
            None => "Not started",
            Some(running) if running.paused => "Paused",
            Some(_) => "Running",
        };
        let version = format!("{}-stand-in", crate::FOLLOWED_VERSION);
        match action {
            Action::Version => json!({ "firecracker_version": version }),
            Action::GetMachineConfig => json!(self.config),
            Action::FullConfig => json!({
                "balloon": null,
                "drives": self.disks.iter().map(|disk| &disk.config).collect::<Vec<_>>(),
                "boot-source": self.boot_source.clone().unwrap_or_default(),
                "cpu-config": null,
                "logger": null,
                "machine-config": self.config,
                "metrics": null,
                "mmds-config": self.mmds_config,
                "network-interfaces": self.networks.iter().map(|(net, _)| net).collect::<Vec<_>>(),
                "vsock": self.vsock.as_ref().map(|(config, _)| config),
                "entropy": self.entropy,
                "pmem": [],
                "memory-hotplug": null,
            }),
            _ => json!({
                "id": self.id,
                "state": state,
                "vmm_version": version,
                "app_name": "Firecracker",
            }),
        }
    }
    /// One line of metrics, if there is a file for them.
    pub fn write_metrics(&mut self) {
        let disks = self.disks.len();
        if let Some(file) = &mut self.metrics {
            let line = json!({
                "utc_timestamp_ms": log::now_ms(),
                "stand_in": { "disks": disks },
            });
            let _ = log::append(file, format!("{line}\n").as_bytes());
        }
    }
    fn set_paused(&mut self, paused: bool) -> Done {
        if let Some(running) = &mut self.running {
            running.guest.set_paused(paused);
            running.paused = paused;
        }
        OK
    }

    fn start(&mut self, ended: impl FnOnce() + Send + 'static) -> Done {
        let refuse = |why: String| Refusal::new(format!("Start microvm error: {why}"));
        let Some(source) = &self.boot_source else {
            let why = "Cannot start microvm without kernel configuration.";
            return Err(refuse(why.to_owned()));
        };
        check_kernel(Path::new(&source.kernel_image_path)).map_err(refuse)?;
        let mut disks = Vec::new();
        for disk in &self.disks {
            if !disk.config.is_read_only.unwrap_or(false) {
                let file = disk.file.try_clone().map_err(|error| refuse(error.to_string()))?;
                disks.push((disk.config.drive_id.clone(), file));
            }
        }
        let network = match self.networks.first() {
            Some((config, tap)) => {
                let tap = tap.try_clone().map_err(|error| refuse(error.to_string()))?;
                Some((tap, config.guest_mac.map_or(DEFAULT_MAC, |mac| mac.0)))
            }
            None => None,
        };
        let console =
            match self.serial.as_ref().and_then(|serial| serial.serial_out_path.as_ref()) {
                Some(path) => {
                    let opened = log::open_output(path);
                    Some(opened.map_err(|error| {
                        refuse(format!("Error creating legacy device: {error}"))
                    })?)
                }
                None => None,
            };
        let boot_args = source.boot_args.clone().unwrap_or_default();
        let guest = Guest::boot(Hardware { boot_args, disks, network, console }, ended);
        self.running = Some(Running { guest, paused: false });
        OK
    }
}
fn check_kernel(path: &Path) -> Result<(), String> {
    use std::io::Read;
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_ok() && magic == *b"\x7fELF" {
        return Ok(());
    }
    Err("System configuration error: Cannot load kernel due to invalid memory configuration or \
         invalid kernel image: Kernel Loader: failed to load ELF kernel image: \
         Kernel Loader: Invalid Elf magic number"
        .to_owned())
}
