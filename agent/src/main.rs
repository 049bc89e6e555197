//! `banger-agent`: arguments, log, signals. Everything else is the library's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use banger_agent::clock::Clock;
use banger_agent::config::Overrides;
use banger_agent::host::fakes::{self, FakeKernel, HostOptions};
use banger_agent::host::linux::qemu::jail::{Entry, enter};
use banger_agent::host::{Host, linux};
use banger_agent::join::JoinRequest;
use banger_agent::{Agent, AgentConfig, doctor, join};
use banger_proto::service::life::{self, Termination};
use banger_proto::wire::telemetry::{self, TelemetryConfig};
use clap::{Parser, Subcommand};

/// The agent of banger: makes this host run the microVMs that its server wants here.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Configuration file [default: /etc/banger/agent.toml if it is there].
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Holds identity, records, disks, images and jails.
    #[arg(long, global = true, value_name = "DIRECTORY")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve. Stopping the agent, in whatever way, leaves the guests running.
    Run(Run),
    /// Become a host of a fleet, or get a new certificate.
    Join(Join),
    /// Say whether this machine can run guests, and what to do about it if not.
    Doctor {
        /// For programs.
        #[arg(long)]
        json: bool,
        /// Fail also for what Firecracker recommends for hosts in production.
        #[arg(long)]
        production: bool,
        #[command(flatten)]
        tools: Tools,
    },
    /// Read the configuration, say what is wrong with it, and start nothing.
    CheckConfig,
    /// Enter a jail and become QEMU. Started by the agent, of no use to anybody else.
    #[command(hide = true)]
    JailQemu(JailQemu),
}

#[derive(Debug, clap::Args)]
struct JailQemu {
    /// The jail's name, by which the process is found again.
    #[arg(long, value_name = "ID")]
    id: String,
    /// The jail's root directory.
    #[arg(long, value_name = "DIRECTORY")]
    root: PathBuf,
    /// User and group to run as.
    #[arg(long, value_name = "UID")]
    uid: u32,
    /// How many files it may have open.
    #[arg(long, value_name = "COUNT")]
    max_files: u32,
    /// The control group's directory.
    #[arg(long, value_name = "DIRECTORY")]
    cgroup: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
struct Tools {
    /// The VMM.
    #[arg(long, value_name = "FILE", env = "BANGER_FIRECRACKER")]
    firecracker: Option<PathBuf>,
    /// Firecracker's jailer.
    #[arg(long, value_name = "FILE", env = "BANGER_JAILER")]
    jailer: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Pretend: the whole agent over a machine that is not there.
    #[arg(long)]
    simulate: bool,
    /// With --simulate: save every change of the machine before it is seen, so that a kill of the
    /// agent loses nothing of it. Slow.
    #[arg(long, requires = "simulate")]
    durable: bool,
    /// Where the server reaches the agent.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where /metrics and /healthz are.
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Holds the sockets of VMs.
    #[arg(long, value_name = "DIRECTORY")]
    runtime_dir: Option<PathBuf>,
    /// Kernels and root file systems.
    #[arg(long, value_name = "DIRECTORY")]
    image_dir: Option<PathBuf>,
    /// Keeps several agents on one machine apart: two characters.
    #[arg(long, value_name = "TAG")]
    instance: Option<String>,
    #[command(flatten)]
    tools: Tools,
}

#[derive(Debug, clap::Args)]
struct Join {
    /// The server's API, such as https://server.example:7070.
    #[arg(long, value_name = "URL")]
    server: String,
    /// From `banger host token`.
    #[arg(long, value_name = "TOKEN", env = "BANGER_JOIN_TOKEN", hide_env_values = true)]
    token: String,
    /// The name of this host in the fleet [default: its host name].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where the server is to reach the agent [default: this host's address towards the server].
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent_address: Option<String>,
    /// A label of the host; may be given again. Goes over those in the configuration.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// Certificates that sign the server's API certificate [default: those this machine trusts].
    #[arg(long, value_name = "FILE", env = "BANGER_CA")]
    ca: Option<PathBuf>,
    /// Send the token in the clear to another machine.
    #[arg(long)]
    insecure_plaintext: bool,
}

fn key_value(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// How long work on blocking threads may hold up the end of the process.
const BLOCKING_LIMIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("banger-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> anyhow::Result<ExitCode> {
    // First of all, while this is a process of one thread.
    if let Command::JailQemu(jail) = args.command {
        return jail_qemu(jail);
    }
    let overrides = overrides(&args);
    let config = AgentConfig::load(args.config.as_deref(), overrides)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    match args.command {
        Command::Run(Run { simulate, durable, .. }) => {
            let machine = match (simulate, durable) {
                (false, _) => Machine::Real,
                (true, durable) => Machine::Simulated { durable },
            };
            let served = runtime.block_on(serve(config, machine));
            // A digest of a large image may be under way on a thread that can't be stopped; it is
            // worth nothing to a process that ends, and systemd would wait for it.
            runtime.shutdown_timeout(BLOCKING_LIMIT);
            served.map(|()| ExitCode::SUCCESS)
        }
        Command::Join(args) => {
            let record = runtime
                .block_on(join::join(join_request(&config, args)?, &config.identity_dir()))?;
            println!("joined as host {} ({})", record.name, record.host_id);
            println!("guest subnet: {}", record.guest_subnet);
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { json, production, .. } => {
            let diagnosis = runtime.block_on(doctor::diagnose(&config));
            if json {
                println!("{}", serde_json::to_string_pretty(&diagnosis)?);
            } else {
                print!("{}", diagnosis.text());
            }
            let good = diagnosis.usable && (!production || diagnosis.production_ready);
            Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::JailQemu(jail) => jail_qemu(jail),
        Command::CheckConfig => {
            println!("the configuration can be used");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn jail_qemu(jail: JailQemu) -> anyhow::Result<ExitCode> {
    let mut words = jail.program.into_iter();
    let entry = Entry {
        root: jail.root,
        uid: jail.uid,
        max_files: jail.max_files,
        cgroup: jail.cgroup,
        program: words.next().context("no program is named")?.into(),
        arguments: words.collect(),
    };
    let Err(refused) = enter(&entry);
    Err(refused).with_context(|| format!("QEMU does not start in jail {}", jail.id))
}

fn overrides(args: &Args) -> Overrides {
    let mut overrides = Overrides { state_dir: args.state_dir.clone(), ..Overrides::default() };
    let tools = match &args.command {
        Command::Run(run) => {
            overrides.listen = run.listen;
            overrides.metrics_listen = run.metrics_listen;
            overrides.runtime_dir.clone_from(&run.runtime_dir);
            overrides.image_dir.clone_from(&run.image_dir);
            overrides.instance.clone_from(&run.instance);
            Some(&run.tools)
        }
        Command::Doctor { tools, .. } => Some(tools),
        Command::Join(_) | Command::CheckConfig | Command::JailQemu(_) => None,
    };
    if let Some(tools) = tools {
        overrides.firecracker.clone_from(&tools.firecracker);
        overrides.jailer.clone_from(&tools.jailer);
    }
    overrides
}

fn join_request(config: &AgentConfig, args: Join) -> anyhow::Result<JoinRequest> {
    let name = match args.name {
        Some(name) => name,
        None => host_name()?,
    };
    let mut labels: BTreeMap<String, String> = config.labels.clone();
    labels.extend(args.labels);
    Ok(JoinRequest {
        server: args.server,
        token: args.token,
        name,
        agent_address: args.agent_address,
        agent_port: config.listen.port(),
        labels,
        api_ca: args.ca,
        insecure_plaintext: args.insecure_plaintext,
    })
}

/// The first label of the machine's name, in lower case.
fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("the machine's name cannot be read")?;
    let name = name.to_string_lossy().to_ascii_lowercase();
    Ok(name.split('.').next().unwrap_or_default().to_owned())
}

/// What the agent works on.
#[derive(Debug, Clone, Copy)]
enum Machine {
    Real,
    Simulated { durable: bool },
}

async fn serve(config: AgentConfig, on: Machine) -> anyhow::Result<()> {
    let _telemetry = telemetry::init(TelemetryConfig {
        service_name: "banger-agent",
        otlp_endpoint: config.telemetry.otlp_endpoint.clone(),
        log_format: config.telemetry.log_format,
        log_filter: config.telemetry.log_filter.clone(),
    })?;
    // Before the start, so that a signal during it is not lost.
    let mut termination = Termination::listen().context("could not listen for signals")?;
    raise_open_files();
    let (host, kernel) = machine(&config, on)?;
    let agent = Agent::start(config, host, Clock::system()).await?;
    life::ready();
    termination.wait().await;
    life::stopping();
    agent.shutdown().await;
    if let Some(kernel) = kernel {
        kernel.save().context("the simulated machine was not saved")?;
    }
    Ok(())
}

/// The real machine, or a simulated one that lives on in the state directory.
fn machine(config: &AgentConfig, on: Machine) -> anyhow::Result<(Host, Option<FakeKernel>)> {
    let durable = match on {
        Machine::Real => return Ok((linux::host(&config.linux())?, None)),
        Machine::Simulated { durable } => durable,
    };
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("could not make {}", config.state_dir.display()))?;
    let path = config.state_dir.join("simulated-kernel.json");
    let kernel = if durable { FakeKernel::open_durable(&path) } else { FakeKernel::open(&path) }
        .with_context(|| format!("the simulated machine in {} is lost", path.display()))?;
    let options = HostOptions {
        image_dir: config.images(),
        scratch_dir: config.vms(),
        jail_dir: config.jails(),
        runtime_dir: config.runtime_dir.clone(),
        ..HostOptions::default()
    };
    Ok((fakes::host(&kernel, options), Some(kernel)))
}

/// A pidfd and three FIFOs for each VM: as many open files as the limit can be raised to.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %error, "the limit of open files stays low");
    }
}
