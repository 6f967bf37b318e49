//! Becoming the unprivileged user of the option `run_as` (`agent-api.md` §6 step 5).

use std::ffi::CString;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgroups, setresgid, setresuid, setuid};

/// The user and group to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunAs {
    name: CString,
    user: Uid,
    group: Gid,
}

/// Why privileges are not dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The option is not `user:group`.
    #[error("option run_as must be user:group, not {0:?}")]
    Syntax(String),
    /// There is no such user.
    #[error("user {0:?} of option run_as does not exist")]
    UnknownUser(String),
    /// There is no such group.
    #[error("group {0:?} of option run_as does not exist")]
    UnknownGroup(String),
    /// The system refused.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file cannot be handed over.
    #[error("cannot give {} to the user of option run_as: {source}", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The process is still or again root.
    #[error("privileges could be regained after dropping them")]
    NotDropped,
}

impl RunAs {
    /// Looks user and group up.
    ///
    /// # Errors
    /// See [`PrivilegeError`].
    pub fn resolve(option: &str) -> Result<Self, PrivilegeError> {
        let syntax = || PrivilegeError::Syntax(option.to_owned());
        let (user, group) = option.split_once(':').filter(|(_, group)| !group.contains(':')).ok_or_else(syntax)?;
        let found_user = User::from_name(user)
            .map_err(failed("look up the user of option run_as"))?
            .ok_or_else(|| PrivilegeError::UnknownUser(user.to_owned()))?;
        let found_group = Group::from_name(group)
            .map_err(failed("look up the group of option run_as"))?
            .ok_or_else(|| PrivilegeError::UnknownGroup(group.to_owned()))?;
        Ok(Self { name: CString::new(user).map_err(|_| syntax())?, user: found_user.uid, group: found_group.gid })
    }

    /// Gives a directory to the user and group: the directory itself and nothing in it, and never what a link in its place
    /// points to (CVE-2022-31250).
    ///
    /// # Errors
    /// [`PrivilegeError::Owner`].
    pub fn take_over(&self, path: &Path) -> Result<(), PrivilegeError> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
        opened
            .and_then(|directory| fchown(directory, Some(self.user.as_raw()), Some(self.group.as_raw())))
            .map_err(|source| PrivilegeError::Owner { path: path.to_owned(), source })
    }

    /// Becomes the user for good: real, effective and saved ids, and only the user's groups.
    ///
    /// # Errors
    /// The system refused, or root could be regained; the process must end then.
    pub fn become_user(&self) -> Result<(), PrivilegeError> {
        let groups = getgrouplist(&self.name, self.group).map_err(failed("list the groups of the user"))?;
        setgroups(&groups).map_err(failed("set the groups"))?;
        setresgid(self.group, self.group, self.group).map_err(failed("set the group"))?;
        setresuid(self.user, self.user, self.user).map_err(failed("set the user"))?;
        let regained = !self.user.is_root() && setuid(Uid::from_raw(0)).is_ok();
        if regained || Uid::effective() != self.user || Uid::current() != self.user {
            return Err(PrivilegeError::NotDropped);
        }
        Ok(())
    }
}

/// Becomes the user of the option `run_as` where the process is root, after handing `directories` over; without the option,
/// or without being root, the process stays what it is and says so.
///
/// # Errors
/// See [`PrivilegeError`]; the process must end then.
pub fn drop_privileges(run_as: Option<&str>, directories: &[&Path]) -> Result<(), PrivilegeError> {
    let is_root = Uid::effective().is_root();
    match run_as {
        Some(option) if is_root => {
            let user = RunAs::resolve(option)?;
            directories.iter().try_for_each(|directory| user.take_over(directory))?;
            user.become_user()?;
            tracing::info!(target: "keylime.agent", run_as = option, "dropped privileges");
        }
        Some(option) => {
            tracing::warn!(target: "keylime.agent", run_as = option, "not root, ignoring option run_as");
        }
        None if is_root => {
            tracing::warn!(target: "keylime.agent", "option run_as is empty, staying root");
        }
        None => {}
    }
    Ok(())
}

fn failed(action: &'static str) -> impl FnOnce(nix::Error) -> PrivilegeError {
    move |error| PrivilegeError::System { action, source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2022_31250_a_link_in_place_of_the_directory_is_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let (target, link) = (place.path().join("target"), place.path().join("link"));
        std::fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let me = RunAs { name: CString::new("me").unwrap(), user: Uid::current(), group: Gid::current() };
        assert!(matches!(me.take_over(&link), Err(PrivilegeError::Owner { .. })));
        assert!(me.take_over(&target).is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        assert!(matches!(RunAs::resolve("root"), Err(PrivilegeError::Syntax(_))));
        assert!(matches!(RunAs::resolve("root:root:x"), Err(PrivilegeError::Syntax(_))));
        assert!(matches!(RunAs::resolve("no-such-user:root"), Err(PrivilegeError::UnknownUser(_))));
        assert!(matches!(RunAs::resolve("root:no-such-group"), Err(PrivilegeError::UnknownGroup(_))));
        assert!(RunAs::resolve("root:root").is_ok());
    }
}
