//! The pins as values: rendered for `nft -f`, read back from `nft -j`. No I/O.
//!
//! Two tables of our own. `bridge <table>` sees each frame at the port where it comes from or goes
//! to, before the bridge has learned or decided anything from it:
//!
//! ```text
//! (all three)  from and to a tap of ours that is not pinned: nothing
//! prerouting   from a pinned tap: only the guest's own MAC and IPv4, its own ARP; nothing to closed
//!              addresses, no DHCP answers, no other protocol (IPv6, VLAN tags and the rest)
//! forward      between ports: nothing, from or to a pinned tap
//! postrouting  to a pinned tap: only what is for its guest, and questions of the host
//! ```
//!
//! `inet <table>` sees packets: none that says it comes by a tap itself, nothing is routed from guest
//! to guest, a guest has so many connections and no more, and the users that VMMs run as send nothing
//! by the host's network. Packets of guests come by the bridge; but a frame to the address of LLDP
//! (01:80:c2:00:00:0e) passes no hook of the bridge, whatever is in it, and comes by the tap.
//!
//! A port of our bridge that is no pinned tap is known by no name: an interface that was renamed, or
//! somebody else's. So what a pinned tap lets through is sealed with a mark, and the host takes nothing
//! from the bridge without it (`past_the_bridge`, which takes the mark off again); what the host sends
//! to the bridge is sealed too, and leaves by pinned taps only. `meta ibrname` would say the same more
//! shortly; not every kernel has it (`NFT_BRIDGE_META`), and without it no guest could be pinned.
//!
//! Both tables hold whatever becomes of the iptables rules.
//!
//! What changes with guests is in sets keyed by tap, so that a change costs the same with ten guests
//! and with ten thousand. The chains never change: each rule carries a digest of all of them in its
//! comment, by which it is seen that they are whole and of this version and configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::host::{AddressRange, GuestKey, LinkName, MacAddress, Pin, TapName};

/// Everything the chains depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinLayout {
    /// The name of both tables.
    pub table: String,
    /// `banger:<tag>:`, what our comments begin with.
    pub mark: String,
    /// The guests' bridge.
    pub bridge: LinkName,
    /// What the names of our taps begin with. One that is not pinned lets nothing through: nobody has
    /// said yet, or remembers, who its guest is.
    pub taps: String,
    /// Addresses that no guest reaches.
    pub closed: Vec<AddressRange>,
    /// How many connections of one guest are tracked at the same time; 0: any number.
    pub connections: u32,
}

/// Where a chain hangs: family, hook and priority, and its name.
struct Chain {
    family: &'static str,
    name: &'static str,
    hook: &'static str,
    priority: i32,
    rules: Vec<String>,
}

/// The sets: family, name, and the type of an element.
const SETS: [(&str, &str, &str); 4] = [
    ("bridge", "taps", "type ifname;"),
    ("bridge", "pins", "type ifname . ether_addr . ipv4_addr;"),
    ("inet", "ports", "type ifname;"),
    ("inet", "users", "type uid;"),
];

/// The set of each guest's connections, which the kernel fills; larger than any subnet of guests.
const CONNECTIONS: &str = "set connections { type ipv4_addr; size 1048576; flags dynamic; }";

/// Before every other chain: what is spoofed is seen by nobody.
const FIRST: i32 = -300;

/// Before fragments are put together (-400): one that came past the bridge completes nothing of
/// anybody's.
const BEFORE_FRAGMENTS: i32 = -450;

/// After every other chain: nobody's mark is overwritten before it was of use.
const LAST: i32 = 400;

/// After connections were looked up (-200), before addresses are translated (-100).
const TRACKED: i32 = -150;

impl PinLayout {
    /// The layout of an instance tag of two letters.
    #[must_use]
    pub fn of_tag(
        tag: &str,
        bridge: LinkName,
        closed: Vec<AddressRange>,
        connections: u32,
    ) -> Self {
        let (table, mark) = (format!("banger-{tag}"), format!("banger:{tag}:"));
        let taps = format!("{tag}-");
        Self { table, mark, bridge, taps, closed, connections }
    }

    /// Each closed range that no other covers: nft refuses ranges that overlap.
    fn closed(&self) -> Vec<AddressRange> {
        let all: BTreeSet<AddressRange> = self.closed.iter().copied().collect();
        let covered =
            |range: &AddressRange| all.iter().any(|other| other != range && other.covers(*range));
        all.iter().filter(|range| !covered(range)).copied().collect()
    }

    fn chains(&self) -> Vec<Chain> {
        let bridge = &self.bridge;
        let arp = "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation { request, reply }";
        let taps = format!("\"{}*\"", self.taps);
        let seal = self.seal();
        let mut from_guest = vec![
            format!("iifname {taps} iifname != @taps drop"),
            "iifname != @taps accept".to_owned(),
        ];
        let closed: Vec<String> = self.closed().iter().map(ToString::to_string).collect();
        if !closed.is_empty() {
            from_guest.push(format!("ether type ip ip daddr {{ {} }} drop", closed.join(", ")));
        }
        from_guest.extend([
            "ether type ip udp sport 67 drop".to_owned(),
            format!(
                "ether type ip iifname . ether saddr . ip saddr @pins meta mark set {seal} accept"
            ),
            format!(
                "ether type arp {arp} iifname . ether saddr . arp saddr ip @pins \
                 iifname . arp saddr ether . arp saddr ip @pins accept"
            ),
            "drop".to_owned(),
        ]);
        let to_guest = vec![
            format!("oifname {taps} oifname != @taps drop"),
            format!("meta mark {seal} oifname != @taps drop"),
            "oifname != @taps accept".to_owned(),
            "ether type ip oifname . ether daddr . ip daddr @pins accept".to_owned(),
            format!("ether type arp {arp} oifname . ether daddr . arp daddr ip @pins accept"),
            "ether type arp ether daddr ff:ff:ff:ff:ff:ff arp operation request accept".to_owned(),
            "drop".to_owned(),
        ];
        let between = vec![
            "iifname @taps drop".to_owned(),
            "oifname @taps drop".to_owned(),
            format!("iifname {taps} drop"),
            format!("oifname {taps} drop"),
        ];
        let chain =
            |family, name, hook, priority, rules| Chain { family, name, hook, priority, rules };
        let mut chains = vec![
            chain("bridge", "from_guest", "prerouting", FIRST, from_guest),
            chain("bridge", "between", "forward", FIRST, between),
            chain("bridge", "to_guest", "postrouting", FIRST, to_guest),
            chain(
                "inet",
                "past_the_bridge",
                "prerouting",
                BEFORE_FRAGMENTS,
                vec![
                    "iifname @ports drop".to_owned(),
                    format!("iifname {taps} drop"),
                    format!("iifname \"{bridge}\" meta mark != {seal} drop"),
                    format!("iifname \"{bridge}\" meta mark set 0"),
                ],
            ),
            chain(
                "inet",
                "to_the_bridge",
                "postrouting",
                LAST,
                vec![format!("oifname \"{bridge}\" meta mark set {seal}")],
            ),
            chain("inet", "vmms", "output", FIRST, vec!["meta skuid @users drop".to_owned()]),
            chain(
                "inet",
                "routed",
                "forward",
                FIRST,
                vec![format!("iifname \"{bridge}\" oifname \"{bridge}\" drop")],
            ),
        ];
        if self.connections > 0 {
            let over = self.connections;
            chains.push(chain(
                "inet",
                "tracked",
                "prerouting",
                TRACKED,
                vec![format!(
                    "iifname \"{bridge}\" ct state new ct status ! confirmed \
                 add @connections {{ ip saddr ct count over {over} }} drop"
                )],
            ));
        }
        chains
    }

    /// The mark of packets between the host and a pinned tap: set in one table and looked at in the
    /// other, for as long as they are on the bridge. Of this instance alone, because every bridge of
    /// the machine passes the table `bridge`.
    fn seal(&self) -> String {
        let digest = Sha256::digest(self.table.as_bytes());
        format!("0x{}", hex::encode(&digest[..4]))
    }

    /// Tells these chains from those of another version or configuration.
    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for chain in self.chains() {
            digest.update(format!("{} {} {}\n", chain.family, chain.hook, chain.priority));
            digest.update(chain.rules.join("\n"));
        }
        hex::encode(&digest.finalize()[..6])
    }

    fn rule_mark(&self, digest: &str, n: usize) -> String {
        format!("{}{digest}:{n}", self.mark)
    }

    /// The input of `nft -f` that puts both tables in place with exactly these guests, whatever is
    /// there, in one transaction: at no moment is a guest unpinned.
    pub(super) fn render(&self, pins: &Pinned) -> String {
        let (table, digest) = (&self.table, self.digest());
        let mut text = self.render_removal();
        for family in ["bridge", "inet"] {
            text.push_str(&format!("table {family} {table} {{\n"));
            for (_, name, kind) in SETS.iter().filter(|(of, ..)| *of == family) {
                text.push_str(&format!("set {name} {{ {kind} }}\n"));
            }
            if family == "inet" {
                text.push_str(&format!("{CONNECTIONS}\n"));
            }
            for chain in self.chains().iter().filter(|chain| chain.family == family) {
                let Chain { name, hook, priority, rules, .. } = chain;
                text.push_str(&format!(
                    "chain {name} {{\ntype filter hook {hook} priority {priority}; policy accept;\n"
                ));
                for (n, rule) in rules.iter().enumerate() {
                    let mark = self.rule_mark(&digest, n);
                    text.push_str(&format!("{rule} comment \"{mark}\"\n"));
                }
                text.push_str("}\n");
            }
            text.push_str("}\n");
        }
        for pin in pins.values() {
            text.extend(self.elements("add", pin).map(|(_, line)| line));
        }
        text
    }

    /// The input that removes both tables, there or not.
    pub(super) fn render_removal(&self) -> String {
        let table = &self.table;
        let of = |family| format!("table {family} {table}\ndelete table {family} {table}\n");
        of("bridge") + &of("inet")
    }

    /// The input that changes the pins of some guests. `gone` are in the kernel as they are said;
    /// `passed_on` are addresses whose connections are counted anew; `kept` are the guests there are
    /// to be.
    pub(super) fn render_change(
        &self,
        gone: &[&Pin],
        new: &[&Pin],
        passed_on: &BTreeSet<Ipv4Addr>,
        kept: &Pinned,
    ) -> String {
        // An address, and with it a user, may be another guest's already.
        let users: BTreeSet<u32> = kept.values().map(|pin| pin.uid).collect();
        let taps: BTreeSet<&TapName> = kept.values().map(|pin| &pin.tap).collect();
        let mut text = String::new();
        for pin in gone {
            for (set, line) in self.elements("delete", pin) {
                let needed = match set {
                    "users" => users.contains(&pin.uid),
                    "taps" | "ports" => taps.contains(&pin.tap),
                    _ => false,
                };
                if !needed {
                    text.push_str(&line);
                }
            }
        }
        for address in passed_on {
            text.push_str(&self.no_connections(*address));
        }
        for pin in new {
            text.extend(self.elements("add", pin).map(|(_, line)| line));
        }
        text
    }

    /// The commands that count an address' connections anew. There or not: adding what is there is
    /// fine, and removing what is not there is an error.
    fn no_connections(&self, address: Ipv4Addr) -> String {
        let (table, over) = (&self.table, self.connections);
        if over == 0 {
            return String::new();
        }
        format!(
            "add element inet {table} connections {{ {address} ct count over {over} }}\n\
             delete element inet {table} connections {{ {address} }}\n"
        )
    }

    /// A command for each element of a guest, with the name of its set.
    fn elements(&self, verb: &str, pin: &Pin) -> [(&'static str, String); 4] {
        let (table, mark) = (&self.table, &self.mark);
        let Pin { key, tap, mac, address, uid } = pin;
        let comment = match verb {
            "add" => format!(" comment \"{mark}{key}:{uid}\""),
            _ => String::new(),
        };
        let pinned = format!("\"{tap}\" . {mac} . {address}{comment}");
        [
            ("taps", format!("{verb} element bridge {table} taps {{ \"{tap}\" }}\n")),
            ("pins", format!("{verb} element bridge {table} pins {{ {pinned} }}\n")),
            ("ports", format!("{verb} element inet {table} ports {{ \"{tap}\" }}\n")),
            ("users", format!("{verb} element inet {table} users {{ {uid} }}\n")),
        ]
    }

    /// What `nft -j list table` says of our tables, each `None` when it is not there.
    pub(super) fn read(
        &self,
        bridge: Option<&str>,
        inet: Option<&str>,
    ) -> Result<PinsSeen, BadList> {
        let mut listed = Listed::default();
        for text in [bridge, inet].into_iter().flatten() {
            listed.take(text)?;
        }
        let taps: BTreeSet<String> = listed.texts("taps").collect();
        let ports: BTreeSet<String> = listed.texts("ports").collect();
        let users: BTreeSet<u64> = listed.values("users").filter_map(Value::as_u64).collect();
        let mut seen = PinsSeen { whole: self.is_whole(&listed), ..PinsSeen::default() };
        for element in listed.sets.get("pins").into_iter().flatten() {
            let Some((key, pin)) = self.pin(element) else { continue };
            seen.read.extend(pin.clone());
            let whole = pin.filter(|pin| {
                let tap = pin.tap.as_str();
                seen.whole
                    && taps.contains(tap)
                    && ports.contains(tap)
                    && users.contains(&pin.uid.into())
            });
            // A second element of the same guest is one too many.
            let entry = seen.pins.entry(key).or_insert_with(|| whole.clone());
            if *entry != whole {
                *entry = None;
            }
        }
        Ok(seen)
    }

    /// Whether every chain and rule is there, in order, and nothing else.
    fn is_whole(&self, listed: &Listed) -> bool {
        let digest = self.digest();
        let chains = self.chains();
        let sets = SETS.iter().all(|(_, name, _)| listed.sets.contains_key(*name));
        sets && listed.sets.contains_key("connections")
            && listed.chains.len() == chains.len()
            && chains.iter().all(|chain| {
                let at = (chain.family.to_owned(), chain.name.to_owned());
                let hook = (chain.hook.to_owned(), i64::from(chain.priority));
                let rules: Vec<String> =
                    (0..chain.rules.len()).map(|n| self.rule_mark(&digest, n)).collect();
                listed.chains.get(&at) == Some(&hook)
                    && listed.rules.get(&at).map_or(&[][..], Vec::as_slice) == rules.as_slice()
            })
    }

    /// The guest an element is of, and its pin if all of it can be read.
    fn pin(&self, element: &Value) -> Option<(GuestKey, Option<Pin>)> {
        let element = element.get("elem")?;
        let comment = element.get("comment")?.as_str()?.strip_prefix(&self.mark)?;
        let (key, uid) = comment.rsplit_once(':')?;
        let key = GuestKey::new(key).ok()?;
        let parts = element.get("val")?.get("concat")?.as_array()?;
        let text = |n: usize| parts.get(n).and_then(Value::as_str);
        let read = || -> Option<Pin> {
            Some(Pin {
                key: key.clone(),
                tap: TapName::new(text(0)?).ok()?,
                mac: text(1)?.parse::<MacAddress>().ok()?,
                address: text(2)?.parse::<Ipv4Addr>().ok()?,
                uid: uid.parse().ok()?,
            })
        };
        let pin = read();
        Some((key, pin))
    }
}

/// The guests there are to be, by key.
pub(super) type Pinned = BTreeMap<GuestKey, Pin>;

/// What the kernel holds of ours.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PinsSeen {
    /// Every chain and rule is there, and of this version and configuration.
    pub(super) whole: bool,
    /// By guest; `None` where something is missing.
    pub(super) pins: BTreeMap<GuestKey, Option<Pin>>,
    /// All that could be read, whole or not.
    pub(super) read: Vec<Pin>,
}

/// The answer of `nft -j` cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("the list of nft cannot be read")]
pub(super) struct BadList(#[from] serde_json::Error);

/// The objects of a list, sorted.
#[derive(Default)]
struct Listed {
    /// Hook and priority by family and name.
    chains: BTreeMap<(String, String), (String, i64)>,
    /// Comments, in order.
    rules: BTreeMap<(String, String), Vec<String>>,
    /// Elements. The names of sets are unique over both families.
    sets: BTreeMap<String, Vec<Value>>,
}

impl Listed {
    fn take(&mut self, text: &str) -> Result<(), BadList> {
        let mut list: Value = serde_json::from_str(text)?;
        let Some(objects) = list.get_mut("nftables").and_then(Value::as_array_mut) else {
            return Ok(());
        };
        for object in objects {
            let word = |object: &Value, key: &str| {
                object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            if let Some(chain) = object.get("chain") {
                let hook = (word(chain, "hook"), chain.get("prio").and_then(Value::as_i64));
                let hook = (hook.0, hook.1.unwrap_or(i64::MAX));
                self.chains.insert((word(chain, "family"), word(chain, "name")), hook);
            } else if let Some(rule) = object.get("rule") {
                let at = (word(rule, "family"), word(rule, "chain"));
                self.rules.entry(at).or_default().push(word(rule, "comment"));
            } else if let Some(set) = object.get_mut("set") {
                let name = word(set, "name");
                let elements = match set.get_mut("elem").map(Value::take) {
                    Some(Value::Array(elements)) => elements,
                    Some(_) | None => Vec::new(),
                };
                self.sets.insert(name, elements);
            }
        }
        Ok(())
    }

    /// The elements of a set, with or without a comment around them.
    fn values(&self, set: &str) -> impl Iterator<Item = &Value> {
        let elements = self.sets.get(set).into_iter().flatten();
        elements.map(|element| {
            element.get("elem").and_then(|element| element.get("val")).unwrap_or(element)
        })
    }

    fn texts(&self, set: &str) -> impl Iterator<Item = String> {
        self.values(set).filter_map(|value| value.as_str().map(str::to_owned))
    }
}

#[cfg(test)]
mod tests;
