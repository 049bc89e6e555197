//! What is thought of every host for a VM, as people read it.

use banger_client::v1::{HostVerdict, PlacementEvaluation, PlacementStrategy};
use banger_terminal::output::table::{Row, Tone, columns, plain};
use banger_terminal::text::clean;

/// Every host with its score or with what speaks against it, the best first; or, for who is told of
/// no host, how many there are of each.
pub(crate) fn evaluation(found: &PlacementEvaluation) -> String {
    let strategy = match found.strategy() {
        PlacementStrategy::Unspecified => "",
        PlacementStrategy::Spread => ", the emptiest first",
        PlacementStrategy::Pack => ", the fullest first",
    };
    if !found.hosts.is_empty() {
        let mut hosts: Vec<&HostVerdict> = found.hosts.iter().collect();
        // Stable: equals stay in the order in which they joined.
        hosts.sort_by_key(|host| (!host.suitable, std::cmp::Reverse(host.score)));
        let rows = hosts.into_iter().map(|host| row(host, &found.chosen_host_id));
        return format!("Hosts{strategy}:\n{}", columns(&["HOST", "SCORE", "VERDICT"], rows));
    }
    let mut text = format!("Hosts that can take it{strategy}: {}\n", found.suitable_hosts);
    for against in &found.objections {
        text += &format!("  {} can't: {}\n", against.hosts, clean(&against.reason));
    }
    text
}

fn row(host: &HostVerdict, chosen: &str) -> Row {
    let (score, verdict, tone) = match host.suitable {
        true if host.host_id == chosen => {
            (host.score.to_string(), "takes it".to_owned(), Tone::Good)
        }
        true => (host.score.to_string(), parts(host), Tone::Plain),
        false => ("-".to_owned(), objections(host), Tone::Plain),
    };
    vec![plain(&host.host_name), plain(score), (verdict, tone)]
}

fn parts(host: &HostVerdict) -> String {
    let parts = host.score_parts.iter().map(|part| format!("{} {}", clean(&part.name), part.value));
    parts.collect::<Vec<_>>().join(", ")
}

fn objections(host: &HostVerdict) -> String {
    let against = host.objections.iter().map(|why| clean(&why.message));
    against.collect::<Vec<_>>().join("; ")
}
