//! What a program is not allowed to do, put into force just before it is executed.

use std::{
    ffi::{CString, OsStr},
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
    path_beneath_rules,
};
use rustix::{
    process::{Gid, Resource, Rlimit, Signal, Uid, setrlimit},
    thread::{self as this, CapabilitiesSecureBits, CapabilitySet, CapabilitySets},
};

use super::{Failed, Step, clone::raw, install_seccomp};
use crate::{
    config::INNER_ID,
    plan::{Entry, Rlimits, Start},
};

/// Enters the session's cgroups of version 1, so that everything from here on counts as the session's, and opens the one of
/// version 2 to be cloned into.
pub(super) fn enter_cgroups(entry: &Entry) -> Result<Option<OwnedFd>, Failed> {
    for file in &entry.tasks {
        fs::write(file, "0").step(format!("enter the cgroup {}", file.display()))?;
    }
    let open = |dir: &PathBuf| fs::File::open(dir).step(format!("open the cgroup {}", dir.display()));
    Ok(entry.unified.as_ref().map(open).transpose()?.map(OwnedFd::from))
}

/// Becomes the session's user within the present user namespace. Capabilities in it stay.
pub(super) fn become_inner_user(foreign: bool) -> Result<(), Failed> {
    // Without this the change of user could clear the capabilities that are still needed.
    this::set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP | CapabilitiesSecureBits::KEEP_CAPS)
        .step("set secure bits")?;
    if foreign {
        this::set_thread_groups(&[]).step("drop groups")?;
    }
    let (user, group) = (Uid::from_raw(INNER_ID), Gid::from_raw(INNER_ID));
    this::set_thread_res_gid(group, group, group).step("become the session's group")?;
    this::set_thread_res_uid(user, user, user).step("become the session's user")?;
    // The change made /proc/self belong to root, who is nobody here.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).step("set dumpable")
}

/// Gives up everything for good. Returns whether Landlock is in force.
pub(super) fn confine(start: &Start) -> Result<bool, Failed> {
    limit(&start.rlimits)?;
    drop_capabilities()?;
    this::set_no_new_privs(true).step("set no_new_privs")?;
    let landlock = restrict_files(&start.writable)?;
    install_seccomp().step("install the seccomp filter")?;
    Ok(landlock)
}

fn limit(limits: &Rlimits) -> Result<(), Failed> {
    let set = |resource: Resource, wanted: u64, name: &str| {
        let hard = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let value = Some(wanted.min(hard));
        setrlimit(resource, Rlimit { current: value, maximum: value }).step(format!("limit {name}"))
    };
    set(Resource::Nproc, limits.processes, "processes")?;
    set(Resource::Nofile, limits.open_files, "open files")?;
    set(Resource::Core, 0, "core files")?;
    set(Resource::Memlock, 8 << 20, "locked memory")?;
    set(Resource::Msgqueue, 819_200, "message queues")?;
    set(Resource::Sigpending, 4096, "pending signals")?;
    set(Resource::Rtprio, 0, "real-time priority")?;
    set(Resource::Nice, 0, "niceness")?;
    if let Some(size) = limits.file_size {
        set(Resource::Fsize, size, "the size of a file")?;
    }
    if let Some(size) = limits.data {
        set(Resource::Data, size, "memory")?;
    }
    Ok(())
}

fn drop_capabilities() -> Result<(), Failed> {
    for capability in 0..64_u64 {
        // Fails beyond the last capability that this kernel knows.
        let _ = this::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability));
    }
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    this::set_capabilities_secure_bits(bits).step("lock secure bits")?;
    this::clear_ambient_capability_set().step("clear ambient capabilities")?;
    let none = CapabilitySet::empty();
    this::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })
        .step("drop capabilities")
}

/// A second fence, of another make, around the files: what is not named can be read and executed only.
fn restrict_files(writable: &[PathBuf]) -> Result<bool, Failed> {
    let abi = ABI::V5;
    let every = AccessFs::from_all(abi);
    let rules = || -> Result<RulesetStatus, landlock::RulesetError> {
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(every)?
            .create()?
            .add_rules(path_beneath_rules(["/"], AccessFs::from_read(abi)))?
            .add_rules(path_beneath_rules(writable, every))?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match rules() {
        Ok(status) => Ok(status != RulesetStatus::NotEnforced),
        Err(error) => Err(io::Error::other(error)).step("restrict files by Landlock"),
    }
}

/// Executes the program; returns why not.
pub(super) fn execute(
    control: &OwnedFd,
    start: &Start,
    executable: &Path,
    fds: Vec<OwnedFd>,
) -> Result<io::Error, Failed> {
    let program = c_string(executable.as_os_str())?;
    let args = start.program.args.iter().map(|arg| c_string(arg)).collect::<Result<Vec<_>, _>>()?;
    let env = start
        .program
        .env
        .iter()
        .map(|(name, value)| {
            let mut whole = name.clone();
            whole.push("=");
            whole.push(value);
            c_string(&whole)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|item| item.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(&args), pointers(&env));
    rustix::process::chdir(&start.program.cwd)
        .step(format!("enter the working directory {}", start.program.cwd.display()))?;
    place_descriptors(&start.fds, &fds)?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).step("tie our life to the server's")?;
    if gone(control) {
        return Err(io::Error::other("the server is gone")).step("tie our life to the server's");
    }
    // SAFETY: both lists end with null, and every pointer in them, and `program`, outlives the call.
    unsafe { libc::execve(program.as_ptr(), args.as_ptr(), env.as_ptr()) };
    Ok(io::Error::last_os_error())
}

fn c_string(text: &OsStr) -> Result<CString, Failed> {
    CString::new(text.as_bytes()).step("read the command line")
}

/// Gives the descriptors their numbers. Everything else closes at `exec`.
fn place_descriptors(numbers: &[i32], fds: &[OwnedFd]) -> Result<(), Failed> {
    if numbers.len() != fds.len() {
        return Err(io::Error::other("descriptors and their numbers differ in count")).step("place descriptors");
    }
    // SAFETY: changes flags of descriptors only; none is closed.
    if unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error()).step("close_range");
    }
    // High numbers, so that no number that is wanted is in use by one still to be placed.
    let high = fds
        .iter()
        .map(|fd| rustix::io::fcntl_dupfd_cloexec(fd.as_fd(), 512))
        .collect::<Result<Vec<_>, _>>()
        .step("place descriptors")?;
    let null =
        rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).step("open /dev/null")?;
    let places = (0..3).filter(|number| !numbers.contains(number)).map(|number| (raw(&null), number));
    let places: Vec<(RawFd, RawFd)> =
        places.chain(high.iter().map(AsRawFd::as_raw_fd).zip(numbers.iter().copied())).collect();
    for (from, to) in places {
        // SAFETY: `to` is a standard stream, or a number below those in use here, as the server checks.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error()).step("place descriptors");
        }
    }
    Ok(())
}

/// Whether the other end of the control socket is closed.
fn gone(control: &OwnedFd) -> bool {
    let mut byte = [0_u8; 1];
    let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
    !matches!(rustix::net::recv(control, &mut byte, flags), Err(rustix::io::Errno::AGAIN))
}
