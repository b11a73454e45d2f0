//! A hostile native program inside the walls: what it tries works outside and is refused inside.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod common;

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener},
        },
    },
    process::Command,
};

use common::{Killed, Mode, Place, is_root, modes, text};

/// A segment of System V shared memory, removed at the end.
struct Segment(i32);

impl Segment {
    fn new(key: i32) -> Self {
        // SAFETY: makes a segment; no memory is involved.
        let id = unsafe { libc::shmget(key, 4096, libc::IPC_CREAT | 0o666) };
        assert!(id >= 0, "shmget: {}", std::io::Error::last_os_error());
        Self(id)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // SAFETY: marks our segment for removal.
        unsafe { libc::shmctl(self.0, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

/// Whether the same act, as root outside, must succeed.
#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Works,
    /// This kernel may not have it at all; inside it must be refused all the same.
    May,
}
use Outside::{May, Works};

#[test]
fn everything_it_tries_is_refused() {
    let place = Place::new();
    let secret = place.dir.join("secret");
    fs::write(&secret, "of the host").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let setuid = place.dir.join("setuid");
    common::copy(&place.program, &setuid);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o6755)).unwrap();

    let marker = format!("marker-{}", std::process::id());
    let victim =
        Command::new(&place.program).args(["wait", &marker]).env("GLASSHOUSE_SECRET", &marker).spawn().unwrap();
    let victim = Killed(victim);
    let victim_pid = victim.0.id().to_string();
    let abstract_name = format!("glasshouse-test-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
    let socket_path = place.dir.join("socket");
    let _socket = UnixListener::bind(&socket_path).unwrap();
    fs::set_permissions(&socket_path, fs::Permissions::from_mode(0o777)).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = tcp.local_addr().unwrap().to_string();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp_address = udp.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(b"pong", from);
        }
    });
    let key = 0x6c00_0000 | i32::try_from(std::process::id() & 0xff_ffff).unwrap();
    let _segment = Segment::new(key);
    let key = key.to_string();

    let secret = secret.to_str().unwrap();
    let socket_path = socket_path.to_str().unwrap();
    let dir = place.dir.to_str().unwrap();
    let new_file = place.dir.join("new");
    let new_file = new_file.to_str().unwrap();
    let attacks: &[(&str, &[&str], Outside)] = &[
        ("read-file", &[secret], Works),
        ("read-shadow", &[], Works),
        ("read-file", &["/proc/cmdline"], Works),
        ("read-file", &["/proc/kallsyms"], May),
        ("list", &["/root"], Works),
        ("list", &[dir], Works),
        ("list", &["/sys"], Works),
        ("list", &["/boot"], Works),
        ("write-file", &[new_file], Works),
        ("write-file", &["/usr/glasshouse-test"], May),
        ("write-file", &["/etc/passwd"], May),
        ("write-file", &["/glasshouse-test"], May),
        ("write-file", &["/dev/glasshouse-test"], May),
        ("write-file", &["/proc/sys/kernel/core_pattern"], Works),
        ("write-file", &["/proc/sysrq-trigger"], May),
        ("see-process", &[&marker], Works),
        ("environment", &[&marker], Works),
        ("signal", &[&victim_pid], Works),
        ("descriptors", &[], May),
        ("ptrace", &[], Works),
        ("read-memory", &[], Works),
        ("steal-descriptor", &[], Works),
        ("mount", &[], Works),
        ("mount-in-userns", &[], Works),
        ("open-tree", &[], Works),
        ("fsopen", &[], Works),
        ("pivot-root", &[], Works),
        ("setns", &[], Works),
        ("unshare-mounts", &[], Works),
        ("unshare-uts", &[], Works),
        ("unshare-in-userns", &[], Works),
        ("hostname", &[], Works),
        ("bpf", &[], Works),
        ("keyctl", &[], Works),
        ("add-key", &[], Works),
        ("perf", &[], May),
        ("io-uring", &[], Works),
        ("userfaultfd", &[], Works),
        ("reboot", &[], Works),
        ("set-clock", &[], Works),
        ("read-adjtime", &[], Works),
        ("load-module", &[], Works),
        ("kexec", &[], May),
        ("swapoff", &[], Works),
        ("kernel-log", &[], Works),
        ("file-handle", &[], Works),
        ("fanotify", &[], May),
        ("raw-socket", &[], Works),
        ("packet-socket", &[], Works),
        ("packet-socket-in-userns", &[], Works),
        ("nftables-in-userns", &[], Works),
        ("vsock", &[], May),
        ("alg-socket", &[], May),
        ("mptcp-socket", &[], May),
        ("become-root", &[], Works),
        ("capabilities", &[], Works),
        ("abstract-socket", &[&abstract_name], Works),
        ("unix-socket", &[socket_path], Works),
        ("tcp", &[&tcp_address], Works),
        ("udp", &[&udp_address], Works),
        ("interfaces", &[], May),
        ("sysv-memory", &[&key], Works),
        ("make-device", &["/tmp/glasshouse-test-device"], May),
        ("open-device", &["/dev/mem"], May),
        ("open-device", &["/dev/kmsg"], Works),
        ("open-device", &["/dev/vda"], May),
        ("open-device", &["/dev/fuse"], May),
        ("open-device", &["/dev/net/tun"], May),
        ("overwrite-init", &[], May),
        ("make-executable", &["/tmp"], Works),
        ("make-executable", &["/dev/shm"], Works),
        ("raise-priority", &[], Works),
        ("raise-limit", &[], May),
        ("real-time", &[], May),
        ("type-into-terminal", &[], May),
        ("other-interface", &[], May),
    ];
    for (name, args, outside) in attacks {
        let command: Vec<&str> = ["attack", name].iter().chain(*args).copied().collect();
        if *outside == Works && is_root() {
            let control = place.outside(&command);
            assert_eq!(control.status.code(), Some(1), "outside, {name} {args:?} must work: {}", text(&control));
        }
    }
    let _ = fs::remove_file("/tmp/glasshouse-test-device");
    for mode in modes() {
        for (name, args, _) in attacks {
            let mut command = vec!["/opt/walls", "attack", name];
            command.extend(*args);
            let tried = place.inside(*mode, &[], &command);
            let said = text(&tried);
            assert!(
                tried.status.code() == Some(0) && said.starts_with("REFUSED"),
                "inside as {mode:?}: {name} {args:?}: {said}"
            );
            println!("{mode:?}: {said}");
        }
    }
    drop(tcp);
}

#[test]
fn setuid_programs_run_as_their_caller() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let setuid = place.dir.join("setuid");
    common::copy(&place.program, &setuid);
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o6755)).unwrap();
    let control = place.as_mode(Mode::Ordinary).args(["attack", "run-setuid"]).arg(&setuid).output().unwrap();
    assert_eq!(control.status.code(), Some(1), "outside it becomes root: {}", text(&control));
    let bind = format!("{}:/opt/setuid", setuid.display());
    for mode in modes() {
        let tried = place.inside(*mode, &["--bind", &bind], &["/opt/walls", "attack", "run-setuid", "/opt/setuid"]);
        assert_eq!(tried.status.code(), Some(0), "{mode:?}: {}", text(&tried));
    }
}

#[test]
fn the_executable_of_process_1_cannot_be_changed_by_its_owner() {
    let place = Place::new();
    for mode in modes() {
        // As the ordinary user, the program would belong to the very user the session runs as.
        if is_root() && *mode == Mode::Ordinary {
            std::os::unix::fs::chown(&place.program, Some(common::ORDINARY), Some(common::ORDINARY)).unwrap();
        }
        let tried = place.inside(*mode, &[], &["self", "attack", "overwrite-init"]);
        assert_eq!(tried.status.code(), Some(0), "{mode:?}: {}", text(&tried));
        // As root it is somebody else's file already; as ourselves only the mount protects it.
        let reason = if *mode == Mode::Ordinary { "Read-only file system" } else { "" };
        assert!(text(&tried).contains(reason), "{mode:?}: {}", text(&tried));
    }
}

#[test]
fn links_left_in_a_profile_lead_nowhere() {
    let place = Place::new();
    for mode in modes() {
        let home = place.dir.join(format!("home-{mode:?}"));
        let victim = place.dir.join(format!("victim-{mode:?}"));
        fs::create_dir(&home).unwrap();
        fs::create_dir(&victim).unwrap();
        if is_root() {
            std::os::unix::fs::chown(&home, Some(common::ORDINARY), Some(common::ORDINARY)).unwrap();
        }
        std::os::unix::fs::symlink(&victim, home.join("Downloads")).unwrap();
        let downloads = place.dir.join(format!("downloads-{mode:?}"));
        fs::create_dir(&downloads).unwrap();
        let home = home.to_str().unwrap();
        let options = ["--home", home, "--downloads", downloads.to_str().unwrap()];
        let tried = place.inside(*mode, &options, &["/bin/sh", "-c", "echo x > /home/user/Downloads/file"]);
        assert_eq!(tried.status.code(), Some(70), "a link in the place of a mount is an error: {}", text(&tried));
        assert!(text(&tried).contains("/home/user/Downloads"), "{}", text(&tried));
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
        // And what is behind a link of the session's is the session's own world.
        fs::remove_file(format!("{home}/Downloads")).unwrap();
        std::os::unix::fs::symlink("/etc/shadow", format!("{home}/shadow")).unwrap();
        let tried = place.inside(*mode, &options, &["/bin/sh", "-c", "cat /home/user/shadow"]);
        assert_ne!(tried.status.code(), Some(0), "{}", text(&tried));
    }
}
