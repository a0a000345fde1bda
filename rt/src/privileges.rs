//! What a daemon gives up at start. All of it before the first thread: capabilities are per thread.

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist, setgroups, setresgid, setresuid};

/// Who the process becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the user.
    pub user: String,
    /// Its id.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
}

/// Why privileges could not be dropped: the process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("there is no user {0:?}")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group {0:?}")]
    NoGroup(String),
    /// The identity asked for is root's.
    #[error("user {0:?} is root: name an unprivileged one")]
    Root(String),
    /// The kernel refused a step.
    #[error("{step}: {source}")]
    Refused {
        /// What was tried.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Identity {
    /// Looks up `user`, with its primary group or `group`.
    pub fn lookup(user: &str, group: Option<&str>) -> Result<Self, PrivilegeError> {
        let found = User::from_name(user).map_err(|errno| refused("looking up the user", errno))?;
        let found = found.ok_or_else(|| PrivilegeError::NoUser(user.into()))?;
        let gid = match group {
            None => found.gid,
            Some(name) => {
                let group = Group::from_name(name).map_err(|errno| refused("looking up the group", errno))?;
                group.ok_or_else(|| PrivilegeError::NoGroup(name.into()))?.gid
            }
        };
        if found.uid.is_root() {
            return Err(PrivilegeError::Root(user.into()));
        }
        let name = std::ffi::CString::new(user).map_err(|_| PrivilegeError::NoUser(user.into()))?;
        let groups = getgrouplist(&name, gid).map_err(|errno| refused("listing the user's groups", errno))?;
        let groups = groups.into_iter().map(Gid::as_raw).collect();
        Ok(Identity { user: user.into(), uid: found.uid.as_raw(), gid: gid.as_raw(), groups })
    }
}

/// Whether the process runs as root.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes `identity` for ever, keeping only CAP_NET_BIND_SERVICE (also across an exec), so that
/// a reload can bind port 25. Call it after the limits were raised ([`crate::preflight`]) and
/// before any thread starts.
pub fn drop_to(identity: &Identity) -> Result<(), PrivilegeError> {
    let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    prctl::set_keepcaps(true).map_err(|errno| refused("keeping capabilities", errno))?;
    setgroups(&groups).map_err(|errno| refused("setting the groups", errno))?;
    setresgid(gid, gid, gid).map_err(|errno| refused("setting the group", errno))?;
    setresuid(uid, uid, uid).map_err(|errno| refused("setting the user", errno))?;
    keep_only_bind()?;
    match setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)) {
        Ok(()) => Err(refused("dropping root", nix::errno::Errno::EPERM)),
        Err(_) => Ok(()),
    }
}

/// What every start does, root or not: files are private, nothing dumps core (memory holds mail
/// and keys), and no exec gains privileges.
pub fn harden() -> Result<(), PrivilegeError> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(|errno| refused("forbidding core dumps", errno))?;
    prctl::set_no_new_privs().map_err(|errno| refused("forbidding new privileges", errno))
}

/// CAP_NET_BIND_SERVICE (capability 10) effective, permitted, inheritable and ambient; no other.
fn keep_only_bind() -> Result<(), PrivilegeError> {
    const NET_BIND_SERVICE: u32 = 10;
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let bit = 1 << NET_BIND_SERVICE;
    // Two triples of effective, permitted, inheritable: capabilities 0 to 31 and 32 to 63.
    let data: [u32; 6] = [bit, bit, bit, 0, 0, 0];
    // SAFETY: both point to the structures of capset(2), version 3, and live through the call.
    if unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) } != 0 {
        return Err(PrivilegeError::Refused { step: "setting capabilities", source: io::Error::last_os_error() });
    }
    // SAFETY: plain integers.
    let ambient = unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, u64::from(NET_BIND_SERVICE), 0u64, 0u64)
    };
    if ambient != 0 {
        return Err(PrivilegeError::Refused {
            step: "keeping the capability to bind across an exec",
            source: io::Error::last_os_error(),
        });
    }
    Ok(())
}

fn refused(step: &'static str, errno: nix::errno::Errno) -> PrivilegeError {
    PrivilegeError::Refused { step, source: errno.into() }
}
