//! Flags of `banger login`.

use std::path::PathBuf;

use clap::Args;

const HELP: &str = "\
The context keeps what you give here, so that the next login needs no flags. What the provider gives
is in a file of its own that only you can read, and is refreshed before it expires.

Examples:
  banger context set work --server https://banger.example.org:7070 --use
  banger login --issuer https://login.example.org --client-id banger-cli
  banger login
  banger whoami";

/// Whom to log in with; what is left out is as the context has it.
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub(crate) struct LoginArgs {
    /// The provider, as the server's configuration has it in `auth.oidc.issuer`.
    #[arg(long, value_name = "URL")]
    pub(crate) issuer: Option<String>,
    /// What this program is called there: a public client with the device flow.
    #[arg(long, value_name = "ID")]
    pub(crate) client_id: Option<String>,
    /// What is asked for there [default: openid offline_access].
    #[arg(long, value_name = "SCOPES")]
    pub(crate) scopes: Option<String>,
    /// PEM file of the CA that signed the provider's certificate.
    #[arg(long, value_name = "FILE")]
    pub(crate) issuer_ca: Option<PathBuf>,
    /// Call with the access token, not with the ID token: where the server's `auth.oidc.audience`
    /// is that of an API.
    #[arg(long)]
    pub(crate) access_token: bool,
}
