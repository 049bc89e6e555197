//! What an operator may set of the server: its configuration file, defaults, and the check of all
//! of it.
//!
//! A TOML file, every key with a default, unknown keys refused; flags override the file. `main`
//! reads it, [`ServerConfig::check`] lists all problems at once, and the rest of the server takes
//! it as given.

pub mod auth;
mod images;
mod limits;
mod outside;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_wire::service::secrets::{self, Owners, SecretError};
use banger_wire::service::settings;
pub use banger_wire::service::settings::ConfigError;
use banger_wire::telemetry::TelemetryConfig;
use serde::{Deserialize, Serialize};

pub use self::auth::{AuthConfig, ClientCertificatesConfig, OidcConfig};
pub use self::images::ImagesConfig;
pub use self::limits::LimitsConfig;
use crate::model::caller::{Principal, Rights, Role};
use crate::model::ledger::LedgerConfig;
use crate::model::names::check_name;
use crate::model::placement::{Overcommit, Strategy};
use crate::model::retention::Retention;
use crate::model::subnet::Subnet;
use crate::model::token::{PREFIX as TOKEN_PREFIX, check_principal};

/// Where the file is when nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/banger/server.toml";

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Where metrics, `/healthz` and `/readyz` are.
    pub metrics_listen: SocketAddr,
    /// Holds the database and the CA. Made with mode 0700 when it is not there.
    pub state_dir: PathBuf,
    /// Listen without TLS on an address that is not loopback. Tokens then travel in the clear.
    pub insecure_plaintext: bool,
    /// Listen without tokens on an address that is not loopback: whoever reaches it may do
    /// everything, as "anonymous".
    pub insecure_anonymous: bool,
    /// Names by which this server is reached, such as `fleet.example.org`, beside addresses,
    /// `localhost` and those in the certificate of `[tls]`. Requests by other names are refused.
    pub names: Vec<String>,
    /// Origins whose pages may call the API from a browser, such as `https://fleet.example.org`.
    pub cors_origins: Vec<String>,
    /// DNS names of VMs are `<name>.<domain>`.
    pub domain: String,
    /// Guest subnets come from here, such as "10.64.0.0/10".
    pub guest_pool: String,
    /// Prefix length of one host's guest subnet, 16 to 29.
    pub guest_prefix: u8,
    /// TLS of the API; without it the API is plain text.
    pub tls: Option<TlsConfig>,
    /// Who may call the API.
    pub auth: AuthConfig,
    /// How hosts are filled.
    pub placement: PlacementConfig,
    /// How agents are watched.
    pub agents: AgentsConfig,
    /// How much there may be.
    pub limits: LimitsConfig,
    /// Kernels and root file systems.
    pub images: ImagesConfig,
    /// For how long what is kept of the past.
    pub retention: RetentionConfig,
    /// Log and traces.
    pub telemetry: TelemetryConfig,
}

/// TLS of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Key, PEM.
    pub key: PathBuf,
}

/// How hosts are filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PlacementConfig {
    /// In which order hosts are filled where a VM does not say: `spread`, the emptiest first, or
    /// `pack`, the fullest first.
    pub strategy: StrategyConfig,
    /// vCPUs that may be booked for each one the host has, 0.1 to 100.
    pub vcpu_overcommit: f64,
    /// Memory that may be booked for each MiB the host has, 0.1 to 100.
    pub memory_overcommit: f64,
}

/// In which order hosts are filled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StrategyConfig {
    /// The emptiest first.
    #[default]
    Spread,
    /// The fullest first.
    Pack,
}

/// How agents are watched. An agent sends a heartbeat every few seconds; it says how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentsConfig {
    /// A host is OFFLINE after it was SUSPECT for so many seconds, 1 to 3600.
    pub offline_after_secs: u64,
    /// How many days the certificate of an agent is good, 1 to 825. It is renewed at two thirds of
    /// them, and at once where it is good for longer.
    pub certificate_days: u32,
}

/// For how long what is kept of the past, in hours: 1 to 87600, which is ten years.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionConfig {
    /// The history of a VM after it was deleted.
    pub deleted_history_hours: u64,
    /// The id of a deleted VM, which is refused until then. Not less than its history.
    pub deleted_ids_hours: u64,
    /// Requests with a `request_id`, whose repetition is known until then.
    pub requests_hours: u64,
    /// Sweeps of hosts that were asked for; at most 100 of each host in any case.
    pub sweeps_hours: u64,
    /// Records of who did what; of refused calls at most the newest 100 000 of strangers and of
    /// others in any case.
    pub audit_hours: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7070)),
            metrics_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7071)),
            state_dir: PathBuf::from("/var/lib/banger-server"),
            insecure_plaintext: false,
            insecure_anonymous: false,
            names: Vec::new(),
            cors_origins: Vec::new(),
            domain: "banger.internal".to_owned(),
            guest_pool: "10.64.0.0/10".to_owned(),
            guest_prefix: 20,
            tls: None,
            auth: AuthConfig::default(),
            placement: PlacementConfig::default(),
            agents: AgentsConfig::default(),
            limits: LimitsConfig::default(),
            images: ImagesConfig::default(),
            retention: RetentionConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

impl Default for PlacementConfig {
    fn default() -> Self {
        let Overcommit { vcpus, memory } = Overcommit::default();
        let strategy = StrategyConfig::default();
        Self { strategy, vcpu_overcommit: vcpus, memory_overcommit: memory }
    }
}

impl AgentsConfig {
    /// How long the certificate of an agent is good.
    pub fn certificate_validity(&self) -> Duration {
        Duration::from_secs(u64::from(self.certificate_days) * 24 * 3600)
    }
}

impl Default for AgentsConfig {
    fn default() -> Self {
        Self { offline_after_secs: 30, certificate_days: 90 }
    }
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            deleted_history_hours: 24,
            deleted_ids_hours: 7 * 24,
            requests_hours: 24,
            sweeps_hours: 90 * 24,
            audit_hours: 90 * 24,
        }
    }
}

/// Flags that override the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`
    pub listen: Option<SocketAddr>,
    /// `--metrics-listen`
    pub metrics_listen: Option<SocketAddr>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
}

impl ServerConfig {
    /// Reads a file, lays the flags over it and checks the result. Without a path the default file
    /// is read if it is there, and the defaults hold if not.
    ///
    /// # Errors
    /// When the file can't be read or understood, or values do not fit: then all of them are
    /// listed.
    pub fn load(path: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let config = settings::load::<Self>("server", path, DEFAULT_PATH)?.with(overrides);
        config.check()?;
        Ok(config)
    }

    /// The same with flags over it.
    #[must_use]
    pub fn with(mut self, overrides: Overrides) -> Self {
        let Overrides { listen, metrics_listen, state_dir } = overrides;
        self.listen = listen.unwrap_or(self.listen);
        self.metrics_listen = metrics_listen.unwrap_or(self.metrics_listen);
        self.state_dir = state_dir.unwrap_or(self.state_dir);
        self
    }

    /// Checks that the values fit.
    ///
    /// # Errors
    /// All problems at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        if !self.listen.ip().is_loopback() && self.tls.is_none() && !self.insecure_plaintext {
            problems.push(format!(
                "listen = {} can be reached from outside this machine and [tls] is not set; set it, \
                 or insecure_plaintext = true if something else protects the connection",
                self.listen,
            ));
        }
        if self.auth.ask_for_tokens && self.insecure_anonymous {
            problems.push(
                "ask_for_tokens of [auth] and insecure_anonymous are both true, and say the opposite"
                    .to_owned(),
            );
        }
        if self.listen == self.metrics_listen && self.listen.port() != 0 {
            problems.push(format!("listen and metrics_listen are both {}", self.listen));
        }
        if let Err(why) = check_domain(&self.domain) {
            problems.push(format!("domain {why}"));
        }
        match self.guest_pool.parse::<Subnet>() {
            Err(why) => problems.push(format!("guest_pool {why}")),
            Ok(pool) if pool.prefix() > self.guest_prefix => problems.push(format!(
                "guest_pool {pool} has no room for a subnet of guest_prefix = {}",
                self.guest_prefix,
            )),
            Ok(_) => {}
        }
        if !(16..=29).contains(&self.guest_prefix) {
            problems.push(format!("guest_prefix is {}; must be 16 to 29", self.guest_prefix));
        }
        for (key, ratio) in [
            ("vcpu_overcommit", self.placement.vcpu_overcommit),
            ("memory_overcommit", self.placement.memory_overcommit),
        ] {
            if !(0.1..=100.0).contains(&ratio) {
                problems.push(format!("placement.{key} is {ratio}; must be 0.1 to 100"));
            }
        }
        if !(1..=3600).contains(&self.agents.offline_after_secs) {
            let secs = self.agents.offline_after_secs;
            problems.push(format!("agents.offline_after_secs is {secs}; must be 1 to 3600"));
        }
        problems.extend(self.auth.problems(self.tls.is_some()));
        if !(1..=825).contains(&self.agents.certificate_days) {
            let days = self.agents.certificate_days;
            problems.push(format!("agents.certificate_days is {days}; must be 1 to 825"));
        }
        problems.extend(self.limits.problems());
        for name in &self.names {
            if let Err(why) = outside::check_server_name(name) {
                problems.push(format!("names has {name:?}, which {why}"));
            }
        }
        for origin in &self.cors_origins {
            if let Err(why) = outside::check_origin(origin) {
                problems.push(format!("cors_origins has {origin:?}, which {why}"));
            }
        }
        problems.extend(self.images.problems());
        problems.extend(self.retention.problems());
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(problems)) }
    }

    /// Whether people of other machines may call without saying who they are.
    pub fn lets_strangers_in(&self) -> bool {
        !self.listen.ip().is_loopback() && !self.asks_for_tokens()
    }

    /// Whether every call needs a token: beyond loopback always, unless an operator insists.
    pub fn asks_for_tokens(&self) -> bool {
        let beyond = !self.listen.ip().is_loopback() && !self.insecure_anonymous;
        beyond || self.auth.ask_for_tokens || self.auth.knows_callers()
    }

    /// What may be so and is yet said at every start and by `check-config`.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.lets_strangers_in() {
            let listen = self.listen;
            warnings
                .push(format!("insecure_anonymous: whoever reaches {listen} may do everything"));
        }
        if !self.metrics_listen.ip().is_loopback() {
            warnings.push(format!(
                "metrics_listen: whoever reaches {} reads the metrics; they have no token and no TLS",
                self.metrics_listen
            ));
        }
        warnings
    }

    /// The directory of images.
    pub fn images_dir(&self) -> PathBuf {
        self.state_dir.join("images")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.state_dir.join("banger.db")
    }

    /// The directory of the CA.
    pub fn ca_dir(&self) -> PathBuf {
        self.state_dir.join("ca")
    }

    /// What the ledger decides by.
    ///
    /// # Errors
    /// When the pool does not parse, which [`ServerConfig::check`] has found out before.
    pub fn ledger(&self) -> Result<LedgerConfig, ConfigError> {
        let guest_pool = self
            .guest_pool
            .parse()
            .map_err(|why| ConfigError::Invalid(vec![format!("guest_pool {why}")]))?;
        Ok(LedgerConfig {
            overcommit: Overcommit {
                vcpus: self.placement.vcpu_overcommit,
                memory: self.placement.memory_overcommit,
            },
            strategy: match self.placement.strategy {
                StrategyConfig::Spread => Strategy::Spread,
                StrategyConfig::Pack => Strategy::Pack,
            },
            guest_pool,
            guest_prefix: self.guest_prefix,
            max_vms: self.limits.max_vms,
            max_hosts: self.limits.max_hosts,
            max_audit: self.limits.max_audit_records,
            max_requests: self.limits.max_requests,
        })
    }
}

impl RetentionConfig {
    /// The same as durations.
    pub fn retention(&self) -> Retention {
        let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
        Retention {
            deleted_history: hours(self.deleted_history_hours),
            deleted_ids: hours(self.deleted_ids_hours),
            requests: hours(self.requests_hours),
            sweeps: hours(self.sweeps_hours),
            audit: hours(self.audit_hours),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (key, hours) in [
            ("deleted_history_hours", self.deleted_history_hours),
            ("deleted_ids_hours", self.deleted_ids_hours),
            ("requests_hours", self.requests_hours),
            ("sweeps_hours", self.sweeps_hours),
            ("audit_hours", self.audit_hours),
        ] {
            if !(1..=87_600).contains(&hours) {
                problems.push(format!("retention.{key} is {hours}; must be 1 to 87600"));
            }
        }
        if self.deleted_ids_hours < self.deleted_history_hours {
            problems.push(format!(
                "retention.deleted_ids_hours is {}, less than deleted_history_hours = {}",
                self.deleted_ids_hours, self.deleted_history_hours,
            ));
        }
        problems
    }
}

fn check_domain(domain: &str) -> Result<(), String> {
    if domain.len() > 180 {
        return Err("must have at most 180 characters".to_owned());
    }
    domain.split('.').try_for_each(|label| {
        check_name(label).map_err(|why| format!("has the label {label:?}, which {why}"))
    })
}

/// Reads a token file of one of these: principal by token.
///
/// # Errors
/// When it can't be read, or others than its owner may read it, or it is another's, or lines are
/// not `<principal> <token> [<role>]` with a token of 16 characters or more that does not begin as
/// those do that are made by calls, and a principal that the history has for nobody else: then all
/// of those are listed, by number, never by content. Such a principal is no warning: the history
/// would be wrong from then on, and the mend is another word in that line.
pub fn read_token_file(
    path: &Path,
    owners: Owners,
) -> Result<BTreeMap<String, Principal>, ConfigError> {
    let bytes = secrets::read_of(path, owners).map_err(|error| match error {
        SecretError::Read { path, source } => ConfigError::Read { path, source },
        other @ (SecretError::OpenToOthers { .. }
        | SecretError::OfAnother { .. }
        | SecretError::NotAFile { .. }) => ConfigError::Invalid(vec![other.to_string()]),
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let mut tokens = BTreeMap::new();
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        let (principal, token) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let place = format!("{} line {number}", path.display());
        let role = words.next().map_or(Ok(Role::Admin), str::parse);
        if check_name(principal).is_err() || words.next().is_some() {
            problems.push(format!("{place} is not of the form <principal> <token> [<role>]"));
        } else if let Err(why) = check_principal(principal) {
            problems.push(format!(
                "{place} has the principal {principal}, which {why}: give it another name, its \
                 token may stay"
            ));
        } else if token.len() < 16 || !token.bytes().all(|b| b.is_ascii_graphic()) {
            problems.push(format!("{place} has a token of less than 16 printable characters"));
        } else if token.starts_with(TOKEN_PREFIX) {
            // The line would take the place of the token that was made, with its expiry.
            problems.push(format!(
                "{place} has a token that begins with {TOKEN_PREFIX}, as those do that are made by \
                 a call: such a token needs no line, and a line needs another token"
            ));
        } else if let Ok(role) = role {
            let rights = Rights::Fleet(role);
            let principal = Principal { name: principal.into(), rights };
            if tokens.insert(token.to_owned(), principal).is_some() {
                problems.push(format!("{place} has a token that another line has"));
            }
        } else {
            let known = Role::ALL.map(Role::as_str).join(", ");
            problems.push(format!("{place} has a role that is none of {known}"));
        }
    }
    if tokens.is_empty() && problems.is_empty() {
        problems.push(format!("{} has no token", path.display()));
    }
    if problems.is_empty() { Ok(tokens) } else { Err(ConfigError::Invalid(problems)) }
}

#[cfg(test)]
mod tests;
