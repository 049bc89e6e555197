//! `banger vm ssh`: the system's ssh, with `banger vm forward --stdio` as its way to the guest.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::args::Global;
use crate::args::guest::SshArgs;
use crate::session::Session;
use banger_terminal::failure::Failure;

pub(in super::super) async fn ssh(
    session: &Session,
    global: &Global,
    args: SshArgs,
) -> Result<(), Failure> {
    let vm = session.client.vms().get(&args.vm).await?;
    let own = std::env::current_exe().map_err(|error| Failure::io("find this program", error))?;
    let words = arguments(&own, &vm.id, &args, &global.flags());
    // Becomes ssh: its terminal, its signals and its exit code are its own.
    #[expect(clippy::disallowed_methods, reason = "ssh is a program of the person who runs this")]
    let error = Command::new("ssh").args(words).envs(global.secrets()).exec();
    Err(Failure::io("run ssh; is it installed?", error))
}

/// What ssh is told. The id, not the name: a VM made anew under the same name has another host key.
fn arguments(own: &Path, id: &str, args: &SshArgs, flags: &[String]) -> Vec<String> {
    let mut proxy = vec![quoted(&own.to_string_lossy())];
    proxy.extend(flags.iter().map(|flag| quoted(flag)));
    proxy.extend(["vm", "forward", id, "22", "--stdio"].map(str::to_owned));
    let mut words = vec![
        "-o".to_owned(),
        format!("ProxyCommand={}", proxy.join(" ")),
        "-o".to_owned(),
        format!("HostKeyAlias=banger-{id}"),
        "-l".to_owned(),
        args.user.clone(),
    ];
    // Flags of ssh go before the host, a command after it: ssh takes flags there too, until the
    // first word that is none.
    words.push(format!("banger-{id}"));
    words.extend(args.args.iter().cloned());
    words
}

/// One word for the shell that ssh runs the command with, which first reads `%` its own way.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests;
