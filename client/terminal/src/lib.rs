//! What every command of `banger` shares: how it asks, what it prints, and how it fails.
//!
//! - [`args`]: flags that mean the same everywhere. [`ask`]: before something is destroyed.
//! - [`failure`]: every error as one line and an exit code.
//! - [`output`]: results as a table, JSON, YAML or names. [`text`]: the words for values.
//! - [`progress`]: the one line that moves while something takes long.
//! - [`doctor`]: what `banger-agent doctor --json` says.
//!
//! Used by the command itself (`client/command`), `banger dev` (`deploy/dev`) and `banger system`
//! (`deploy/installer`). The client library knows nothing of it.

pub mod args;
pub mod ask;
pub mod doctor;
pub mod failure;
pub mod output;
pub mod progress;
pub mod text;
