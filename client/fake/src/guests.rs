//! The guest of the fake server: a console that repeats, four programs, one file system that is a
//! tar stream, and ports that repeat.

use banger_proto::v1::exec_input::Input;
use banger_proto::v1::exec_output::Output;
use banger_proto::v1::*;
use tonic::{Status, Streaming};

use super::{Fake, Stream};

/// Asks the terminal where its cursor is, fills its clipboard, sets its title, and is red.
pub const HOSTILE: &[u8] =
    b"a\x1b[6nb\x1b]52;c;cm0gLXJmIC8K\x07c\x1b]0;title\x07d\x1b[31mred\x1b[0m\x9b6n\n";

/// Repeats what is typed; ends at `exit`.
pub(super) fn console(mut typed: Streaming<AttachConsoleRequest>) -> Stream<AttachConsoleResponse> {
    Box::pin(async_stream::try_stream! {
        while let Some(message) = typed.message().await? {
            let data = if message.vm.is_empty() {
                message.data
            } else {
                format!("past {}\n", message.tail_bytes).into_bytes()
            };
            let last = data.starts_with(b"exit");
            yield AttachConsoleResponse { data };
            if last {
                return;
            }
        }
        // The end of the typing ends nothing.
        std::future::pending::<()>().await;
    })
}

fn say(output: Output) -> ExecVmResponse {
    ExecVmResponse { output: Some(ExecOutput { output: Some(output) }) }
}

fn exited(code: i32) -> ExecVmResponse {
    say(Output::Exited(ExecExited { code: Some(code), signal: None }))
}

/// `cat`, `deaf`, `fail`, `killed`, `show` (what it was started with) and `wait` (for a signal).
pub(super) fn program(
    start: ExecStart,
    mut inputs: Streaming<ExecVmRequest>,
) -> Stream<ExecVmResponse> {
    Box::pin(async_stream::try_stream! {
        yield say(Output::Started(ExecStarted { pid: 1 }));
        match start.command[0].as_str() {
            "cat" => loop {
                match inputs.message().await?.and_then(|message| message.input?.input) {
                    Some(Input::Stdin(bytes)) => yield say(Output::Stdout(bytes)),
                    Some(Input::StdinClosed(_)) | None => break yield exited(0),
                    Some(_) => {}
                }
            },
            "fail" => {
                yield say(Output::Stdout(b"out\n".to_vec()));
                yield say(Output::Stderr(b"no\n".to_vec()));
                yield exited(3);
            }
            "/bin/sh" => {
                yield say(Output::Stdout(format!("{:?}\n", start.command).into_bytes()));
                yield exited(0);
            }
            "hostile" => {
                yield say(Output::Stdout(HOSTILE.to_vec()));
                yield say(Output::Stderr(HOSTILE.to_vec()));
                yield exited(0);
            }
            // Hears every signal and does nothing.
            "deaf" => {
                yield say(Output::Stdout(b"waiting\n".to_vec()));
                while let Some(message) = inputs.message().await? {
                    if let Some(Input::Signal(number)) = message.input.and_then(|i| i.input) {
                        yield say(Output::Stdout(format!("heard {number}\n").into_bytes()));
                    }
                }
                std::future::pending::<()>().await;
            }
            "killed" => {
                yield say(Output::Exited(ExecExited { code: None, signal: Some(9) }));
            }
            "show" => {
                let mut environment: Vec<_> = start.environment.into_iter().collect();
                environment.sort();
                let text = format!(
                    "{:?} {environment:?} {} {} {}\n",
                    start.command,
                    start.directory,
                    start.user,
                    start.terminal.is_some()
                );
                yield say(Output::Stdout(text.into_bytes()));
                yield exited(0);
            }
            _ => {
                yield say(Output::Stdout(b"waiting\n".to_vec()));
                while let Some(message) = inputs.message().await? {
                    if let Some(Input::Signal(number)) = message.input.and_then(|i| i.input) {
                        yield exited(100 + i32::try_from(number).unwrap());
                        break;
                    }
                }
            }
        }
    })
}

impl Fake {
    pub(super) async fn keep_files(
        &self,
        mut parts: Streaming<CopyToVmRequest>,
    ) -> Result<CopyToVmResponse, Status> {
        let (mut directory, mut own_name, mut bytes) = (String::new(), String::new(), Vec::new());
        while let Some(part) = parts.message().await? {
            self.pace("CopyToVm").await;
            directory.push_str(&part.directory);
            own_name.push_str(&part.own_name);
            bytes.extend(part.data);
        }
        let mut archive = tar::Archive::new(&bytes[..]);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let names: Vec<_> =
            entries.map(|entry| entry.path().unwrap().display().to_string()).collect();
        let answer = CopyToVmResponse { entries: names.len() as u64, bytes: bytes.len() as u64 };
        self.state().files = (format!("{directory}: {}", names.join(" ")), bytes);
        self.state().own_name = own_name;
        Ok(answer)
    }

    pub(super) fn give_files(&self) -> Stream<CopyFromVmResponse> {
        let (fake, bytes) = (self.clone(), self.state().files.1.clone());
        Box::pin(async_stream::try_stream! {
            for part in bytes.chunks(1000) {
                fake.pace("CopyFromVm").await;
                yield CopyFromVmResponse { data: part.to_vec() };
            }
        })
    }
}

/// Repeats what comes, ends with it.
pub(super) fn port(mut data: Streaming<ForwardVmRequest>) -> Stream<ForwardVmResponse> {
    Box::pin(async_stream::try_stream! {
        while let Some(message) = data.message().await? {
            yield ForwardVmResponse { data: message.data };
        }
    })
}
