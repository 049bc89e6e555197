//! `[limits]`: how much there may be.

use serde::{Deserialize, Serialize};

use crate::model::ledger::LedgerConfig;
use crate::model::project::ProjectBounds;

/// How much there may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Most VMs, 1 to 10 million.
    pub max_vms: usize,
    /// Most hosts, 1 to 100 000.
    pub max_hosts: usize,
    /// Most records of who did what, 1000 to 10 billion, of some 300 bytes each: 20 million are 6
    /// GB. None goes before its time: what needs one is refused at 95 % to all but admins, at the
    /// whole to everybody.
    pub max_audit_records: u64,
    /// Most connections to the API, 16 to 1 million; never more than half of the files that the
    /// server may have open.
    pub max_connections: usize,
    /// Most of them from one address, or one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// Most calls a second of all callers of one project together, at most 1 million, with ten
    /// times as many at once after a rest; 0: nothing bounds them. Streams count when they begin.
    pub project_calls_per_second: u32,
    /// Most calls of all callers of one project together that watch or wait at a time (`WatchVms`,
    /// `WaitVm`), at most 1 million; 0: nothing bounds them. Where a project's quota says a number,
    /// that one counts; so for the next.
    pub project_watches: u32,
    /// The same of calls that carry bytes of guests and images: consoles, programs, copies,
    /// connections, uploads, imports.
    pub project_streams: u32,
    /// Most requests with a `request_id` that are remembered, 1000 to 10 billion, of some 200 bytes
    /// each. None is forgotten before its time: what would need one more is refused, at 95 % to all
    /// but admins, at the whole to everybody.
    pub max_requests: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let LedgerConfig { max_vms, max_hosts, max_audit, max_requests, .. } =
            LedgerConfig::default();
        Self {
            max_vms,
            max_hosts,
            max_audit_records: max_audit,
            max_connections: 8192,
            max_connections_per_address: 2048,
            project_calls_per_second: 200,
            project_watches: 1000,
            project_streams: 512,
            max_requests,
        }
    }
}

impl LimitsConfig {
    /// What projects may have whose quotas say nothing else.
    pub fn projects(&self) -> ProjectBounds {
        ProjectBounds {
            watches: self.project_watches.into(),
            streams: self.project_streams.into(),
            calls_per_second: self.project_calls_per_second,
        }
    }

    /// Values that do not fit.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=10_000_000).contains(&self.max_vms) {
            problems.push(format!("limits.max_vms is {}; must be 1 to 10000000", self.max_vms));
        }
        if !(1..=100_000).contains(&self.max_hosts) {
            let hosts = self.max_hosts;
            problems.push(format!("limits.max_hosts is {hosts}; must be 1 to 100000"));
        }
        for (key, count) in
            [("max_audit_records", self.max_audit_records), ("max_requests", self.max_requests)]
        {
            if !(1000..=10_000_000_000).contains(&count) {
                problems.push(format!("limits.{key} is {count}; must be 1000 to 10000000000"));
            }
        }
        for (key, count) in [
            ("max_connections", self.max_connections),
            ("max_connections_per_address", self.max_connections_per_address),
        ] {
            if !(16..=1_000_000).contains(&count) {
                problems.push(format!("limits.{key} is {count}; must be 16 to 1000000"));
            }
        }
        for (key, count) in [
            ("project_calls_per_second", self.project_calls_per_second),
            ("project_watches", self.project_watches),
            ("project_streams", self.project_streams),
        ] {
            if count > 1_000_000 {
                problems.push(format!("limits.{key} is {count}; must be at most 1000000"));
            }
        }
        problems
    }
}
