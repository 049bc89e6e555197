//! `banger-agent`: each subcommand from its arguments to what it prints.
//!
//! Here is what only a process has: arguments and the environment, the token from standard input,
//! the machine's name, signals, the limit of open files. What the subcommands do is the library's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use banger_agent::agent::machine::{self, MachineKind};
use banger_agent::clock::Clock;
use banger_agent::config::Overrides;
use banger_agent::host::linux::vmm::qemu::jail::{JailOrder, enter};
use banger_agent::host::{UsedNetwork, linux};
use banger_agent::join::JoinRequest;
use banger_agent::{Agent, AgentConfig, doctor, join};
use banger_wire::service::life::{self, Termination};
use banger_wire::service::secrets::{self, Owners};
use banger_wire::telemetry;
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
    /// Serve. However the agent stops, the guests go on running.
    Run(Run),
    /// Become a host of a fleet, or get a new certificate.
    Join(Join),
    /// Say whether this machine can run guests, and what to do if it cannot.
    Doctor {
        /// Print JSON, for programs.
        #[arg(long)]
        json: bool,
        /// Fail as well if the host does not follow Firecracker's recommendations for production.
        #[arg(long)]
        production: bool,
        #[command(flatten)]
        tools: Tools,
    },
    /// Remove what the agent made of the machine's network: bridge, firewall chains, and its claim
    /// on its instance tag. Refused while the agent runs or anything of a VM is here.
    Dismantle {
        /// Keeps several agents on one machine apart: two characters.
        #[arg(long, value_name = "TAG")]
        instance: Option<String>,
        /// The one that the agent runs with, if the configuration does not say.
        #[arg(long, value_name = "DIRECTORY")]
        runtime_dir: Option<PathBuf>,
    },
    /// Read the configuration, say what is wrong with it, and start nothing.
    CheckConfig,
    /// Enter a jail and become QEMU. For the agent alone.
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
    /// The tap that it is given.
    #[arg(long, value_name = "NAME")]
    tap: Option<String>,
    /// Give it the device of KVM.
    #[arg(long)]
    kvm: bool,
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
    /// Pretend: run the whole agent on a simulated machine.
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
    /// From `banger host token`; better in a file, where not everyone on this machine can read it.
    #[arg(long, value_name = "TOKEN", env = "BANGER_JOIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// File with the token; - reads standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The name of this host in the fleet [default: its host name].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where the server reaches the agent [default: this host's address towards the server].
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent_address: Option<String>,
    /// A label that the host would like; may be given several times. The token decides what it
    /// gets.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
    labels: Vec<(String, String)>,
    /// CA certificates for the server's API [default: those that this machine trusts].
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
            let on = match (simulate, durable) {
                (false, _) => MachineKind::Real,
                (true, durable) => MachineKind::Simulated { durable },
            };
            let served = runtime.block_on(serve(config, on));
            // A digest of a large image may be under way on a thread that can't be stopped; it is
            // worth nothing to a process that ends, and systemd would wait for it.
            runtime.shutdown_timeout(BLOCKING_LIMIT);
            served.map(|()| ExitCode::SUCCESS)
        }
        Command::Join(args) => {
            let used = runtime.block_on(used_networks(&config))?;
            let joined = runtime
                .block_on(join::join(join_request(&config, args, used)?, &config.identity_dir()))?;
            let record = joined.record;
            println!("joined as host {} ({})", record.name, record.host_id);
            println!("guest subnet: {}", record.guest_subnet);
            if !joined.not_given.is_empty() {
                let wanted = joined.not_given.iter().map(|(k, v)| format!(" --label {k}={v}"));
                println!("Labels come with the token, or from an operator. For those not given:");
                println!("  banger host update {}{}", record.name, wanted.collect::<String>());
            }
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
        Command::Dismantle { .. } => {
            runtime.block_on(machine::dismantle(&config))?;
            println!("bridge and firewall chains of instance {} are gone", config.instance);
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckConfig => {
            for said in banger_agent::agent::check(&config)? {
                println!("{said}");
            }
            println!("the configuration can be used");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn jail_qemu(jail: JailQemu) -> anyhow::Result<ExitCode> {
    let mut words = jail.program.into_iter();
    let order = JailOrder {
        root: jail.root,
        uid: jail.uid,
        max_files: jail.max_files,
        tap: jail.tap,
        kvm: jail.kvm,
        cgroup: jail.cgroup,
        program: words.next().context("no program is named")?.into(),
        arguments: words.collect(),
    };
    let Err(refused) = enter(&order);
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
        Command::Dismantle { instance, runtime_dir } => {
            overrides.instance.clone_from(instance);
            overrides.runtime_dir.clone_from(runtime_dir);
            None
        }
        Command::Join(_) | Command::CheckConfig | Command::JailQemu(_) => None,
    };
    if let Some(tools) = tools {
        overrides.firecracker.clone_from(&tools.firecracker);
        overrides.jailer.clone_from(&tools.jailer);
    }
    overrides
}

/// The networks that the machine uses, other than by the bridge of this agent.
async fn used_networks(config: &AgentConfig) -> anyhow::Result<Vec<UsedNetwork>> {
    let bridge = config.naming().bridge();
    let mut used = linux::networks().await?;
    used.retain(|used| used.device != bridge.as_str());
    Ok(used)
}

fn join_request(
    config: &AgentConfig,
    args: Join,
    used_networks: Vec<UsedNetwork>,
) -> anyhow::Result<JoinRequest> {
    let name = match args.name {
        Some(name) => name,
        None => host_name()?,
    };
    let mut labels: BTreeMap<String, String> = config.labels.clone();
    labels.extend(args.labels);
    let token = match (args.token_file, args.token) {
        (Some(path), _) if path == Path::new("-") => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).context("the token cannot be read")?;
            line
        }
        (Some(path), _) => {
            let token = secrets::read_of(&path, Owners::AnyForRoot)
                .with_context(|| format!("the token in {} is not taken", path.display()))?;
            String::from_utf8(token)
                .with_context(|| format!("the token in {} is no text", path.display()))?
        }
        (None, Some(token)) => token,
        (None, None) => anyhow::bail!(
            "there is no token: make one with `banger host token` where the server is, and give it \
             with --token-file FILE (- reads it from standard input)"
        ),
    };
    Ok(JoinRequest {
        server: args.server,
        token: token.trim().to_owned(),
        name,
        agent_address: args.agent_address,
        agent_port: config.listen.port(),
        labels,
        used_networks,
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

async fn serve(mut config: AgentConfig, on: MachineKind) -> anyhow::Result<()> {
    let _telemetry = telemetry::init("banger-agent", config.telemetry.clone())?;
    // Before the start, so that a signal during it is not lost.
    let mut termination = Termination::listen().context("could not listen for signals")?;
    raise_open_files();
    let machine = on.take(&mut config)?;
    let agent = Agent::start(config, machine.host.clone(), Clock::system()).await?;
    life::ready();
    termination.wait().await;
    life::stopping();
    agent.shutdown().await;
    machine.save()?;
    Ok(())
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
