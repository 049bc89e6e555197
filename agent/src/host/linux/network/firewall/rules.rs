//! The rules as values: rendered from guests, read back from `iptables-save`. No I/O.
//!
//! Three chains of our own, each jumped to from a chain of the kernel:
//!
//! ```text
//! filter FORWARD      -> <forward>  drop link-local (169.254.169.254 is in it) and guest to guest,
//!                                   then each guest's rules, then drop the rest of the bridge
//! filter INPUT        -> <input>    answers to the host's own connections and ping; drop the rest
//! nat    POSTROUTING  -> <nat>      each guest's translation
//! ```
//!
//! A guest with address translation has five rules for each uplink: its translation; a pair of
//! FORWARD rules by its tap, out to the uplink and answers back; and the same pair by its bridge
//! and its address. The second pair is needed because a packet of a tap that is a port of a bridge
//! arrives, for iptables, by the bridge and not by the tap: the rules by tap match only where the
//! tap is no port. What is not sent from a guest's own address meets the drop at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::host::{GuestKey, GuestNet, LinkName, TapName};

/// Names of our chains, and what our comments begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chains {
    /// In the table `filter`, jumped to from `FORWARD`.
    pub forward: String,
    /// In the table `filter`, jumped to from `INPUT`.
    pub input: String,
    /// In the table `nat`, jumped to from `POSTROUTING`.
    pub nat: String,
    /// `banger:<tag>:`, followed by the guest's key.
    pub comment: String,
}

impl Chains {
    /// The names for an instance tag of two letters: 13 characters, of 28 the kernel allows
    /// (XT_EXTENSION_MAXNAMELEN less the closing NUL).
    #[must_use]
    pub fn of_tag(tag: &str) -> Self {
        let upper = tag.to_ascii_uppercase();
        Self {
            forward: format!("BANGER-{upper}-FWD"),
            input: format!("BANGER-{upper}-IN"),
            nat: format!("BANGER-{upper}-NAT"),
            comment: format!("banger:{tag}:"),
        }
    }
}

/// Everything the rules depend on besides the guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallLayout {
    /// Names.
    pub chains: Chains,
    /// The guests' bridge.
    pub bridge: LinkName,
}

/// A guest as its rules are rendered: nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ruled {
    pub(super) tap: TapName,
    pub(super) address: Ipv4Addr,
    /// The devices it leaves by, in order of name; none when it may not leave.
    pub(super) uplinks: Vec<LinkName>,
}

impl Ruled {
    pub(super) fn guest_net(&self, key: &GuestKey, stale: bool) -> GuestNet {
        GuestNet {
            key: key.clone(),
            tap: Some(self.tap.clone()),
            address: Some(self.address),
            nat: !self.uplinks.is_empty(),
            stale,
        }
    }
}

/// What a guest lacks for its rules to be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NatError {
    #[error("the guest has no address")]
    Address,
    #[error("the guest has no tap")]
    Tap,
    #[error("the host has no uplink")]
    Uplink,
}

/// Checks that nothing is missing.
pub(super) fn plan_guest(guest: &GuestNet, uplinks: &[LinkName]) -> Result<Ruled, NatError> {
    let address = guest.address.ok_or(NatError::Address)?;
    let tap = guest.tap.clone().ok_or(NatError::Tap)?;
    if guest.nat && uplinks.is_empty() {
        return Err(NatError::Uplink);
    }
    let uplinks = if guest.nat { uplinks.to_vec() } else { Vec::new() };
    Ok(Ruled { tap, address, uplinks })
}

/// The guests there are to be, by key.
pub(super) type RuledGuests = BTreeMap<GuestKey, Ruled>;

impl FirewallLayout {
    /// The rules of one guest: chain and rule.
    fn guest_rules(&self, key: &GuestKey, guest: &Ruled) -> Vec<(&str, String)> {
        let Chains { forward, nat, comment, .. } = &self.chains;
        let Ruled { tap, address, uplinks } = guest;
        let bridge = &self.bridge;
        let mark = format!("-m comment --comment \"{comment}{key}\"");
        if uplinks.is_empty() {
            return vec![(forward, format!("-s {address}/32 -i {tap} {mark} -j DROP"))];
        }
        let answer = "-m state --state RELATED,ESTABLISHED";
        let mut rules: Vec<(&str, String)> = Vec::with_capacity(5 * uplinks.len());
        for up in uplinks {
            rules.extend([
                (nat.as_str(), format!("-s {address}/32 -o {up} {mark} -j MASQUERADE")),
                (forward, format!("-i {tap} -o {up} {mark} -j ACCEPT")),
                (forward, format!("-i {up} -o {tap} {answer} {mark} -j ACCEPT")),
                (forward, format!("-s {address}/32 -i {bridge} -o {up} {mark} -j ACCEPT")),
                (forward, format!("-d {address}/32 -i {up} -o {bridge} {answer} {mark} -j ACCEPT")),
            ]);
        }
        rules
    }

    /// All rules in order: chain and rule.
    fn rules(&self, guests: &RuledGuests) -> Vec<(&str, String)> {
        let Chains { forward, input, .. } = &self.chains;
        let bridge = &self.bridge;
        let mut rules: Vec<(&str, String)> = vec![
            (input, format!("-i {bridge} -m state --state RELATED,ESTABLISHED -j ACCEPT")),
            (input, format!("-i {bridge} -p icmp -m icmp --icmp-type 8 -j ACCEPT")),
            (input, format!("-i {bridge} -j DROP")),
            (forward, format!("-d 169.254.0.0/16 -i {bridge} -j DROP")),
            (forward, format!("-i {bridge} -o {bridge} -j DROP")),
        ];
        for (key, guest) in guests {
            rules.extend(self.guest_rules(key, guest));
        }
        rules.push((forward, format!("-i {bridge} -j DROP")));
        rules.push((forward, format!("-o {bridge} -j DROP")));
        rules
    }

    fn jumps(&self) -> [(&'static str, &'static str, &str); 3] {
        let Chains { forward, input, nat, .. } = &self.chains;
        [("filter", "FORWARD", forward), ("filter", "INPUT", input), ("nat", "POSTROUTING", nat)]
    }

    /// The input of `iptables-restore --noflush` that makes our chains hold exactly these guests.
    /// In that mode a chain that is declared is emptied, and every other is left alone.
    pub(super) fn render(&self, guests: &RuledGuests, seen: &RulesSeen) -> String {
        let rules = self.rules(guests);
        let mut text = String::new();
        for table in ["filter", "nat"] {
            let ours: Vec<_> = self.jumps().into_iter().filter(|(of, _, _)| *of == table).collect();
            text.push_str(&format!("*{table}\n"));
            for (_, _, chain) in &ours {
                text.push_str(&format!(":{chain} - [0:0]\n"));
            }
            for (_, from, chain) in &ours {
                if seen.jumps(from, chain) == 0 {
                    text.push_str(&format!("-I {from} 1 -j {chain}\n"));
                }
            }
            for (chain, rule) in &rules {
                if ours.iter().any(|(_, _, ours)| ours == chain) {
                    text.push_str(&format!("-A {chain} {rule}\n"));
                }
            }
            text.push_str("COMMIT\n");
        }
        text
    }

    /// The input that removes our chains and every jump to them; `None` when there is nothing.
    pub(super) fn render_removal(&self, seen: &RulesSeen) -> Option<String> {
        let mut text = String::new();
        for table in ["filter", "nat"] {
            let present: Vec<_> = self
                .jumps()
                .into_iter()
                .filter(|(of, _, chain)| *of == table && seen.chains.contains(*chain))
                .collect();
            if present.is_empty() {
                continue;
            }
            text.push_str(&format!("*{table}\n"));
            for (_, _, chain) in &present {
                text.push_str(&format!(":{chain} - [0:0]\n"));
            }
            for (_, from, chain) in &present {
                for _ in 0..seen.jumps(from, chain) {
                    text.push_str(&format!("-D {from} -j {chain}\n"));
                }
            }
            for (_, _, chain) in &present {
                text.push_str(&format!("-X {chain}\n"));
            }
            text.push_str("COMMIT\n");
        }
        (!text.is_empty()).then_some(text)
    }

    /// Whether the kernel holds exactly the rules of these guests, jumps included.
    pub(super) fn in_place(&self, guests: &RuledGuests, seen: &RulesSeen) -> bool {
        let wanted: Vec<_> =
            self.rules(guests).into_iter().map(|(chain, rule)| normal(chain, &rule)).collect();
        // The order between chains is the printer's; within one it matters.
        let of = |chain: &str, rules: &[Normal]| -> Vec<Normal> {
            rules.iter().filter(|rule| rule.chain == chain).cloned().collect()
        };
        self.jumps().iter().all(|(_, from, chain)| {
            seen.jumps(from, chain) == 1 && of(chain, &wanted) == of(chain, &seen.rules)
        })
    }

    /// What `iptables-save` says of our chains.
    pub(super) fn read(&self, text: &str) -> RulesSeen {
        let ours = self.jumps().map(|(_, _, chain)| chain);
        let mut seen = RulesSeen::default();
        for line in text.lines() {
            if let Some(chain) = line.strip_prefix(':').and_then(|l| l.split(' ').next()) {
                if ours.contains(&chain) {
                    seen.chains.insert(chain.to_owned());
                }
            } else if let Some((chain, rule)) =
                line.strip_prefix("-A ").and_then(|l| l.split_once(' '))
            {
                if ours.contains(&chain) {
                    seen.rules.push(normal(chain, rule));
                } else if let Some(target) = rule.strip_prefix("-j ")
                    && ours.contains(&target)
                {
                    *seen.jumps.entry((chain.to_owned(), target.to_owned())).or_default() += 1;
                }
            }
        }
        seen.guests = self.guests(&seen.rules);
        seen
    }

    fn by_key<'a>(&self, rules: &'a [Normal]) -> BTreeMap<GuestKey, Vec<&'a Normal>> {
        let mut by_key: BTreeMap<GuestKey, Vec<&Normal>> = BTreeMap::new();
        for rule in rules {
            let key = rule
                .word_after("--comment")
                .and_then(|comment| comment.strip_prefix(&self.chains.comment))
                .and_then(|key| GuestKey::new(key).ok());
            if let Some(key) = key {
                by_key.entry(key).or_default().push(rule);
            }
        }
        by_key
    }

    /// How many rules carry each guest's mark.
    pub(super) fn count_by_key(&self, seen: &RulesSeen) -> BTreeMap<GuestKey, usize> {
        let by_key = self.by_key(&seen.rules).into_iter();
        by_key.map(|(key, rules)| (key, rules.len())).collect()
    }

    /// The guests whose rules are all there.
    fn guests(&self, rules: &[Normal]) -> RuledGuests {
        self.by_key(rules)
            .into_iter()
            .filter_map(|(key, rules)| {
                let guest = self.guest(&rules)?;
                let complete = self
                    .guest_rules(&key, &guest)
                    .iter()
                    .all(|(chain, rule)| rules.contains(&&normal(chain, rule)));
                complete.then_some((key, guest))
            })
            .collect()
    }

    /// The guest that these rules, all of one key, were rendered from.
    fn guest(&self, rules: &[&Normal]) -> Option<Ruled> {
        let address = rules
            .iter()
            .find_map(|rule| rule.word_after("-s")?.strip_suffix("/32")?.parse().ok())?;
        let bridge = self.bridge.as_str();
        let incoming: Vec<_> = rules
            .iter()
            .filter(|rule| rule.chain == self.chains.forward)
            .filter(|rule| rule.word_after("--state").is_none())
            .filter(|rule| rule.word_after("-i").is_some_and(|device| device != bridge))
            .collect();
        let tap = TapName::new(incoming.first()?.word_after("-i")?).ok()?;
        let uplinks = incoming.iter().filter_map(|rule| rule.word_after("-o"));
        let mut uplinks = uplinks.map(LinkName::new).collect::<Result<Vec<_>, _>>().ok()?;
        uplinks.sort();
        uplinks.dedup();
        Some(Ruled { tap, address, uplinks })
    }
}

/// Whether `iptables-save` says that nothing is forwarded which no rule accepts. Other tables have
/// a chain of that name, too; without the table `filter` all is forwarded.
pub(super) fn forwards_nothing(text: &str) -> bool {
    let tables = text.split("\n*");
    let filter = tables
        .map(|table| table.trim_start_matches('*'))
        .find_map(|table| table.strip_prefix("filter\n"));
    filter.is_some_and(|filter| filter.lines().any(|line| line.starts_with(":FORWARD DROP")))
}

/// A rule with its words in an order of their own, since each version of iptables prints options
/// in its own; option and value stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Normal {
    chain: String,
    options: BTreeSet<(String, String)>,
}

impl Normal {
    fn word_after(&self, option: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == option).map(|(_, value)| value.as_str())
    }
}

fn normal(chain: &str, rule: &str) -> Normal {
    let words: Vec<_> = rule.split_whitespace().map(|word| word.trim_matches('"')).collect();
    let options = words
        .chunks(2)
        .map(|pair| (pair[0].to_owned(), pair.get(1).copied().unwrap_or_default().to_owned()))
        .collect();
    Normal { chain: chain.to_owned(), options }
}

/// What the kernel holds of the agent's rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RulesSeen {
    pub(super) guests: RuledGuests,
    chains: BTreeSet<String>,
    jumps: BTreeMap<(String, String), usize>,
    rules: Vec<Normal>,
}

impl RulesSeen {
    fn jumps(&self, from: &str, to: &str) -> usize {
        self.jumps.get(&(from.to_owned(), to.to_owned())).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
