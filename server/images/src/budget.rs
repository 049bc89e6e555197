//! What one pass over a source may still use, and how far it is.
//!
//! Every byte that is read from a source passes a [`Metered`] reader, whether it was packed or
//! not; so a bomb, a cancelled import and progress are all seen in one place. An error raised
//! there travels through `std::io` as a [`Stop`] and is unpacked by [`read_error`].

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use crate::{Cancel, ImportError, Limits, Progress, Room, Step};

/// Progress is told after this many bytes, and the room on the disk is looked at. Whether the
/// import was cancelled is looked at with every piece and every entry.
const STRIDE_BYTES: u64 = 1 << 20;

/// An archive may grow freely up to here: small ones pack well.
const RATIO_FROM_BYTES: u64 = 64 << 20;

/// Steps through the tree that all entries together may take for each of them, and those that they
/// may take beside: a path of an image has a dozen parts and leads over a link or two. One entry
/// may take thousands, so this is what bounds a million of them.
const STEPS_PER_ENTRY: u64 = 64;
const STEPS_BESIDE: u64 = 1_000_000;

/// The limits of one pass, shared by all archives read in it.
pub(crate) struct Budget<'a> {
    pub(crate) limits: Limits,
    cancel: &'a Cancel,
    report: &'a dyn Fn(Progress),
    step: Step,
    total_bytes: Option<u64>,
    bytes: Cell<u64>,
    told_bytes: Cell<u64>,
    entries: Cell<u64>,
    memory: Cell<u64>,
    steps: Cell<u64>,
    /// Where what is read is written, and at which byte the room there is looked at next.
    room: Option<&'a Room>,
    next_look: Cell<u64>,
}

/// Why a reader stopped although its source has more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("cancelled")]
    Cancelled,
    #[error("more than {limit} {unit}")]
    Limit { limit: u64, unit: &'static str },
    #[error("{free_bytes} bytes are free and {reserve_bytes} are to be left")]
    NoRoom { free_bytes: u64, reserve_bytes: u64 },
}

impl Stop {
    pub(crate) fn at(self, from: &str) -> ImportError {
        match self {
            Self::Cancelled => ImportError::Cancelled,
            Self::Limit { limit, unit } => {
                ImportError::Limit { from: from.to_owned(), limit, unit }
            }
            Self::NoRoom { free_bytes, reserve_bytes } => {
                ImportError::NoRoom { free_bytes, reserve_bytes }
            }
        }
    }
}

/// Whether a disk has the room that is to be left.
pub(crate) fn check_room(room: &Room) -> Result<(), Stop> {
    // A disk that can't be asked can't be written either, which is said where that is done.
    let Ok(facts) = rustix::fs::statvfs(&room.directory) else { return Ok(()) };
    let (free_bytes, reserve_bytes) =
        (facts.f_bavail.saturating_mul(facts.f_frsize), room.reserve_bytes);
    match free_bytes < reserve_bytes {
        true => Err(Stop::NoRoom { free_bytes, reserve_bytes }),
        false => Ok(()),
    }
}

impl<'a> Budget<'a> {
    pub(crate) fn new(
        limits: Limits,
        cancel: &'a Cancel,
        report: &'a dyn Fn(Progress),
        step: Step,
        total_bytes: Option<u64>,
    ) -> Self {
        Self {
            limits,
            cancel,
            report,
            step,
            total_bytes,
            bytes: Cell::new(0),
            told_bytes: Cell::new(0),
            entries: Cell::new(0),
            memory: Cell::new(0),
            steps: Cell::new(0),
            room: None,
            next_look: Cell::new(0),
        }
    }

    /// With an eye on the disk that what is read is written to.
    pub(crate) fn writing_to(self, room: Option<&'a Room>) -> Self {
        Self { room, ..self }
    }

    /// For what was bounded before: a file's own bytes once more.
    pub(crate) fn unbounded(
        cancel: &'a Cancel,
        report: &'a dyn Fn(Progress),
        step: Step,
        total_bytes: u64,
    ) -> Self {
        let limits = Limits { unpacked_bytes: u64::MAX, ..Limits::default() };
        Self::new(limits, cancel, report, step, Some(total_bytes))
    }

    /// Counts bytes that were read or written.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), Stop> {
        let all = self.bytes.get().saturating_add(bytes);
        self.bytes.set(all);
        if all > self.limits.unpacked_bytes {
            return Err(Stop::Limit { limit: self.limits.unpacked_bytes, unit: "bytes unpacked" });
        }
        if all - self.told_bytes.get() >= STRIDE_BYTES {
            self.told_bytes.set(all);
            (self.report)(Progress {
                step: self.step,
                done_bytes: all,
                total_bytes: self.total_bytes,
            });
        }
        if let Some(room) = self.room
            && all >= self.next_look.get()
        {
            self.next_look.set(all.saturating_add(STRIDE_BYTES));
            check_room(room)?;
        }
        self.check_cancel()
    }

    /// Counts memory that an entry takes until the import ends.
    pub(crate) fn spend_memory(&self, bytes: u64) -> Result<(), Stop> {
        let all = self.memory.get().saturating_add(bytes);
        self.memory.set(all);
        match all > self.limits.tree_bytes {
            true => Err(Stop::Limit {
                limit: self.limits.tree_bytes,
                unit: "bytes of names and attributes",
            }),
            false => Ok(()),
        }
    }

    /// Counts steps that were taken through the tree.
    pub(crate) fn spend_steps(&self, steps: u64) -> Result<(), Stop> {
        let all = self.steps.get().saturating_add(steps);
        self.steps.set(all);
        let limit = STEPS_BESIDE.saturating_add(self.entries.get().saturating_mul(STEPS_PER_ENTRY));
        match all > limit {
            true => Err(Stop::Limit { limit, unit: "steps along paths and links" }),
            false => Ok(()),
        }
    }

    pub(crate) fn check_cancel(&self) -> Result<(), Stop> {
        if self.cancel.is_cancelled() { Err(Stop::Cancelled) } else { Ok(()) }
    }

    /// Counts a file, directory or link.
    pub(crate) fn spend_entry(&self) -> Result<(), Stop> {
        let all = self.entries.get() + 1;
        self.entries.set(all);
        if all > self.limits.entries {
            return Err(Stop::Limit { limit: self.limits.entries, unit: "entries" });
        }
        self.check_cancel()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

/// Counts what is read from the source as it lies there, and asks whether anybody still wants it:
/// much of it may stand for nothing, which never comes out of the unpacking.
pub(crate) struct Counted<'a, R> {
    inner: R,
    packed: Rc<Cell<u64>>,
    budget: &'a Budget<'a>,
}

impl<'a, R: Read> Counted<'a, R> {
    pub(crate) fn new(inner: R, packed: Rc<Cell<u64>>, budget: &'a Budget<'a>) -> Self {
        Self { inner, packed, budget }
    }
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.budget.check_cancel().map_err(io::Error::other)?;
        let read = self.inner.read(buf)?;
        self.packed.set(self.packed.get() + read as u64);
        Ok(read)
    }
}

/// Counts what comes out of the unpacking.
pub(crate) struct Metered<'a, R> {
    inner: R,
    budget: &'a Budget<'a>,
    packed: Rc<Cell<u64>>,
    unpacked: u64,
}

impl<'a, R: Read> Metered<'a, R> {
    pub(crate) fn new(inner: R, budget: &'a Budget<'a>, packed: Rc<Cell<u64>>) -> Self {
        Self { inner, budget, packed, unpacked: 0 }
    }
}

impl<'a, R: Read> Metered<'a, Counted<'a, R>> {
    /// For what is not packed.
    pub(crate) fn plain(inner: R, budget: &'a Budget<'a>) -> Self {
        let packed = Rc::new(Cell::new(0));
        Self::new(Counted::new(inner, packed.clone(), budget), budget, packed)
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.unpacked += read as u64;
        self.budget.spend(read as u64).map_err(io::Error::other)?;
        let limit = self.budget.limits.ratio;
        if self.unpacked > RATIO_FROM_BYTES
            && self.unpacked > self.packed.get().saturating_mul(limit)
        {
            let unit = "times its packed size";
            return Err(io::Error::other(Stop::Limit { limit, unit }));
        }
        Ok(read)
    }
}

/// The failure of a reader of `from`: a limit, the system's, or else damage.
pub(crate) fn read_error(from: &str, error: io::Error) -> ImportError {
    if let Some(stop) = error.get_ref().and_then(|inner| inner.downcast_ref::<Stop>()) {
        return stop.at(from);
    }
    if error.raw_os_error().is_some() {
        return ImportError::Read { from: from.to_owned(), source: error };
    }
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ends too early".to_owned(),
        _ => error.to_string(),
    };
    ImportError::Damaged { from: from.to_owned(), what }
}
