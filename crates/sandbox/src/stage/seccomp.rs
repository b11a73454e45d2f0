//! The system calls that no program of a session may make.
//!
//! A list of what is denied, not of what is allowed, because a session runs any program; what the kernel learns after
//! this was written does not exist inside ([`LAST_KNOWN`]). Denied calls fail as they would without the right or
//! without the feature, so that programs go on.

use std::{collections::BTreeMap, io};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter, sock_filter,
};

/// The last system call that this list was checked against: `listns` of Linux 6.19.
const LAST_KNOWN: u32 = 470;

/// `open_tree_attr` of Linux 6.15; the same number everywhere.
const OPEN_TREE_ATTR: libc::c_long = 467;

/// Number from which `x86_64` calls are those of the x32 interface, which would go past a list of numbers.
#[cfg(all(test, target_arch = "x86_64"))]
const X32: u32 = 0x4000_0000;

/// Fail with EPERM whatever their arguments are.
const DENIED: &[libc::c_long] = &[
    // Mounts; Chromium needs chroot only.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_setns,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Big doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_quotactl,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    // The machine.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
];

#[cfg(target_arch = "x86_64")]
const DENIED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: &[libc::c_long] = &[libc::SYS_kexec_file_load];

/// Look as if the kernel did not have them: programs then do without.
const ABSENT: &[libc::c_long] = &[
    // Its flags are in memory, where a filter cannot look; the C library then uses `clone`.
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_quotactl_fd,
];

/// New namespaces that a program may not make. User, pid and network ones are what
/// Chromium's sandbox is made of, and Firefox's of ipc ones as well: without them its tabs crash.
const NAMESPACES: &[i32] = &[libc::CLONE_NEWNS, libc::CLONE_NEWUTS, libc::CLONE_NEWCGROUP, CLONE_NEWTIME];

/// Not in the libc crate for all targets; linux/sched.h.
const CLONE_NEWTIME: i32 = 0x80;

/// Installs the filter on this thread for good. Needs no_new_privs.
pub(crate) fn install() -> io::Result<()> {
    for filter in filters().map_err(io::Error::other)? {
        apply_filter(&filter).map_err(io::Error::other)?;
    }
    Ok(())
}

fn filters() -> Result<[BpfProgram; 2], seccompiler::BackendError> {
    let mut denied: BTreeMap<i64, Vec<SeccompRule>> =
        DENIED.iter().chain(DENIED_HERE).map(|call| (*call, Vec::new())).collect();
    let mut add = |call: libc::c_long, rules: Vec<Vec<SeccompCondition>>| {
        let rules = rules.into_iter().map(SeccompRule::new).collect::<Result<Vec<_>, _>>()?;
        denied.insert(call, rules);
        Ok::<(), seccompiler::BackendError>(())
    };
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        let mut rules = Vec::new();
        for flag in NAMESPACES {
            // `clone` keeps the signal number in its low byte, where CLONE_NEWTIME is.
            if call == libc::SYS_unshare || *flag != CLONE_NEWTIME {
                let flag = u64::from(flag.cast_unsigned());
                rules.push(vec![is(0, SeccompCmpOp::MaskedEq(flag), flag)?]);
            }
        }
        add(call, rules)?;
    }
    // Typing into another's terminal, and the console's selection.
    let ioctls = [libc::TIOCSTI, libc::TIOCLINUX];
    add(
        libc::SYS_ioctl,
        ioctls
            .iter()
            .map(|ioctl| Ok(vec![is(1, SeccompCmpOp::Eq, *ioctl)?]))
            .collect::<Result<_, seccompiler::BackendError>>()?,
    )?;
    add(libc::SYS_socket, sockets()?)?;
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    Ok([program(denied, libc::EPERM)?, program(absent, libc::ENOSYS)?])
}

/// Sockets that are refused: all but Unix, TCP, UDP, and netlink for routes (read by Chromium) and device events.
/// Within a user namespace of its own, a program could otherwise reach packet sockets and nftables.
fn sockets() -> Result<Vec<Vec<SeccompCondition>>, seccompiler::BackendError> {
    use SeccompCmpOp::{Eq, Ge, Le, MaskedEq};
    let family = |op, value: i32| is(0, op, value.cast_unsigned().into());
    let protocol = |op, value: i32| is(2, op, value.cast_unsigned().into());
    let kind = |value: i32| is(1, MaskedEq(0xf), value.cast_unsigned().into());
    let mut rules = vec![
        vec![family(Eq, libc::AF_UNSPEC)?],
        vec![family(Ge, libc::AF_INET + 1)?, family(Le, libc::AF_INET6 - 1)?],
        vec![family(Ge, libc::AF_INET6 + 1)?, family(Le, libc::AF_NETLINK - 1)?],
        vec![family(Ge, libc::AF_NETLINK + 1)?],
        vec![family(Eq, libc::AF_NETLINK)?, protocol(Ge, 1)?, protocol(Le, libc::NETLINK_KOBJECT_UEVENT - 1)?],
        vec![family(Eq, libc::AF_NETLINK)?, protocol(Ge, libc::NETLINK_KOBJECT_UEVENT + 1)?],
    ];
    for inet in [libc::AF_INET, libc::AF_INET6] {
        for refused in [libc::SOCK_RAW, libc::SOCK_RDM, libc::SOCK_SEQPACKET, libc::SOCK_DCCP] {
            rules.push(vec![family(Eq, inet)?, kind(refused)?]);
        }
        // Of the protocols, TCP (6) and UDP (17).
        rules.push(vec![family(Eq, inet)?, protocol(Ge, 1)?, protocol(Le, 5)?]);
        rules.push(vec![family(Eq, inet)?, protocol(Ge, 7)?, protocol(Le, 16)?]);
        rules.push(vec![family(Eq, inet)?, protocol(Ge, 18)?]);
    }
    Ok(rules)
}

fn is(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

fn program(rules: BTreeMap<i64, Vec<SeccompRule>>, errno: i32) -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    let filter: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, action, arch)?.try_into()?;
    // Its first three instructions kill a program that uses another architecture's calls; ours make them fail.
    let (check, body) = filter.split_at(3);
    let mut program = prologue(check[1].k);
    program.extend_from_slice(body);
    Ok(program)
}

/// Calls of another architecture (32-bit on a 64-bit kernel), of x32, and newer than this list do not exist.
fn prologue(audit_arch: u32) -> BpfProgram {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const NUMBER_AT: u32 = 0; // offsetof(struct seccomp_data, nr)
    const ARCH_AT: u32 = 4; // offsetof(struct seccomp_data, arch)
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        instruction(LOAD, 0, 0, ARCH_AT),
        instruction(JUMP_EQUAL, 1, 0, audit_arch),
        instruction(RETURN, 0, 0, absent),
        instruction(LOAD, 0, 0, NUMBER_AT),
        // Above, as unsigned, is also where the x32 calls are.
        instruction(JUMP_GREATER, 0, 1, LAST_KNOWN),
        instruction(RETURN, 0, 0, absent),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_architecture_check_that_is_replaced_is_where_it_is_expected() {
        let arch = TargetArch::try_from(std::env::consts::ARCH).unwrap();
        let rules = BTreeMap::from([(libc::SYS_ptrace, Vec::new())]);
        let filter: BpfProgram =
            SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(1), arch).unwrap().try_into().unwrap();
        assert_eq!((filter[0].code, filter[0].k), (0x20, 4));
        assert_eq!((filter[1].code, filter[1].jt, filter[1].jf), (0x15, 1, 0));
        assert_eq!((filter[2].code, filter[2].k), (0x06, libc::SECCOMP_RET_KILL_PROCESS));
        assert_eq!((filter[3].code, filter[3].k), (0x20, 0));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn x32_is_above_the_last_known_call() {
        const { assert!(X32 > LAST_KNOWN) };
    }
}
