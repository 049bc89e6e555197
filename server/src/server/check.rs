//! `check-config`, and what a start refuses before it touches anything: one function for both.
//!
//! Root checks for a server that may run as another user, and root may read everything. So the
//! check is made as the user whose the state directory is, on a thread of its own: what that user
//! may not read, or has no right to, it refuses as the start will. What can go wrong besides: there
//! is no state directory yet, and nobody knows whose it will be; that is said.
//!
//! What only a start finds out: an address that is taken, a database that a later release wrote, a
//! disk that is full.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use banger_wire::service::secrets::Owners;
use http::HeaderValue;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::{Credentials, StartError, origins};
use crate::clock::{SharedClock, SystemClock};
use crate::config::ServerConfig;
use crate::pki::Authorities;

/// Says what is wrong with a configuration and the files it names, and starts nothing. Gives what
/// is to be said besides.
///
/// # Errors
/// As a start with it would, as the user that it will run as.
pub fn check(config: &ServerConfig) -> Result<Vec<String>, StartError> {
    let clock: SharedClock = Arc::new(SystemClock);
    let look = |owners| checked(config, &clock, owners).map(drop);
    let mut said = config.warnings();
    if !geteuid().is_root() {
        return look(Owners::Ours).map(|()| said);
    }
    match fs::metadata(&config.state_dir) {
        Ok(metadata) if metadata.uid() == 0 => look(Owners::Ours)?,
        Ok(metadata) => {
            let user = User::of(&metadata, Path::new("/etc"));
            thread::scope(|scope| {
                let looking = scope.spawn(|| {
                    user.enter().map_err(|source| StartError::AsUser { uid: user.uid, source })?;
                    look(Owners::Ours)
                });
                looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })?;
        }
        Err(_) => {
            look(Owners::AnyForRoot)?;
            said.push(format!(
                "{} is not there yet: whether the user that the server will run as may read the files \
                 that are named here is not known",
                config.state_dir.display()
            ));
        }
    }
    Ok(said)
}

/// What a start refuses before it touches anything.
pub(super) fn checked(
    config: &ServerConfig,
    clock: &SharedClock,
    owners: Owners,
) -> Result<(Vec<HeaderValue>, Credentials), StartError> {
    config.check().map_err(StartError::Config)?;
    config.telemetry.check().map_err(StartError::Telemetry)?;
    let origins = origins(config);
    let credentials = Credentials::read(config, origins.clone(), Arc::clone(clock), owners)
        .map_err(StartError::Credentials)?;
    if let Some(path) = &config.images.docker_config {
        banger_images::check_docker_config(path, owners)
            .map_err(|source| StartError::DockerConfig { path: path.clone(), source })?;
    }
    Authorities::look(&config.ca_dir()).map_err(StartError::Ca)?;
    let images = config.images_dir();
    match fs::read_dir(&images) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(StartError::Images { path: images, source });
        }
        Ok(_) | Err(_) => {}
    }
    Ok((origins, credentials))
}

/// A user of the machine, with the groups that a service of theirs has.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

impl User {
    /// Whose this is, as the files in a directory like `/etc` say it (passwd(5), group(5)); whom
    /// they do not name has the group that it is of.
    fn of(metadata: &Metadata, etc: &Path) -> Self {
        let uid = metadata.uid();
        let text = |name| fs::read(etc.join(name)).unwrap_or_default();
        let passwd = String::from_utf8_lossy(&text("passwd")).into_owned();
        let account = passwd.lines().find_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, its, gid, ..] = fields[..] else { return None };
            Some((name, gid.parse().ok()?)).filter(|_| its.parse() == Ok(uid))
        });
        let Some((name, gid)) = account else {
            return Self { uid, gid: metadata.gid(), groups: vec![metadata.gid()] };
        };
        let group = String::from_utf8_lossy(&text("group")).into_owned();
        let member = group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [_, _, gid, members] = fields[..] else { return None };
            gid.parse().ok().filter(|_| members.split(',').any(|member| member.trim() == name))
        });
        let groups = [gid].into_iter().chain(member).collect();
        Self { uid, gid, groups }
    }

    /// Becomes this user, this thread alone and for as long as it lives.
    fn enter(&self) -> std::io::Result<()> {
        let groups: Vec<Gid> = self.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups)?;
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_the_groups_that_name_it() {
        let etc = tempfile::tempdir().expect("a directory");
        let metadata = fs::metadata(etc.path()).expect("it is there");
        let (uid, gid) = (metadata.uid(), metadata.gid());
        let nameless = User { uid, gid, groups: vec![gid] };
        assert_eq!(User::of(&metadata, etc.path()), nameless);
        let passwd =
            format!("other:x:4000000:1::/:/bin/sh\nnonsense\nbanger:x:{uid}:77::/:/bin/false\n");
        fs::write(etc.path().join("passwd"), passwd).expect("written");
        let group = "ssl-cert:x:110:postgres,banger\nother:x:111:bangers\nbad\nempty:x:112:\n";
        fs::write(etc.path().join("group"), group).expect("written");
        let named = User { uid, gid: 77, groups: vec![77, 110] };
        assert_eq!(User::of(&metadata, etc.path()), named);
    }
}
