//! An [`Exec`] that runs nothing: it writes down each call and answers from a script.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Child;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::*;

/// Answers in the order they were given; without one left, success and no output.
#[derive(Debug, Default)]
pub(crate) struct RecordingExec {
    calls: Mutex<Vec<ToolCall>>,
    answers: Mutex<VecDeque<ToolOutput>>,
}

impl RecordingExec {
    /// Answers each call with one of these.
    pub(crate) fn answering<'a>(
        answers: impl IntoIterator<Item = (i32, &'a str, &'a str)>,
    ) -> Self {
        let answers = answers
            .into_iter()
            .map(|(code, stdout, stderr)| ToolOutput {
                code: Some(code),
                stdout: stdout.to_owned(),
                stderr: stderr.to_owned(),
            })
            .collect();
        Self { calls: Mutex::default(), answers: Mutex::new(answers) }
    }

    /// What was asked for, one call a line, input indented below.
    pub(crate) fn transcript(&self) -> String {
        let mut text = String::new();
        for call in self.calls.lock().iter() {
            text.push_str(&call.to_string());
            text.push('\n');
            for line in call.stdin.lines() {
                text.push_str("    ");
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }

    /// How many calls there were.
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().len()
    }
}

#[async_trait]
impl Exec for RecordingExec {
    async fn run(&self, call: &ToolCall) -> HostResult<ToolOutput> {
        self.calls.lock().push(call.clone());
        let empty = ToolOutput { code: Some(0), stdout: String::new(), stderr: String::new() };
        Ok(self.answers.lock().pop_front().unwrap_or(empty))
    }

    fn launch(&self, call: LaunchCall) -> HostResult<Child> {
        Err(HostError::new(HostErrorKind::Other, "start", call.program.name()))
    }

    fn path(&self, program: Tool) -> HostResult<PathBuf> {
        Ok(PathBuf::from("/usr/sbin").join(program.name()))
    }
}
