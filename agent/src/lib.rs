//! One host of the fleet: a root daemon that makes the host match what the server wants.
//!
//! The data path, in the order of the modules:
//!
//! ```text
//!  server ══ gRPC, mTLS ══▶ rpc ─▶ supervisor ─▶ assignment, wakes ─▶ vm: one task for each VM
//!                           ▲                                           │
//!                           │                        probe → plan → apply one effect → look again
//!                           │                                           │
//!                           └───────── report ◀─────────────────────────┘
//! ```
//!
//! - [`rpc`]: the thin edge. Reads and checks messages, and says as a trait what it asks of the
//!   agent; `supervisor` is behind it.
//! - [`assignment`]: which assignment wins, by `(epoch, generation)`. Pure.
//! - [`supervisor`]: who the VMs are; takes over what an earlier life left, sweeps orphans.
//! - [`vm`]: one VM. What is wanted is joined with what the kernel says, a pure plan names one
//!   effect, `apply` performs it.
//! - [`guests`]: the channel to the guest agent of each VM.
//! - [`handles`]: hints to kernel objects; [`jail`]: finding the process and knowing it for what
//!   it is; [`naming`]: every kernel-visible name as a function of the VM's id.
//! - [`inventory`]: what the host holds joined with what the records say, and what a sweep would do
//!   with what is nobody's. Pure.
//! - [`instance`]: this agent's share of the machine, which no other agent has.
//! - [`host`]: the seams to the machine, real and fake. Knows nothing of VMs.
//! - [`report`]: a full inventory, then every change; what a VM is seen to be.
//! - [`join`]: the identity of this host, and how it is got. [`doctor`]: whether this machine can
//!   run guests. Both are commands of an operator.
//! - [`agent`]: wires all of them. [`config`]: what an operator may set; [`clock`]: the only reader
//!   of the time; [`metrics`]: what an operator can see.
//! - `failpoint`: kills the agent at a chosen effect; not in released builds.
//!
//! Dependencies point one way: `supervisor → rpc, vm → report → guests, jail → handles, naming →
//! host`. The kernel is the truth; nothing on disk is needed to keep a running VM running, and
//! failing to write any of it never touches one. Everything the agent makes can be found again by
//! name, so an agent that is killed at any point takes over where it was.

pub mod agent;
pub mod assignment;
pub mod clock;
pub mod config;
pub mod doctor;
#[cfg(debug_assertions)]
pub mod failpoint;
pub mod guests;
pub mod handles;
pub mod host;
pub mod instance;
pub mod inventory;
pub mod jail;
pub mod join;
pub mod metrics;
pub mod naming;
pub mod report;
pub mod rpc;
pub mod supervisor;
pub mod vm;

pub use agent::{Agent, RunningAgent};
pub use config::AgentConfig;
