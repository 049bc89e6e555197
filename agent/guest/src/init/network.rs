//! Name and network of a guest without an init, from `ip=` of the kernel's command line
//! (`Documentation/admin-guide/nfs/nfsroot.rst` of the kernel).
//!
//! Driven by [`super::run`], once. By rtnetlink(7): such an image need not have any tool. What can
//! go wrong: there is no such word, or no interface of that name; then the guest has its loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use super::attempt;

/// How long the interface is waited for: its driver may still be looking for it.
const LIMIT: Duration = Duration::from_secs(10);

/// What `ip=` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) address: Ipv4Addr,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) prefix: u8,
    pub(super) hostname: String,
    pub(super) device: String,
    pub(super) dns: Vec<Ipv4Addr>,
}

/// Reads `ip=<client>:<server>:<gateway>:<mask>:<hostname>:<device>:<how>:<dns0>:<dns1>`.
pub(super) fn told(command_line: &str) -> Option<Told> {
    let word = command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix("ip="))?;
    let fields: Vec<&str> = word.split(':').collect();
    let field = |at: usize| fields.get(at).copied().unwrap_or_default();
    let mask: Ipv4Addr = field(3).parse().ok()?;
    let prefix = u32::from(mask).leading_ones();
    // Ones and then zeroes only.
    if u32::from(mask).count_ones() != prefix {
        return None;
    }
    Some(Told {
        address: field(0).parse().ok()?,
        gateway: field(2).parse().ok(),
        prefix: u8::try_from(prefix).ok()?,
        hostname: field(4).to_owned(),
        device: if field(5).is_empty() { "eth0" } else { field(5) }.to_owned(),
        dns: [field(7), field(8)].iter().filter_map(|text| text.parse().ok()).collect(),
    })
}

/// Sets up what the command line says.
pub(super) fn set_up(command_line: &str) {
    let told = told(command_line);
    let in_image = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let name = told.as_ref().map_or("", |told| &told.hostname);
    let name = if name.is_empty() { in_image.trim() } else { name };
    if !name.is_empty() {
        attempt("set the name of the guest", nix::unistd::sethostname(name));
        if name != in_image.trim() {
            attempt("write /etc/hostname", std::fs::write("/etc/hostname", format!("{name}\n")));
        }
    }
    if let Some(told) = told.as_ref().filter(|told| !told.dns.is_empty()) {
        let text: String = told.dns.iter().map(|dns| format!("nameserver {dns}\n")).collect();
        attempt("write /etc/resolv.conf", write("/etc/resolv.conf", &text));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Some(runtime) = attempt("begin with the network", runtime) {
        let done = runtime.block_on(async { tokio::time::timeout(LIMIT, links(told)).await });
        if let Some(done) = attempt("find the network interface", done) {
            attempt("set up the network", done);
        }
    }
}

/// Writes a file, in place of a link that leads nowhere: to what another init would make at run
/// time.
fn write(path: &str, text: &str) -> std::io::Result<()> {
    match std::fs::write(path, text) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::remove_file(path)?;
            std::fs::write(path, text)
        }
        written => written,
    }
}

async fn index_of(handle: &Handle, name: &str) -> Option<u32> {
    let mut found = handle.link().get().match_name(name.to_owned()).execute();
    found.try_next().await.ok().flatten().map(|link| link.header.index)
}

async fn up(handle: &Handle, index: u32) -> Result<(), rtnetlink::Error> {
    handle.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await
}

async fn links(told: Option<Told>) -> Result<(), Box<dyn std::error::Error>> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let driver = tokio::spawn(connection);
    if let Some(loopback) = index_of(&handle, "lo").await {
        up(&handle, loopback).await?;
    }
    if let Some(told) = told {
        let index = loop {
            match index_of(&handle, &told.device).await {
                Some(index) => break index,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let address = IpAddr::V4(told.address);
        // Repeated after somebody else has done it: it is there.
        let _ = handle.address().add(index, address, told.prefix).execute().await;
        up(&handle, index).await?;
        if let Some(gateway) = told.gateway {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
            handle.route().add(route).replace().execute().await?;
        }
    }
    driver.abort();
    Ok(())
}

#[cfg(test)]
mod tests;
