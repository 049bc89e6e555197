//! Who programs run as: the guest's passwd(5) and group(5).
//!
//! Read by hand, anew for each program: a static program has no name service switch, and images
//! come and go with theirs. What can go wrong: a file is missing, larger than [`MOST_BYTES`], or
//! has no such user.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use tonic::Status;

use crate::status;

/// The largest file of users that is read.
const MOST_BYTES: u64 = 4 * 1024 * 1024;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its name; its number where it has none.
    pub name: String,
    /// Its number.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// The groups that it is in beside that.
    pub groups: Vec<u32>,
    /// Its home directory.
    pub home: PathBuf,
    /// Its shell.
    pub shell: PathBuf,
}

/// The users of a directory like `/etc`.
#[derive(Debug, Clone)]
pub struct Users {
    etc: PathBuf,
}

fn root() -> User {
    User {
        name: "root".to_owned(),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        home: PathBuf::from("/root"),
        shell: PathBuf::from("/bin/sh"),
    }
}

/// One line of passwd(5).
fn user_of(line: &str) -> Option<User> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
    Some(User {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
        home: PathBuf::from(home),
        shell: PathBuf::from(if shell.is_empty() { "/bin/sh" } else { shell }),
    })
}

/// The numbers of the groups, in group(5), that have a member of this name.
fn groups_of(text: &str, name: &str) -> Vec<u32> {
    let of_line = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members] = fields[..] else { return None };
        members.split(',').any(|member| member == name).then(|| gid.parse().ok()).flatten()
    };
    text.lines().filter_map(of_line).collect()
}

impl Users {
    /// Those of `etc/passwd` and `etc/group`.
    #[must_use]
    pub fn of(etc: PathBuf) -> Self {
        Self { etc }
    }

    /// The directory of their files.
    pub(crate) fn etc(&self) -> &Path {
        &self.etc
    }

    fn read(&self, name: &str) -> Option<String> {
        let mut text = String::new();
        let file = std::fs::File::open(Path::new(&self.etc).join(name)).ok()?;
        file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The user of a name or number; of an empty name root, who needs no file.
    ///
    /// # Errors
    /// NOT_FOUND: there is no such user.
    pub fn find(&self, wanted: &str) -> Result<User, Status> {
        let text = self.read("passwd").unwrap_or_default();
        let number: Option<u32> = wanted.parse().ok();
        let wanted = if wanted.is_empty() { "root" } else { wanted };
        let mut users = text.lines().filter_map(user_of);
        // A name that is all digits comes before a number: useradd(8) allows none.
        let found = users.find(|user| user.name == wanted || Some(user.uid) == number);
        let mut user = match found {
            Some(user) => user,
            None if wanted == "root" || number == Some(0) => root(),
            None => return Err(status::not_found(format!("the guest has no user {wanted:?}"))),
        };
        user.groups = groups_of(&self.read("group").unwrap_or_default(), &user.name);
        Ok(user)
    }

    /// The user of an image's configuration: a name or number, and after a colon a group. Unlike
    /// for a program, a number needs to be nobody's.
    ///
    /// # Errors
    /// NOT_FOUND: there is no user or group of that name.
    pub fn find_for_image(&self, wanted: &str) -> Result<User, Status> {
        let (name, group) = wanted.split_once(':').unwrap_or((wanted, ""));
        let mut user = match (self.find(name), name.parse()) {
            (Ok(user), _) => user,
            (Err(_), Ok(uid)) => {
                User { name: name.to_owned(), uid, gid: 0, home: PathBuf::from("/"), ..root() }
            }
            (Err(error), Err(_)) => return Err(error),
        };
        if !group.is_empty() {
            let groups = self.read("group").unwrap_or_default();
            let named = groups.lines().find_map(|line| {
                let mut fields = line.split(':');
                (fields.next() == Some(group)).then(|| fields.nth(1)?.parse().ok()).flatten()
            });
            user.gid = named
                .or_else(|| group.parse().ok())
                .ok_or_else(|| status::not_found(format!("the image has no group {group:?}")))?;
        }
        Ok(user)
    }
}

#[cfg(test)]
mod tests;
