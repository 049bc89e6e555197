//! A line on the terminal while a command waits. Nothing where standard error is no terminal.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use banger_client::v1::{Vm, VmState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::Failure;
use crate::text::{clean, place, state_name};

mod rate;

pub use rate::{Count, Rate};

/// How often to hear of a VM while somebody looks at the line.
const STEP: Duration = Duration::from_millis(500);

/// How often a line that counts is written anew.
const COUNTED: Duration = Duration::from_millis(200);

/// How often the line moves.
const TICK: Duration = Duration::from_millis(120);

/// The line.
pub struct Progress {
    bar: ProgressBar,
    moving: Once,
    /// What was last heard of each, by its id.
    heard: Mutex<BTreeMap<String, Heard>>,
}

/// What was heard of a VM.
#[derive(Default)]
struct Heard {
    state: &'static str,
    line: String,
    /// How far that is what it waits for.
    coming: Option<String>,
}

impl Progress {
    /// Shows nothing before the first word.
    pub fn start() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { bar, moving: Once::new(), heard: Mutex::default() }
    }

    /// How often to ask the server for news: often only if somebody looks.
    pub fn step(&self) -> Option<Duration> {
        (!self.bar.is_hidden()).then_some(STEP)
    }

    /// Says anything.
    pub fn say(&self, text: &str) {
        self.bar.set_message(clean(text));
        // Not before there is something to say: most calls are done in an instant.
        self.moving.call_once(|| self.bar.enable_steady_tick(TICK));
    }

    /// Shows how far something is until it is done.
    pub async fn counting<T>(&self, what: &str, count: &Count, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        if self.bar.is_hidden() {
            return work.await;
        }
        let (mut moves, mut rate) = (tokio::time::interval(COUNTED), Rate::default());
        let begun = Instant::now();
        loop {
            // Cancel-safe: the work goes on where it was, and a tick not taken is no loss.
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = moves.tick() => self.say(&rate.sentence(what, begun.elapsed(), count)),
            }
        }
    }

    /// Shows how far a file has grown that other work writes, until the answer is dropped. It looks
    /// from a thread of its own: that work may block.
    pub fn growing(&self, what: &str, file: &Path, of: u64) -> Option<Growing<'_>> {
        if self.bar.is_hidden() {
            return None;
        }
        self.say(what);
        Some(Growing::new(&self.bar, what, file, of))
    }

    /// Takes the line away while something is asked.
    pub fn while_away<T>(&self) -> impl Fn(&dyn Fn() -> T) -> T + Send + use<T> {
        let bar = self.bar.clone();
        move |ask| bar.suspend(ask)
    }

    /// Something to know, which stays when the line has gone.
    pub fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("note: {}", clean(text)));
    }

    /// Something was heard of a VM.
    pub fn heard(&self, vm: &Vm) {
        if self.bar.is_hidden() {
            return;
        }
        let status = vm.status.clone().unwrap_or_default();
        let state = state_name(status.state());
        let mut heard = self.lock();
        let of_it = heard.entry(vm.id.clone()).or_default();
        of_it.state = state;
        of_it.line = format!("{}: {state}{} {}", vm.name, place(&status), status.reason);
        if !waits_for_image(vm) {
            of_it.coming = None;
        }
        self.show(heard);
    }

    /// Says with what was heard of a VM how far what it waits for is.
    pub fn coming(&self, vm: &Vm, how_far: Option<String>) {
        let mut heard = self.lock();
        if let Some(of_it) = heard.get_mut(&vm.id) {
            of_it.coming = how_far;
            self.show(heard);
        }
    }

    fn show(&self, heard: MutexGuard<'_, BTreeMap<String, Heard>>) {
        let mut line = match heard.values().next() {
            Some(one) if heard.len() == 1 => one.line.trim_end().to_owned(),
            Some(_) | None => {
                let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
                heard.values().for_each(|one| *counts.entry(one.state).or_default() += 1);
                let counts: Vec<_> = counts.iter().map(|(s, n)| format!("{n} {s}")).collect();
                counts.join(", ")
            }
        };
        // Of several, most wait for the same.
        if let Some(coming) = heard.values().find_map(|one| one.coming.as_ref()) {
            line += &format!("; {coming}");
        }
        drop(heard);
        self.say(&line);
    }

    /// Carries on until it is done or, on a terminal, somebody presses Ctrl-C: then the line is
    /// taken away and what was asked for goes on without us.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        if self.bar.is_hidden() {
            return Ok(work.await);
        }
        tokio::select! {
            // Dropping the work drops calls under way; those that were sent may have taken effect.
            done = work => Ok(done),
            _ = tokio::signal::ctrl_c() => {
                self.bar.finish_and_clear();
                let text = "interrupted; what the server was asked for goes on without waiting";
                Err(Failure::Interrupted(text.to_owned()))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Heard>> {
        // A map of texts is never half changed.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The line shows how far a file has grown as long as this is held.
pub struct Growing<'a> {
    ended: Option<mpsc::Sender<()>>,
    looks: Option<JoinHandle<()>>,
    _line: PhantomData<&'a Progress>,
}

impl Growing<'_> {
    fn new(bar: &ProgressBar, what: &str, file: &Path, of: u64) -> Self {
        let (what, file, bar) = (what.to_owned(), file.to_owned(), bar.clone());
        let (ended, over) = mpsc::channel::<()>();
        let looks = std::thread::spawn(move || {
            let (count, mut rate, begun) = (Count::new(Some(of)), Rate::default(), Instant::now());
            while over.recv_timeout(COUNTED) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Not there before it is begun, nor once it has its own name.
                let Ok(found) = std::fs::metadata(&file) else { continue };
                count.add(found.len().saturating_sub(count.read()));
                bar.set_message(rate.sentence(&what, begun.elapsed(), &count));
            }
        });
        Self { ended: Some(ended), looks: Some(looks), _line: PhantomData }
    }
}

impl Drop for Growing<'_> {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(looks) = self.looks.take() {
            // A panic of it has been printed; what was to be done is done all the same.
            let _ = looks.join();
        }
    }
}

/// Whether a VM waits for an image that is brought to its host.
pub fn waits_for_image(vm: &Vm) -> bool {
    vm.status.as_ref().is_some_and(|status| {
        status.state() == VmState::Preparing && status.reason == "IMAGE_TRANSFER"
    })
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until the line says that, or for a minute.
    fn until_said(bar: &ProgressBar, what: &str) {
        let begun = Instant::now();
        while !bar.message().contains(what) {
            assert!(begun.elapsed() < Duration::from_mins(1), "{}", bar.message());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_file_that_grows_is_told_until_nobody_wants_to_know() {
        let directory = tempfile::tempdir().unwrap();
        let (file, bar) = (directory.path().join("copy"), ProgressBar::hidden());
        let line = Growing::new(&bar, "copying", &file, 4 << 20);
        std::fs::write(&file, vec![0; 1 << 20]).unwrap();
        until_said(&bar, "copying: 1M of 4M");
        std::fs::write(&file, vec![0; 3 << 20]).unwrap();
        until_said(&bar, "copying: 3M of 4M, ");
        until_said(&bar, " left");
        // It has its own name now: the line stays as it was.
        std::fs::rename(&file, directory.path().join("whole")).unwrap();
        drop(line);
        let said = bar.message();
        std::fs::write(&file, vec![0; 4 << 20]).unwrap();
        std::thread::sleep(COUNTED * 2);
        assert_eq!(bar.message(), said);
    }
}
