//! The flags of what a VM may take of its host.

use banger_client::v1::VmSpec;
use clap::Args;

use super::value;

/// Limits that flags can name; 0 takes one away.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Share of the processors while they are short, 1 to 10000; others have 100.
    #[arg(long, value_name = "N")]
    pub(crate) cpu_weight: Option<u32>,
    /// Most processor time, in processors, such as 0.5 or 2.
    #[arg(long, value_parser = value::thousandths, value_name = "CPUS")]
    pub(crate) cpu_limit: Option<u32>,
    /// Most that is read from its disks in a second, such as 100M.
    #[arg(long, value_parser = value::bytes, value_name = "SIZE")]
    pub(crate) io_read: Option<u64>,
    /// Most that is written to its disks in a second.
    #[arg(long, value_parser = value::bytes, value_name = "SIZE")]
    pub(crate) io_write: Option<u64>,
    /// Most reads a second from its disks.
    #[arg(long, value_name = "N")]
    pub(crate) io_read_ops: Option<u64>,
    /// Most writes a second to its disks.
    #[arg(long, value_name = "N")]
    pub(crate) io_write_ops: Option<u64>,
}

impl LimitArgs {
    /// Puts what is named into a spec.
    pub(crate) fn apply(&self, spec: &mut VmSpec) {
        if *self == Self::default() {
            return;
        }
        let limits = spec.limits.get_or_insert_default();
        for (field, flag) in
            [(&mut limits.cpu_weight, self.cpu_weight), (&mut limits.cpu_millis, self.cpu_limit)]
        {
            *field = flag.unwrap_or(*field);
        }
        for (field, flag) in [
            (&mut limits.io_read_bytes_per_second, self.io_read),
            (&mut limits.io_write_bytes_per_second, self.io_write),
            (&mut limits.io_read_ops_per_second, self.io_read_ops),
            (&mut limits.io_write_ops_per_second, self.io_write_ops),
        ] {
            *field = flag.unwrap_or(*field);
        }
    }

    /// The paths of a spec, each with whether it is named.
    pub(crate) fn paths(&self) -> [(&'static str, bool); 6] {
        [
            ("limits.cpu_weight", self.cpu_weight.is_some()),
            ("limits.cpu_millis", self.cpu_limit.is_some()),
            ("limits.io_read_bytes_per_second", self.io_read.is_some()),
            ("limits.io_write_bytes_per_second", self.io_write.is_some()),
            ("limits.io_read_ops_per_second", self.io_read_ops.is_some()),
            ("limits.io_write_ops_per_second", self.io_write_ops.is_some()),
        ]
    }
}
