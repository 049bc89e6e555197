//! A transcript recorded from QEMU 7.2, and lines that no QEMU sends.

use super::*;

/// Connect, negotiate, ask, ask for what is not there, press keys: the guest reboots.
const TRANSCRIPT: &[&str] = &[
    r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7+deb12u18+b3"}, "capabilities": ["oob"]}}"#,
    r#"{"return": {}, "id": 1}"#,
    r#"{"return": {"status": "running", "singlestep": false, "running": true}, "id": 2}"#,
    r#"{"id": 7, "error": {"class": "DeviceNotActive", "desc": "No balloon device has been activated"}}"#,
    r#"{"timestamp": {"seconds": 1795346850, "microseconds": 915468}, "event": "RESUME"}"#,
    r#"{"timestamp": {"seconds": 1795346850, "microseconds": 915468}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}"#,
];

#[test]
fn a_recorded_conversation_is_read() {
    let read: Vec<_> = TRANSCRIPT.iter().map(|line| parse(line).unwrap()).collect();
    let refusal = "DeviceNotActive: No balloon device has been activated".to_owned();
    let status = json!({ "status": "running", "singlestep": false, "running": true });
    assert_eq!(
        read,
        [
            Message::Greeting,
            Message::Answer { id: 1, result: Ok(json!({})) },
            Message::Answer { id: 2, result: Ok(status.clone()) },
            Message::Answer { id: 7, result: Err(refusal) },
            Message::Event(Event::Other),
            Message::Event(Event::Shutdown { by_guest: true, reason: "guest-reset".to_owned() }),
        ]
    );
    assert_eq!(state(&status), Ok(VmmState::Running));
}

#[test]
fn an_answer_of_null_is_an_answer() {
    // `Option<Value>` reads null as nothing.
    assert!(parse(r#"{"return": null, "id": 3}"#).is_err());
}

#[test]
fn states_are_read_and_an_unknown_one_is_said() {
    let say = |text: &str| state(&json!({ "status": text }));
    assert_eq!(say("prelaunch"), Ok(VmmState::NotStarted));
    assert_eq!(say("paused"), Ok(VmmState::Paused));
    assert_eq!(say("guest-panicked"), Err("it says it is guest-panicked".to_owned()));
    assert!(state(&json!({})).is_err());
}

#[test]
fn an_end_is_told_with_the_code_it_amounts_to() {
    let line = |reason: &str| {
        Event::Shutdown { by_guest: true, reason: reason.to_owned() }.log_line().unwrap()
    };
    assert_eq!(line("guest-shutdown"), "qmp: SHUTDOWN guest-shutdown exit_code=0\n");
    assert_eq!(line("guest-reset"), "qmp: SHUTDOWN guest-reset exit_code=0\n");
    assert_eq!(line("guest-panic"), "qmp: SHUTDOWN guest-panic exit_code=1\n");
    assert_eq!(line("host-signal"), "qmp: SHUTDOWN host-signal exit_code=1\n");
    // What a hostile VMM says does not break the line.
    assert_eq!(line("x\nexit_code=0 y"), "qmp: SHUTDOWN xexit_code=0y exit_code=1\n");
    assert_eq!(Event::Other.log_line(), None);
}

#[test]
fn lines_that_are_no_message_are_errors() {
    for line in ["", "{}", "[]", "null", "{\"return\": {}}", "{\"id\": -1, \"return\": 1}", "\u{0}"]
    {
        assert!(parse(line).is_err(), "{line:?}");
    }
}

#[test]
fn commands_are_one_line_each() {
    assert_eq!(command(3, "stop", &Value::Null), "{\"execute\":\"stop\",\"id\":3}\n");
    let keys = command(4, "send-key", &ctrl_alt_del());
    assert_eq!(keys.matches('\n').count(), 1);
    assert!(keys.contains("\"delete\""));
}
