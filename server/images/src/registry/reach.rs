//! Where a registry may be reached, and the connection to it: addresses, both families, proxies.
//!
//! Driven by [`super::http`] for every request, those after a redirect and for a token too. The
//! caller of an import chooses the name, and a registry chooses where it redirects to; so addresses
//! that only this machine and its closest neighbours have are refused, unless the operator has
//! named the registry ([`local`](crate::options::Registries::local)), and so are those of private
//! networks where whoever asks is to reach no others there
//! ([`private`](crate::options::Registries::private)). The names are looked up here and the
//! connection goes to the very addresses that were looked at. Behind a proxy it is the
//! proxy that looks names up, and that decides; literal addresses are refused all the same.
//!
//! What can go wrong: the address is refused, or nobody answers at any of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use banger_wire::meant_addresses::{Meant, meant};
use banger_wire::{metadata_services, old_addresses};
use bytes::Bytes;
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{Method, Request, Uri};
use http_body_util::Empty;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Cause, Stream};
use crate::{PrivateRegistries, Registries};

/// Before the next address is tried beside those that have not answered (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 16;

/// Whether `authority` (host and perhaps port) is one of those that the operator has named, with
/// its port or for every port.
pub(super) fn is_named(named: &[String], authority: &str) -> bool {
    let Ok(parsed) = authority.parse::<http::uri::Authority>() else { return false };
    named
        .iter()
        .any(|one| one.eq_ignore_ascii_case(authority) || one.eq_ignore_ascii_case(parsed.host()))
}

/// Why an address is none of a registry's.
pub(super) fn local(address: IpAddr) -> Option<&'static str> {
    let address = match meant(address) {
        Meant::One(address) => address,
        Meant::Tunnel => return Some("an address of a tunnel or translator"),
    };
    if metadata_services::is_one(address) {
        return Some("a cloud's metadata service");
    }
    if address.is_loopback() {
        return Some("this server itself");
    }
    if address.is_unspecified() || address.is_multicast() {
        return Some("no machine's address");
    }
    match address {
        // 0.0.0.0/8 leads to this machine too.
        IpAddr::V4(v4) if v4.octets()[0] == 0 => Some("this server itself"),
        IpAddr::V4(v4) if v4.is_link_local() || v4.is_broadcast() => Some("link-local"),
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some("link-local"),
        // fec0::/10, site-local until RFC 3879.
        IpAddr::V6(v6) if v6.segments()[0] & 0xffc0 == 0xfec0 => Some("site-local"),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    }
}

/// Why an address is only of a network that is not everybody's.
pub(super) fn private(address: IpAddr) -> Option<&'static str> {
    let Meant::One(address) = meant(address) else { return None };
    let is_private = match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            // RFC 6598 (shared by carriers), 6890 (protocol assignments), 2544 (benchmarks), and
            // what is reserved.
            let shared = a == 100 && (64..128).contains(&b);
            let assigned = (a, b, c) == (192, 0, 0) || a == 198 && (18..20).contains(&b);
            v4.is_private() || shared || assigned || a >= 240
        }
        // fc00::/7 (RFC 4193).
        IpAddr::V6(v6) => v6.segments()[0] & 0xfe00 == 0xfc00,
    };
    is_private.then_some("an address of a private network")
}

/// Which addresses an authority may have, beside those that everybody reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct May {
    /// Of this machine and its closest neighbours.
    local: bool,
    /// Of private networks.
    private: bool,
}

impl May {
    /// As the operator has said of it.
    pub(super) fn of(settings: &Registries, authority: &str) -> Self {
        let local = is_named(&settings.local, authority);
        let private = match &settings.private {
            PrivateRegistries::All => true,
            PrivateRegistries::Named(named) => local || is_named(named, authority),
        };
        Self { local, private }
    }

    /// Why it is not asked at this address, if so.
    fn refusal(self, authority: &str, address: IpAddr) -> Option<Cause> {
        match (local(address), private(address)) {
            (Some(why), _) if !self.local => Some(refusal(authority, why)),
            (_, Some(why)) if !self.private => Some(
                Refused(format!(
                    "{authority} is {why}, where a project's imports look for no registry; an \
                     operator may name it in images.private_registries"
                ))
                .into(),
            ),
            _ => None,
        }
    }
}

/// Refuses an authority that is a literal address, or means one, where it may not be asked.
pub(super) fn check_literal(authority: &http::uri::Authority, may: May) -> Result<(), Cause> {
    let in_brackets = authority.host().starts_with('[');
    let host = authority.host().trim_matches(['[', ']']).trim_end_matches('.');
    let this_server = || Some(refusal(authority.as_str(), "this server itself"));
    let refused = match host.parse() {
        Ok(address) => may.refusal(authority.as_str(), address),
        Err(_) if may.local => None,
        // RFC 6761 §6.3.
        Err(_) if host.eq_ignore_ascii_case("localhost") => this_server(),
        Err(_) if host.to_ascii_lowercase().ends_with(".localhost") => this_server(),
        // A proxy may read it as any address.
        Err(_) if in_brackets || old_addresses::may_be_one(host) => {
            Some(refusal(authority.as_str(), "an address in a form that is not judged"))
        }
        Err(_) => None,
    };
    refused.map_or(Ok(()), Err)
}

fn refusal(authority: &str, why: &str) -> Cause {
    Refused(format!(
        "{authority} is {why}, where no registry is looked for; an operator may name it in \
         images.local_registries"
    ))
    .into()
}

/// An address that is not asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// A connection to the host of `uri`, through a proxy where one is set.
pub(super) async fn connect(
    uri: &Uri,
    port: u16,
    settings: &Registries,
    proxies: &Matcher,
) -> Result<Box<dyn Stream>, Cause> {
    let authority = uri.authority().ok_or("an address without a host")?;
    let may = May::of(settings, authority.as_str());
    check_literal(authority, may)?;
    if let Some(proxy) = proxies.intercept(uri) {
        return tunnel(&proxy, authority.host(), port).await;
    }
    let host = authority.host().trim_matches(['[', ']']);
    let found: Vec<_> = tokio::net::lookup_host((host, port)).await?.take(MOST_ADDRESSES).collect();
    let mut good = Vec::new();
    let mut refused = None;
    for address in found {
        match may.refusal(authority.as_str(), address.ip()) {
            Some(why) => refused = Some(why),
            None => good.push(address),
        }
    }
    match (good.is_empty(), refused) {
        (true, Some(refused)) => Err(refused),
        (true, None) => Err("the name has no address".into()),
        (false, _) => Ok(Box::new(first_of(alternating(good)).await?)),
    }
}

/// The families in turn, beginning with the one that the system puts first.
fn alternating(all: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (mut ours, mut others): (Vec<_>, Vec<_>) =
        all.into_iter().rev().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = Vec::new();
    while !(ours.is_empty() && others.is_empty()) {
        turns.extend(ours.pop());
        turns.extend(others.pop());
    }
    turns
}

/// The first connection that stands: each address has a little time before the next is tried too
/// ("happy eyeballs", RFC 8305), so that a family that leads nowhere costs no more than that.
async fn first_of(addresses: Vec<SocketAddr>) -> Result<TcpStream, Cause> {
    let mut rest = addresses.into_iter();
    let mut trying = JoinSet::new();
    let mut failed: Cause = "the name has no address".into();
    loop {
        let next = rest.next();
        let last = next.is_none();
        if let Some(address) = next {
            trying.spawn(TcpStream::connect(address));
        }
        if trying.is_empty() {
            return Err(failed);
        }
        let answered = async {
            // Cancel-safe: what has not answered stays in the set.
            match last {
                true => Some(trying.join_next().await),
                false => tokio::time::timeout(HEAD_START, trying.join_next()).await.ok(),
            }
        };
        match answered.await {
            Some(Some(Ok(Ok(stream)))) => return Ok(stream),
            Some(Some(Ok(Err(error)))) => failed = error.into(),
            Some(Some(Err(error))) => failed = error.into(),
            Some(None) | None => {}
        }
    }
}

/// A way through an HTTP proxy (RFC 9110 §9.3.6). Where the proxy is, is the operator's to say.
async fn tunnel(proxy: &Intercept, host: &str, port: u16) -> Result<Box<dyn Stream>, Cause> {
    let uri = proxy.uri();
    if uri.scheme_str() != Some("http") {
        return Err(format!("the proxy {uri} is none that is spoken to over http").into());
    }
    let at = uri.host().ok_or("a proxy without a host")?.trim_matches(['[', ']']).to_owned();
    let found = tokio::net::lookup_host((at, uri.port_u16().unwrap_or(3128))).await?;
    let tcp = first_of(alternating(found.take(MOST_ADDRESSES).collect())).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp)).await?;
    // Ends with the sender, or hands the stream over.
    tokio::spawn(async move { drop(connection.with_upgrades().await) });
    let target = format!("{host}:{port}");
    let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(HOST, &target);
    if let Some(authorization) = proxy.basic_auth() {
        request = request.header(PROXY_AUTHORIZATION, authorization);
    }
    let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
    if !response.status().is_success() {
        return Err(format!("the proxy answered {}", response.status()).into());
    }
    Ok(Box::new(TokioIo::new(hyper::upgrade::on(response).await?)))
}

#[cfg(test)]
mod tests;
