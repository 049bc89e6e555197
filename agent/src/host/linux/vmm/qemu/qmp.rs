//! QMP, QEMU's machine protocol, as messages: `docs/interop/qmp-spec.rst` and the schema in `qapi/`
//! of QEMU 7.2. No I/O.
//!
//! JSON objects, one a line. QEMU greets, takes commands once it was told `qmp_capabilities`,
//! answers each by its `id`, and sends events in between. What can go wrong: a line that is no such
//! message, which a VMM that was taken over may send at will; it is an error and never more.

use banger_proto::words;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::host::VmmState;

/// What QEMU sends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Message {
    /// The first line.
    Greeting,
    /// The answer to the command of this number, or QEMU's words why not.
    Answer { id: u64, result: Result<Value, String> },
    /// Something happened.
    Event(Event),
}

/// Events that say why a guest ends; all others are [`Event::Other`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// The machine ends. The reason is one of `ShutdownCause` in `qapi/run-state.json`.
    Shutdown { by_guest: bool, reason: String },
    /// The guest's kernel said that it panicked.
    GuestPanicked,
    /// Anything else.
    Other,
}

impl Event {
    /// A line for the VMM's log, from which the reason of an end is read later: also by a life of
    /// the agent that is not the process's parent and so learns no exit status.
    pub(super) fn log_line(&self) -> Option<String> {
        match self {
            Self::Shutdown { reason, .. } => {
                let code = match reason.as_str() {
                    // The guest's own end, and the end we asked for.
                    "guest-shutdown" | "guest-reset" | "host-qmp-quit" => 0,
                    _ => 1,
                };
                let reason: String =
                    reason.chars().filter(|c| c.is_ascii_graphic()).take(40).collect();
                Some(format!("qmp: SHUTDOWN {reason} exit_code={code}\n"))
            }
            Self::GuestPanicked => Some("qmp: GUEST_PANICKED\n".to_owned()),
            Self::Other => None,
        }
    }
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
    id: Option<u64>,
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    class: String,
    #[serde(default)]
    desc: String,
}

/// Reads one line.
pub(super) fn parse(line: &str) -> Result<Message, String> {
    // What a parser says of a line quotes it, however long it is.
    let line: Line =
        serde_json::from_str(line).map_err(|error| words::clean(error.to_string(), 500))?;
    match line {
        Line { event: Some(name), data, .. } => Ok(Message::Event(event(&name, &data))),
        Line { answer: Some(value), id: Some(id), .. } => {
            Ok(Message::Answer { id, result: Ok(value) })
        }
        Line { error: Some(refusal), id: Some(id), .. } => {
            let said = format!("{}: {}", refusal.class, refusal.desc);
            Ok(Message::Answer { id, result: Err(words::clean(said, 500)) })
        }
        Line { greeting: Some(_), .. } => Ok(Message::Greeting),
        Line { .. } => Err("neither a greeting, an answer nor an event".to_owned()),
    }
}

fn event(name: &str, data: &Value) -> Event {
    match name {
        "SHUTDOWN" => Event::Shutdown {
            by_guest: data["guest"].as_bool().unwrap_or(false),
            reason: data["reason"].as_str().unwrap_or("unknown").to_owned(),
        },
        "GUEST_PANICKED" => Event::GuestPanicked,
        _ => Event::Other,
    }
}

/// A command, to be written as one line.
pub(super) fn command(id: u64, name: &str, arguments: &Value) -> String {
    let mut body = json!({ "execute": name, "id": id });
    if !arguments.is_null() {
        body["arguments"] = arguments.clone();
    }
    format!("{body}\n")
}

/// Ctrl-Alt-Del, as `send-key` takes it.
pub(super) fn ctrl_alt_del() -> Value {
    let key = |name: &str| json!({ "type": "qcode", "data": name });
    json!({ "keys": [key("ctrl"), key("alt"), key("delete")] })
}

/// The answer to `query-status`: `RunState` in `qapi/run-state.json`.
pub(super) fn state(answer: &Value) -> Result<VmmState, String> {
    match answer["status"].as_str() {
        Some("prelaunch") => Ok(VmmState::NotStarted),
        Some("running") => Ok(VmmState::Running),
        Some("paused") => Ok(VmmState::Paused),
        Some(other) => Err(format!("it says it is {}", words::word(other.to_owned()))),
        None => Err("its answer has no status".to_owned()),
    }
}

#[cfg(test)]
mod tests;
