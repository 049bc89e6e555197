//! How far the VMs that wait have been looked at since room came.
//!
//! One mutation looks at some of them; the next goes on after these, so that whoever waits behind
//! many is reached. Room that comes on the way is for who is next; those before are looked at again
//! when the last has been.

use super::turn::Turn;

#[derive(Debug, Clone)]
pub(super) struct Search {
    room_came: bool,
    /// The same, since the search under way began.
    came_since: bool,
    /// The last that it has looked at; `None`: it begins with the first.
    after: Option<Turn>,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { room_came: true, came_since: true, after: None }
    }

    /// Room has come, perhaps.
    pub(super) fn note_room(&mut self, came: bool) {
        self.room_came |= came;
        self.came_since |= came;
    }

    /// Whether room may have come since all VMs that wait were looked at.
    pub(super) fn room_came(&self) -> bool {
        self.room_came
    }

    pub(super) fn after(&self) -> Option<Turn> {
        self.after
    }

    /// VMs were looked at, up to this one; with `None` up to the last.
    pub(super) fn note_looked(&mut self, rest_after: Option<Turn>) {
        if self.after.is_none() {
            self.came_since = false;
        }
        if rest_after.is_none() {
            self.room_came = self.came_since;
        }
        self.after = rest_after;
    }
}
