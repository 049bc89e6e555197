//! The pins as values: rendered for `nft -f`, read back from `nft -j`. No I/O.
//!
//! What changes with guests is in sets keyed by tap, so that a change costs the same with ten
//! guests and with ten thousand. The chains never change: each rule carries a digest of all of them
//! in its comment, by which it is seen that they are whole and of this version and configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::host::{GuestKey, MacAddress, Pin, RefusedFor, TapName};

mod chains;
mod refused;

pub(super) use chains::GATEWAYS;
pub use chains::PinLayout;
pub(crate) use chains::WITH_NEIGHBOURS;
use chains::{Chain, counter, family_of};
pub(super) use refused::{REFUSED_OF, read_refused_of};

impl PinLayout {
    /// Tells these chains from those of another version or configuration.
    fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for set in self.sets() {
            digest.update(format!("{} {} {}\n", set.family, set.name, set.spec));
        }
        for chain in self.chains() {
            let hook = chain.hook.unwrap_or_default();
            digest.update(format!("{} {hook} {}\n", chain.family, chain.priority));
            digest.update(chain.rules.join("\n"));
        }
        hex::encode(&digest.finalize()[..6])
    }

    fn rule_mark(&self, digest: &str, n: usize) -> String {
        format!("{}{digest}:{n}", self.mark)
    }

    /// The input of `nft -f` that puts both tables in place with exactly these guests and gateways,
    /// whatever is there, in one transaction: at no moment is a guest unpinned.
    pub(super) fn render(&self, pins: &Pinned, gateways: &BTreeSet<Ipv4Addr>) -> String {
        let (table, digest) = (&self.table, self.digest());
        let mut text = self.render_removal();
        for family in ["bridge", "inet"] {
            text.push_str(&format!("table {family} {table} {{\n"));
            for why in RefusedFor::ALL.into_iter().filter(|why| family_of(*why) == family) {
                text.push_str(&format!("counter {} {{ }}\n", counter(why)));
            }
            for set in self.sets().iter().filter(|set| set.family == family) {
                text.push_str(&format!("set {} {{ {} }}\n", set.name, set.spec));
            }
            for chain in self.chains().iter().filter(|chain| chain.family == family) {
                let Chain { name, hook, priority, rules, .. } = chain;
                text.push_str(&format!("chain {name} {{\n"));
                if let Some(hook) = hook {
                    text.push_str(&format!(
                        "type filter hook {hook} priority {priority}; policy accept;\n"
                    ));
                }
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
        text.push_str(&self.add_gateways(gateways));
        text
    }

    /// The input that puts these gateways in place of those that are there, in one transaction.
    pub(super) fn render_gateways(&self, gateways: &BTreeSet<Ipv4Addr>) -> String {
        format!("flush set inet {} {GATEWAYS}\n", self.table) + &self.add_gateways(gateways)
    }

    fn add_gateways(&self, gateways: &BTreeSet<Ipv4Addr>) -> String {
        if self.neighbours == 0 || gateways.is_empty() {
            return String::new();
        }
        let all: Vec<String> = gateways.iter().map(ToString::to_string).collect();
        format!("add element inet {} {GATEWAYS} {{ {} }}\n", self.table, all.join(", "))
    }

    /// The input that removes both tables, there or not.
    pub(super) fn render_removal(&self) -> String {
        let table = &self.table;
        let of = |family| format!("table {family} {table}\ndelete table {family} {table}\n");
        of("bridge") + &of("inet")
    }

    /// The input that changes the pins of some guests. `gone` are in the kernel as they are said;
    /// `passed_on` are addresses whose connections are counted anew; `kept` are the guests there
    /// are to be.
    pub(super) fn render_change(
        &self,
        gone: &[&Pin],
        new: &[&Pin],
        passed_on: &BTreeSet<Ipv4Addr>,
        kept: &Pinned,
    ) -> String {
        // An address, and with it a user, may be another guest's already.
        let users: BTreeSet<u32> = kept.values().map(|pin| pin.uid).collect();
        let addresses: BTreeSet<Ipv4Addr> = kept.values().map(|pin| pin.address).collect();
        let taps: BTreeSet<&TapName> = kept.values().map(|pin| &pin.tap).collect();
        let mut text = String::new();
        for pin in gone {
            for (set, line) in self.elements("delete", pin) {
                let needed = match set {
                    "users" => users.contains(&pin.uid),
                    "selves" => addresses.contains(&pin.address),
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
            text.push_str(&refused::none_of_address(&self.table, *address));
        }
        for pin in gone.iter().filter(|pin| !taps.contains(&pin.tap)) {
            text.push_str(&refused::none_of_tap(&self.table, pin.tap.as_str()));
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
    fn elements(&self, verb: &str, pin: &Pin) -> [(&'static str, String); 5] {
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
            ("selves", format!("{verb} element inet {table} selves {{ {address} . {address} }}\n")),
        ]
    }

    /// What `nft -j list table` says of our tables, each `None` when it is not there.
    pub(super) fn read(
        &self,
        bridge: Option<&str>,
        inet: Option<&str>,
    ) -> Result<PinsSeen, BadList> {
        let mut listed = ListedRules::default();
        for text in [bridge, inet].into_iter().flatten() {
            listed.take(text)?;
        }
        let taps: BTreeSet<String> = listed.texts("taps").collect();
        let ports: BTreeSet<String> = listed.texts("ports").collect();
        let users: BTreeSet<u64> = listed.values("users").filter_map(Value::as_u64).collect();
        let pair = |value: &Value| value.get("concat")?.as_array()?.first()?.as_str()?.parse().ok();
        let selves: BTreeSet<Ipv4Addr> = listed.values("selves").filter_map(pair).collect();
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
                    && selves.contains(&pin.address)
            });
            // A second element of the same guest is one too many.
            let entry = seen.pins.entry(key).or_insert_with(|| whole.clone());
            if *entry != whole {
                *entry = None;
            }
        }
        Ok(seen)
    }

    /// What `nft -j list counters` says of the agent's counters.
    pub(super) fn read_refused(&self, text: &str) -> Result<BTreeMap<RefusedFor, u64>, BadList> {
        let list: Value = serde_json::from_str(text)?;
        let objects = list.get("nftables").and_then(Value::as_array);
        let of = |why: RefusedFor| {
            let ours = |object: &&Value| {
                let is = |key: &str, value: &str| object.get(key).is_some_and(|v| v == value);
                is("table", &self.table)
                    && is("family", family_of(why))
                    && is("name", &counter(why))
            };
            let counters = objects.into_iter().flatten().filter_map(|object| object.get("counter"));
            let packets = counters.into_iter().find(ours)?.get("packets")?.as_u64()?;
            Some((why, packets))
        };
        Ok(RefusedFor::ALL.into_iter().filter_map(of).collect())
    }

    /// The input of `nft -c -f` by which a machine is asked whether it takes all of this:
    /// everything that is ever written, for a guest that there is not.
    pub(crate) fn trial(&self) -> String {
        let trial =
            Self { subnet: self.subnet.or_else(|| "192.0.2.0/24".parse().ok()), ..self.clone() };
        let (key, tap) =
            (GuestKey::new("trial").ok(), TapName::new(format!("{}trial", self.taps)).ok());
        let Some((key, tap)) = key.zip(tap) else { return String::new() };
        let address = Ipv4Addr::new(192, 0, 2, 2);
        let mac = MacAddress([2, 0, 0, 0, 0, 2]);
        let pin = Pin { key, tap, mac, address, uid: u32::from(u16::MAX) };
        let pinned = Pinned::from([(pin.key.clone(), pin.clone())]);
        let gateways = BTreeSet::from([Ipv4Addr::new(192, 0, 2, 1)]);
        trial.render(&pinned, &gateways)
            + &trial.render_change(&[&pin], &[], &BTreeSet::from([address]), &Pinned::new())
            + &trial.render_removal()
    }

    /// The gateways in what `nft -j list set` says of the agent's set.
    pub(super) fn read_gateways(&self, text: &str) -> Result<BTreeSet<Ipv4Addr>, BadList> {
        let mut listed = ListedRules::default();
        listed.take(text)?;
        Ok(listed.texts(GATEWAYS).filter_map(|text| text.parse().ok()).collect())
    }

    /// Whether every chain and rule is there, in order, and nothing else.
    fn is_whole(&self, listed: &ListedRules) -> bool {
        let digest = self.digest();
        let chains = self.chains();
        let sets = self.sets();
        sets.iter().all(|set| listed.sets.contains_key(set.name))
            && listed.chains.len() == chains.len()
            && chains.iter().all(|chain| {
                let at = (chain.family.to_owned(), chain.name.to_owned());
                let hook = match chain.hook {
                    Some(hook) => (hook.to_owned(), i64::from(chain.priority)),
                    None => (String::new(), i64::MAX),
                };
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

/// What the kernel holds of the agent's rules.
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
struct ListedRules {
    /// Hook and priority by family and name.
    chains: BTreeMap<(String, String), (String, i64)>,
    /// Comments, in order.
    rules: BTreeMap<(String, String), Vec<String>>,
    /// Elements. The names of sets are unique over both families.
    sets: BTreeMap<String, Vec<Value>>,
}

impl ListedRules {
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
