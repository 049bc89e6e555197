//! Which ports the processes get: the API's, then the ones after it in pairs.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

use super::record::Service;
use banger_terminal::failure::Failure;

/// The free ports that this command has given to its processes.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// The addresses of the server: the API and its metrics.
pub(super) fn server(listen: SocketAddr) -> Result<Service, Failure> {
    if !listen.ip().is_loopback() {
        return Err(Failure::Usage(format!(
            "`banger dev` listens on this machine only, and {} is not a loopback address; \
             for more, run banger-server with a configuration",
            listen.ip()
        )));
    }
    Ok(Service::new("server".to_owned(), pick(listen, 0)?, pick(listen, 1)?))
}

/// The addresses of agent number `index`: for the server, and its metrics.
pub(super) fn agent(server: &Service, index: usize, any: bool) -> Result<Service, Failure> {
    let base = if any { SocketAddr::new(server.listen.ip(), 0) } else { server.listen };
    let offset = u16::try_from(2 + 2 * index).unwrap_or(u16::MAX);
    let name = format!("b{index}");
    Ok(Service::new(name, pick(base, offset)?, pick(base, offset.saturating_add(1))?))
}

fn pick(base: SocketAddr, offset: u16) -> Result<SocketAddr, Failure> {
    let mut address = base;
    if base.port() == 0 {
        // Free now; that nobody takes it before our process does is likely, not certain. The system
        // gives one again that we have let go of, and no two of our processes may have the same.
        loop {
            let free = TcpListener::bind(base).and_then(|listener| listener.local_addr());
            let free = free.map_err(|error| Failure::io("find a free port", error))?;
            if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(free.port()) {
                return Ok(free);
            }
        }
    }
    let port = base
        .port()
        .checked_add(offset)
        .ok_or_else(|| Failure::Usage(format!("there are too few ports after {}", base.port())))?;
    address.set_port(port);
    Ok(address)
}

/// Whether an address can be listened on; if not, the line to say.
pub(super) fn ensure_free(service: &Service) -> Result<(), Failure> {
    for (address, what) in [(service.listen, ""), (service.metrics, " metrics")] {
        if let Err(error) = TcpListener::bind(address) {
            let name = &service.name;
            let why = match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program uses it".to_owned(),
                _ => error.to_string(),
            };
            return Err(Failure::Other(anyhow::anyhow!(
                "cannot listen on {address} for {name}{what}: {why}; \
                 give other ports with --listen 127.0.0.1:PORT (0 takes free ones)"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
