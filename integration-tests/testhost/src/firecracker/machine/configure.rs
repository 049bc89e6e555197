//! What may be configured before the start, and the little that may change after it.
//!
//! Driven by [`Machine::act`]. Every device is opened here and now, as the real one does, so that
//! a missing file or a tap of somebody else is refused by the request that names it.

use std::fs::File;
use std::path::Path;

use super::{Done, Machine, OK, Refusal};
use crate::firecracker::config::{self, MachineConfigUpdate};
use crate::firecracker::{devices, log};

impl Machine {
    pub(super) fn set_boot_source(&mut self, source: config::BootSource) -> Done {
        let open = |path: &str, what: &str| {
            File::open(path)
                .map_err(|error| Refusal::new(format!("Boot source error: {what}{error}")))
        };
        open(&source.kernel_image_path, "The kernel file cannot be opened: ")?;
        if let Some(initrd) = &source.initrd_path {
            let what = "The initrd file cannot be opened due to invalid path or invalid \
                        permissions. ";
            open(initrd, what)?;
        }
        let arguments = source.boot_args.as_deref().unwrap_or_default();
        if arguments.len() >= 2048 {
            return Err(Refusal::new(
                "Boot source error: The kernel command line is invalid: Invalid cmdline capacity \
                 provided.",
            ));
        }
        self.boot_source = Some(source);
        OK
    }

    pub(super) fn set_drive(&mut self, drive: config::Drive) -> Done {
        let at = self.disks.iter().position(|disk| disk.config.drive_id == drive.drive_id);
        let root = self.disks.iter().position(|disk| disk.config.is_root_device);
        if drive.is_root_device && root.is_some() && root != at {
            return Err(Refusal::new("Drive config error: A root block device already exists!"));
        }
        let disk = devices::open_disk(drive).map_err(Refusal::new)?;
        match at {
            Some(at) => self.disks[at] = disk,
            None if disk.config.is_root_device => self.disks.insert(0, disk),
            None => self.disks.push(disk),
        }
        OK
    }

    pub(super) fn update_drive(&mut self, update: config::DriveUpdate) -> Done {
        let disk = self.disks.iter_mut().find(|disk| disk.config.drive_id == update.drive_id);
        let Some(disk) = disk else {
            return Err(Refusal::new(format!(
                "Drive config error: Unable to patch the block device: {} Please verify the \
                 request arguments.",
                update.drive_id
            )));
        };
        if update.path_on_host.is_some() {
            let config = config::Drive { path_on_host: update.path_on_host, ..disk.config.clone() };
            *disk = devices::open_disk(config).map_err(Refusal::new)?;
        }
        if update.rate_limiter.is_some() {
            disk.config.rate_limiter = update.rate_limiter;
        }
        OK
    }

    pub(super) fn set_network(&mut self, interface: config::NetworkInterface) -> Done {
        let same = |net: &config::NetworkInterface| net.iface_id == interface.iface_id;
        let taken = self.networks.iter().any(|(net, _)| {
            !same(net) && net.guest_mac.is_some() && net.guest_mac == interface.guest_mac
        });
        if taken {
            let mac = interface.guest_mac.map(String::from).unwrap_or_default();
            return Err(Refusal::new(format!(
                "Network config error: The MAC address is already in use: {mac}"
            )));
        }
        // The old one of an update is closed before the new one is opened: it may be the same tap.
        self.networks.retain(|(net, _)| !same(net));
        let tap = devices::open_tap(&interface.host_dev_name).map_err(Refusal::new)?;
        self.networks.push((interface, tap));
        OK
    }

    pub(super) fn set_vsock(&mut self, vsock: config::Vsock) -> Done {
        if let Some((old, listener)) = self.vsock.take() {
            drop(listener);
            let _ = std::fs::remove_file(old.uds_path);
        }
        let listener = devices::bind_vsock(&vsock.uds_path).map_err(Refusal::new)?;
        self.vsock = Some((vsock, listener));
        OK
    }

    pub(super) fn set_logger(&mut self, logger: config::Logger) -> Done {
        if let Some(path) = &logger.log_path {
            let refuse =
                |error| Refusal::new(format!("Logger error: Failed to open target file: {error}"));
            self.log.open(path).map_err(refuse)?;
        }
        OK
    }

    /// Opens the metrics file; once only.
    ///
    /// # Errors
    ///
    /// When it is open already, or cannot be.
    pub fn open_metrics(&mut self, path: &Path) -> Result<(), Refusal> {
        let refuse = |why: String| {
            Refusal::new(format!(
                "Metrics error: Cannot initialize the metrics system due to bad user input: {why}"
            ))
        };
        if self.metrics.is_some() {
            return Err(refuse("Reinitialization of metrics not allowed.".to_owned()));
        }
        let file = log::open_output(path).map_err(|error| refuse(error.to_string()))?;
        self.metrics = Some(file);
        Ok(())
    }

    pub(super) fn set_machine_config(&mut self, update: &MachineConfigUpdate) -> Done {
        let refuse = |sentence| Err(Refusal::new(format!("Machine config error: {sentence}")));
        let mut config = self.config.clone();
        config.vcpu_count = update.vcpu_count.unwrap_or(config.vcpu_count);
        config.mem_size_mib = update.mem_size_mib.unwrap_or(config.mem_size_mib);
        config.smt = update.smt.unwrap_or(config.smt);
        config.huge_pages = update.huge_pages.unwrap_or(config.huge_pages);
        config.track_dirty_pages = update.track_dirty_pages.unwrap_or(config.track_dirty_pages);
        config.cpu_template = update.cpu_template.or(config.cpu_template);
        let odd = config.vcpu_count > 1 && config.vcpu_count % 2 == 1;
        if config.vcpu_count == 0 || config.vcpu_count > 32 || (config.smt && odd) {
            return refuse(
                "The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even \
                 number if SMT is enabled.",
            );
        }
        let huge = config.huge_pages == config::HugePages::TwoMebibytes;
        if config.mem_size_mib == 0 || (huge && config.mem_size_mib % 2 == 1) {
            return refuse(
                "The memory size (MiB) is either 0, or not a multiple of the configured page size.",
            );
        }
        self.config = config;
        OK
    }
}
