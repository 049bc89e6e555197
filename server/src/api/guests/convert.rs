//! Messages of exec, console and copy streams to the model and back.

use banger_proto::bounds::MAX_STREAM_DATA_BYTES;
use banger_proto::v1;
use banger_proto::v1::exec_input::Input as Wire;
use tonic::Status;

use crate::api::status;
use crate::model::guest::{ExecIn, ExecOut, ExecStart, TerminalSize};
use crate::model::status::VmState;

/// A state as everybody reads it, such as `PAUSED`.
pub(super) fn state(state: VmState) -> &'static str {
    let wire = crate::api::convert::state(state);
    wire.as_str_name().trim_start_matches("VM_STATE_")
}

/// Bytes of a stream; `None` for a message that has none.
pub(super) fn data(data: Vec<u8>) -> Result<Option<Vec<u8>>, Status> {
    check_size("data", &data)?;
    Ok((!data.is_empty()).then_some(data))
}

fn check_size(field: &str, data: &[u8]) -> Result<(), Status> {
    if data.len() <= MAX_STREAM_DATA_BYTES {
        return Ok(());
    }
    Err(status::invalid_field(field, format!("is more than {MAX_STREAM_DATA_BYTES} bytes")))
}

/// The first message of a program.
pub(super) fn exec_start(input: Option<v1::ExecInput>) -> Result<ExecStart, Status> {
    let Some(Wire::Start(start)) = input.and_then(|input| input.input) else {
        return Err(status::invalid_field("input.start", "is missing in the first message"));
    };
    let start = ExecStart {
        command: start.command,
        environment: start.environment.into_iter().collect(),
        directory: start.directory,
        user: start.user,
        terminal: start.terminal.map(size),
    };
    let problems = start.problems("input.start");
    if problems.is_empty() { Ok(start) } else { Err(status::invalid_fields(problems)) }
}

/// A later message.
pub(super) fn exec_in(input: Option<v1::ExecInput>) -> Result<ExecIn, Status> {
    match input.and_then(|input| input.input) {
        Some(Wire::Stdin(bytes)) => {
            check_size("input.stdin", &bytes)?;
            Ok(ExecIn::Stdin(bytes))
        }
        Some(Wire::StdinClosed(_)) => Ok(ExecIn::StdinClosed),
        Some(Wire::Resize(to)) => {
            let to = size(to);
            to.check().map_err(|why| status::invalid_field("input.resize", why))?;
            Ok(ExecIn::Resize(to))
        }
        Some(Wire::Signal(number @ 1..=64)) => Ok(ExecIn::Signal(number)),
        Some(Wire::Signal(_)) => Err(status::invalid_field("input.signal", "must be 1 to 64")),
        Some(Wire::Start(_)) => {
            Err(status::invalid_field("input.start", "belongs into the first message only"))
        }
        None => Err(status::invalid_field("input", "is missing")),
    }
}

fn size(size: v1::TerminalSize) -> TerminalSize {
    TerminalSize { rows: size.rows, columns: size.columns }
}

/// What a program says.
pub(super) fn exec_out(output: ExecOut) -> v1::ExecOutput {
    use v1::exec_output::Output;
    let output = match output {
        ExecOut::Started { pid } => Output::Started(v1::ExecStarted { pid }),
        ExecOut::Stdout(bytes) => Output::Stdout(bytes),
        ExecOut::Stderr(bytes) => Output::Stderr(bytes),
        ExecOut::Exited(code) => Output::Exited(v1::ExecExited { code: Some(code), signal: None }),
        ExecOut::Killed(signal) => {
            Output::Exited(v1::ExecExited { code: None, signal: Some(signal) })
        }
    };
    v1::ExecOutput { output: Some(output) }
}
