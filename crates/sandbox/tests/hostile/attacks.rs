//! Attempts at what is outside the walls.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpStream, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixStream},
        },
    },
    process::Command,
    time::Duration,
};

use crate::sys::{call, check, reaches};

pub(crate) type Attack = fn(&[&str]) -> Result<String, String>;

pub(crate) fn find(name: &str) -> Option<Attack> {
    let attack: Attack = match name {
        "read-file" => |args| text(fs::read_to_string(args[0])),
        "read-shadow" => |_| text(fs::read_to_string("/etc/shadow")),
        "list" => |args| fs::read_dir(args[0]).map(|d| format!("{} entries", d.count())).map_err(|e| e.to_string()),
        "write-file" => |args| {
            fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(args[0])
                .map(|_| "opened".into())
                .map_err(|e| e.to_string())
        },
        "see-process" => see_process,
        "signal" => |args| pid(args).and_then(|pid| sure(unsafe_free::kill(pid, 0))),
        "environment" => environment,
        "descriptors" => descriptors,
        "ptrace" => ptrace,
        "read-memory" => read_memory,
        "steal-descriptor" => steal_descriptor,
        "mount" => |_| mount(),
        "mount-in-userns" => |_| {
            sure(unsafe_free::unshare(libc::CLONE_NEWUSER))?;
            sure(unsafe_free::unshare(libc::CLONE_NEWNS))?;
            mount()
        },
        "open-tree" => |_| {
            const OPEN_TREE_CLONE: usize = 1;
            let at = libc::AT_FDCWD as isize as usize;
            reaches(libc::SYS_open_tree, [at, c"/".as_ptr() as usize, OPEN_TREE_CLONE, 0, 0, 0], &[])
        },
        "fsopen" => |_| reaches(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 0, 0, 0, 0, 0], &[]),
        "pivot-root" => |_| {
            let path = c"/tmp".as_ptr() as usize;
            reaches(libc::SYS_pivot_root, [path, path, 0, 0, 0, 0], &[libc::EINVAL, libc::EBUSY])
        },
        "setns" => setns,
        "unshare-mounts" => |_| sure(unsafe_free::unshare(libc::CLONE_NEWNS)),
        "unshare-uts" => |_| sure(unsafe_free::unshare(libc::CLONE_NEWUTS)),
        "unshare-in-userns" => |_| {
            sure(unsafe_free::unshare(libc::CLONE_NEWUSER))?;
            sure(unsafe_free::unshare(libc::CLONE_NEWUTS))
        },
        "hostname" => |_| {
            let name = fs::read_to_string("/proc/sys/kernel/hostname").map_err(|e| e.to_string())?;
            rustix::system::sethostname(name.trim().as_bytes()).map(|()| "set".into()).map_err(|e| e.to_string())
        },
        "bpf" => |_| {
            let attr = [0_u8; 128];
            reaches(libc::SYS_bpf, [0, attr.as_ptr() as usize, attr.len(), 0, 0, 0], &[libc::EINVAL])
        },
        "keyctl" => |_| reaches(libc::SYS_keyctl, [0, (-3_isize) as usize, 1, 0, 0, 0], &[]),
        "add-key" => |_| {
            let (kind, name, value) = (c"user".as_ptr(), c"glasshouse-test".as_ptr(), c"x".as_ptr());
            let ring = (-2_isize) as usize;
            reaches(libc::SYS_add_key, [kind as usize, name as usize, value as usize, 1, ring, 0], &[])
        },
        "perf" => |_| {
            let mut attr = [0_u8; 128];
            attr[0] = 1; // PERF_TYPE_SOFTWARE
            attr[4] = 128; // size
            reaches(
                libc::SYS_perf_event_open,
                [attr.as_ptr() as usize, 0, usize::MAX, usize::MAX, 0, 0],
                &[libc::EINVAL],
            )
        },
        "io-uring" => |_| {
            let params = [0_u8; 120];
            reaches(libc::SYS_io_uring_setup, [4, params.as_ptr() as usize, 0, 0, 0, 0], &[])
        },
        "userfaultfd" => |_| reaches(libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0], &[]),
        // With wrong magic numbers, which are looked at after the right to reboot.
        "reboot" => |_| reaches(libc::SYS_reboot, [0, 0, 0, 0, 0, 0], &[libc::EINVAL]),
        "set-clock" => set_clock,
        "read-adjtime" => |_| {
            let buffer = [0_u8; 256];
            reaches(libc::SYS_adjtimex, [buffer.as_ptr() as usize, 0, 0, 0, 0, 0], &[])
        },
        // Let through it fails at the null pointer; a kernel without modules says ENOSYS to everybody.
        "load-module" => |_| reaches(libc::SYS_init_module, [0; 6], &[libc::EFAULT, libc::ENOEXEC, libc::ENOSYS]),
        "kexec" => |_| reaches(libc::SYS_kexec_load, [0, 0, 0, usize::MAX, 0, 0], &[libc::EINVAL, libc::ENOSYS]),
        "swapoff" => {
            |_| reaches(libc::SYS_swapoff, [c"/nonexistent".as_ptr() as usize, 0, 0, 0, 0, 0], &[libc::ENOENT])
        }
        "kernel-log" => |_| reaches(libc::SYS_syslog, [10, 0, 0, 0, 0, 0], &[]),
        "file-handle" => |_| {
            let handle = [0_u8; 256];
            let at = libc::AT_FDCWD as isize as usize;
            let let_through = [libc::EOVERFLOW, libc::EINVAL];
            let mount = 0_i32;
            let args = [at, c"/".as_ptr() as usize, handle.as_ptr() as usize, (&raw const mount) as usize, 0, 0];
            reaches(libc::SYS_name_to_handle_at, args, &let_through)
        },
        "fanotify" => |_| reaches(libc::SYS_fanotify_init, [0; 6], &[]),
        "raw-socket" => |_| sure(unsafe_free::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)),
        "packet-socket" => |_| sure(unsafe_free::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)),
        "packet-socket-in-userns" => |_| {
            sure(unsafe_free::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))?;
            sure(unsafe_free::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0))
        },
        "nftables-in-userns" => |_| {
            sure(unsafe_free::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET))?;
            sure(unsafe_free::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER))
        },
        "vsock" => |_| sure(unsafe_free::socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)),
        "alg-socket" => |_| sure(unsafe_free::socket(libc::AF_ALG, libc::SOCK_SEQPACKET, 0)),
        "mptcp-socket" => |_| sure(unsafe_free::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_MPTCP)),
        "run-setuid" => |args| {
            let out = Command::new(args[0]).arg("euid").output().map_err(|e| e.to_string())?;
            let euid = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            let own = rustix::process::geteuid().as_raw().to_string();
            if euid == own { Err(format!("it ran as {own}, as ourselves")) } else { Ok(format!("it ran as {euid}")) }
        },
        "become-root" => |_| {
            rustix::thread::set_thread_uid(rustix::process::Uid::ROOT).map(|()| "set".into()).map_err(|e| e.to_string())
        },
        "capabilities" => |_| {
            let status = fs::read_to_string("/proc/self/status").map_err(|e| e.to_string())?;
            let any: Vec<&str> =
                status.lines().filter(|line| line.starts_with("Cap") && !line.ends_with("0000000000000000")).collect();
            if any.is_empty() { Err("all sets are empty".into()) } else { Ok(any.join(", ")) }
        },
        "abstract-socket" => |args| {
            let address = SocketAddr::from_abstract_name(args[0]).map_err(|e| e.to_string())?;
            UnixStream::connect_addr(&address).map(|_| "connected".into()).map_err(|e| e.to_string())
        },
        "unix-socket" => |args| UnixStream::connect(args[0]).map(|_| "connected".into()).map_err(|e| e.to_string()),
        "tcp" => |args| {
            let address = args[0].parse().map_err(|_| "address".to_owned())?;
            TcpStream::connect_timeout(&address, Duration::from_secs(30))
                .map(|_| "connected".into())
                .map_err(|e| e.to_string())
        },
        "fetch" => fetch,
        "udp" => |args| {
            let socket = UdpSocket::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
            socket.set_read_timeout(Some(Duration::from_secs(30))).map_err(|e| e.to_string())?;
            socket.send_to(b"ping", args[0]).map_err(|e| e.to_string())?;
            let mut buffer = [0; 16];
            socket.recv(&mut buffer).map(|_| "answered".into()).map_err(|e| e.to_string())
        },
        "interfaces" => |_| {
            let text = fs::read_to_string("/proc/self/net/dev").map_err(|e| e.to_string())?;
            let others: Vec<&str> = text
                .lines()
                .skip(2)
                .filter_map(|line| line.split(':').next())
                .map(str::trim)
                .filter(|name| *name != "lo")
                .collect();
            if others.is_empty() { Err("loopback only".into()) } else { Ok(others.join(", ")) }
        },
        "sysv-memory" => |args| {
            let key: usize = args[0].parse().map_err(|_| "key".to_owned())?;
            reaches(libc::SYS_shmget, [key, 0, 0, 0, 0, 0], &[])
        },
        "make-device" => |args| {
            let path = std::ffi::CString::new(args[0]).map_err(|e| e.to_string())?;
            // SAFETY: the path is a live C string.
            sure(check(unsafe { libc::mknod(path.as_ptr(), libc::S_IFBLK | 0o600, libc::makedev(1, 0)) }))
        },
        "open-device" => |args| fs::File::open(args[0]).map(|_| "opened".into()).map_err(|e| e.to_string()),
        "overwrite-init" => |_| {
            use rustix::fs::{CWD, Mode, OFlags, openat};
            // By way of a descriptor without rights, as the known attack does, so that a running file is no obstacle.
            let path = openat(CWD, "/proc/1/exe", OFlags::PATH, Mode::empty()).map_err(|e| e.to_string())?;
            let meta = fs::metadata(format!("/proc/self/fd/{}", path.as_raw_fd())).map_err(|e| e.to_string())?;
            match rustix::fs::accessat(
                CWD,
                format!("/proc/self/fd/{}", path.as_raw_fd()),
                rustix::fs::Access::WRITE_OK,
                rustix::fs::AtFlags::EACCESS,
            ) {
                Ok(()) => Ok(format!("inode {} is writable", meta.ino())),
                Err(e) => Err(e.to_string()),
            }
        },
        "make-executable" => |args| {
            let path = format!("{}/program", args[0]);
            fs::copy("/usr/bin/true", &path).map_err(|e| e.to_string())?;
            let ran = Command::new(&path).status();
            let _ = fs::remove_file(&path);
            ran.map(|status| format!("ran: {status}")).map_err(|e| e.to_string())
        },
        "raise-priority" => {
            |_| rustix::process::setpriority_process(None, -10).map(|()| "raised".into()).map_err(|e| e.to_string())
        }
        "raise-limit" => |_| {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
            let more = rustix::process::Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
            rustix::process::setrlimit(rustix::process::Resource::Core, more).map_err(|e| e.to_string())?;
            Ok(format!("was {:?}", limit.maximum))
        },
        "real-time" => |_| {
            let priority = 10_i32;
            reaches(libc::SYS_sched_setscheduler, [0, 1, (&raw const priority) as usize, 0, 0, 0], &[])
        },
        "type-into-terminal" => type_into_terminal,
        "other-interface" => other_interface,
        "new-call" => |_| reaches(999, [0; 6], &[]),
        _ => return None,
    };
    Some(attack)
}

fn text(read: std::io::Result<String>) -> Result<String, String> {
    match read {
        Ok(text) if text.is_empty() => Err("it is empty".into()),
        Ok(text) => Ok(format!("{} bytes", text.len())),
        Err(error) => Err(error.to_string()),
    }
}

fn sure<T: std::fmt::Debug>(result: Result<T, String>) -> Result<String, String> {
    result.map(|value| format!("{value:?}"))
}

fn pid(args: &[&str]) -> Result<i32, String> {
    args[0].parse().map_err(|_| "not a pid".to_owned())
}

/// Asks a proxy for a URL; gains what comes back, if it is not a refusal.
fn fetch(args: &[&str]) -> Result<String, String> {
    let mut stream = TcpStream::connect(args[0]).map_err(|e| e.to_string())?;
    stream.write_all(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", args[1]).as_bytes()).map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer.lines().next().unwrap_or("").into()) }
}

fn see_process(args: &[&str]) -> Result<String, String> {
    let own = std::process::id().to_string();
    let seen = fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten().find(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        entry.file_name() != *own
            && String::from_utf8_lossy(&line).contains(args[0])
            && line.windows(5).all(|w| w != b"attac")
    });
    seen.map(|entry| format!("{:?}", entry.file_name())).ok_or_else(|| "not seen".into())
}

fn environment(args: &[&str]) -> Result<String, String> {
    let leaked = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).contains(args[0]);
    let dirs = fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten();
    match dirs.filter_map(|entry| fs::read(entry.path().join("environ")).ok()).any(leaked) {
        true => Ok("found".into()),
        false => Err("not there".into()),
    }
}

fn descriptors(_: &[&str]) -> Result<String, String> {
    let mut open = Vec::new();
    for number in 3..1024 {
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) {
            open.push(format!("{number}={}", target.display()));
        }
    }
    if open.is_empty() { Err("none above 2".into()) } else { Ok(open.join(" ")) }
}

/// A child that waits, killed at the end.
struct Victim(std::process::Child);

impl Victim {
    fn new() -> Result<Self, String> {
        let exe = std::env::current_exe().map_err(|e| e.to_string())?;
        Command::new(exe).arg("wait").spawn().map(Self).map_err(|e| e.to_string())
    }

    fn id(&self) -> usize {
        self.0.id() as usize
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ptrace(_: &[&str]) -> Result<String, String> {
    let victim = Victim::new()?;
    reaches(libc::SYS_ptrace, [libc::PTRACE_SEIZE as usize, victim.id(), 0, 0, 0, 0], &[])
}

fn read_memory(_: &[&str]) -> Result<String, String> {
    let victim = Victim::new()?;
    let buffer = [0_u8; 8];
    let local = libc::iovec { iov_base: buffer.as_ptr().cast_mut().cast(), iov_len: 8 };
    let remote = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 8 };
    let args = [victim.id(), (&raw const local) as usize, 1, (&raw const remote) as usize, 1, 0];
    reaches(libc::SYS_process_vm_readv, args, &[libc::EFAULT])
}

fn steal_descriptor(_: &[&str]) -> Result<String, String> {
    let victim = Victim::new()?;
    let pidfd = call(libc::SYS_pidfd_open, [victim.id(), 0, 0, 0, 0, 0])?;
    reaches(libc::SYS_pidfd_getfd, [usize::try_from(pidfd).unwrap_or(0), 0, 0, 0, 0, 0], &[])
}

fn mount() -> Result<String, String> {
    // Somewhere private, so that it changes nothing where it works.
    if unsafe_free::unshare(libc::CLONE_NEWNS).is_ok() {
        let _ = rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
        );
    }
    rustix::mount::mount("none", "/tmp", "tmpfs", rustix::mount::MountFlags::empty(), None)
        .map(|()| "mounted".into())
        .map_err(|e| e.to_string())
}

fn setns(_: &[&str]) -> Result<String, String> {
    let file = fs::File::open("/proc/self/ns/uts").map_err(|e| e.to_string())?;
    let fd = usize::try_from(file.as_raw_fd()).map_err(|e| e.to_string())?;
    reaches(libc::SYS_setns, [fd, 0, 0, 0, 0, 0], &[])
}

fn set_clock(_: &[&str]) -> Result<String, String> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls get a pointer to a live struct; the clock is set to what it says.
    let done = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const now)
    };
    sure(check(done))
}

/// TIOCSTI on a terminal of our own: needs the filter to be refused where the kernel still has it.
fn type_into_terminal(_: &[&str]) -> Result<String, String> {
    let master = fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx").map_err(|e| e.to_string())?;
    let byte = b'x';
    // SAFETY: the ioctl reads one byte.
    let done = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSTI, &raw const byte) };
    match check(done) {
        Ok(_) => Ok("typed".into()),
        // The kernel's own refusal (dev.tty.legacy_tiocsti=0) shows that the filter let it through.
        Err(why) if why.contains("Input/output") => Ok(format!("let through: {why}")),
        Err(why) => Err(why),
    }
}

/// `ptrace` by the numbers of the 32-bit and the x32 interface, which a list of numbers would not catch.
fn other_interface(_: &[&str]) -> Result<String, String> {
    #[cfg(target_arch = "x86_64")]
    {
        let x32 = reaches(0x4000_0000 | 521, [usize::MAX, 0, 0, 0, 0, 0], &[libc::EIO, libc::ESRCH]);
        let result: i64;
        // SAFETY: getpid by the 32-bit interface; it touches no memory.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => result, options(nostack));
        }
        match (x32, result) {
            (Ok(what), _) => Ok(what),
            (_, pid @ 1..) => Ok(format!("32-bit getpid says {pid}")),
            (Err(why), error) => Err(format!("x32: {why}; 32-bit: {error}")),
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    Err("there is no other interface".into())
}

/// Calls without pointers.
mod unsafe_free {
    use crate::sys::check;

    pub(super) fn kill(pid: i32, signal: i32) -> Result<i32, String> {
        // SAFETY: no memory is involved.
        check(unsafe { libc::kill(pid, signal) })
    }

    pub(super) fn unshare(flags: i32) -> Result<i32, String> {
        // SAFETY: no memory is involved.
        check(unsafe { libc::unshare(flags) })
    }

    pub(super) fn socket(family: i32, kind: i32, protocol: i32) -> Result<i32, String> {
        // SAFETY: no memory is involved.
        check(unsafe { libc::socket(family, kind, protocol) })
    }
}
