//! Start, freeze, thaw, more programs, and ends of every kind, after which nothing is left.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod common;

use std::{
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read},
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
};

use common::{Killed, Mode, Place, alive, eventually, exists, is_root, modes, text};
use glasshouse_sandbox::{Config, Executable, Exit, Freezer, Lease, PageOut, Program, Sandbox, UseCgroups, sweep};

fn program(args: &[&str]) -> Program {
    Program {
        executable: Executable::Inside(args[0].into()),
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
    }
}

fn config(place: &Place, name: &str, args: &[&str]) -> Config {
    let stage = vec![place.program.clone().into(), "sandbox-stage".into()];
    let mut config = Config::new(format!("{name}-{}", std::process::id()), stage, program(args));
    config.state = Some(own_state(place));
    config.binds.push(glasshouse_sandbox::Bind {
        source: place.program.clone(),
        target: "/opt/walls".into(),
        writable: false,
        executable: true,
        optional: false,
    });
    config
}

fn own_state(place: &Place) -> std::path::PathBuf {
    place.state(if is_root() { Mode::Root } else { Mode::Ordinary })
}

fn launch(place: &Place, config: Config) -> Sandbox {
    Sandbox::launch(config, Lease::claim(&own_state(place)).unwrap(), Vec::new()).unwrap()
}

/// Every directory of a cgroup of a session with this in its name.
fn cgroups(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut look = vec![Path::new("/sys/fs/cgroup").to_path_buf()];
    while let Some(dir) = look.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let file = entry.file_name().to_string_lossy().into_owned();
                if file.starts_with("glasshouse-") && file.contains(name) {
                    found.push(entry.path().display().to_string());
                }
                look.push(entry.path());
            }
        }
    }
    found
}

fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn process_1_ends_and_all_end() {
    let place = Place::new();
    for mode in modes() {
        let script = "/opt/walls wait background & echo started; read line";
        let mut child = place.launch(*mode, &["--print-pid"], &["/bin/sh", "-c", script]);
        let mut child = Killed(child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        // The launcher's line and the program's come in either order.
        let mut said: Vec<String> = lines.take(2).map(Result::unwrap).collect();
        said.sort();
        assert_eq!(said[1], "started");
        let pid: i32 = said[0].trim_start_matches("PID ").parse().unwrap();
        let tree = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let background: i32 = tree.split_ascii_whitespace().next().unwrap().parse().unwrap();
        assert!(alive(background));
        drop(child.0.stdin.take());
        assert!(!child.0.wait().unwrap().success(), "sh ends as read finds no line");
        eventually("the background process is gone", || !alive(background));
        assert!(!alive(pid));
    }
}

#[test]
fn the_server_is_killed_and_all_end() {
    let place = Place::new();
    for mode in modes() {
        let mut child =
            place.launch(*mode, &["--print-pid", "--name", "orphan"], &["/bin/sh", "-c", "/opt/walls wait & wait"]);
        let mut child = Killed(child.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let pid: i32 = lines.next().unwrap().unwrap().trim_start_matches("PID ").parse().unwrap();
        eventually("its child runs", || {
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).is_ok_and(|text| !text.trim().is_empty())
        });
        let tree = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let inner: i32 = tree.split_ascii_whitespace().next().unwrap().parse().unwrap();
        let server = server_of(pid);
        assert!(exists(place.state(*mode).join("sessions/orphan")));
        kill(server);
        let _ = child.0.wait();
        eventually("process 1 is gone", || !alive(pid));
        eventually("its child is gone", || !alive(inner));
        if is_root() && *mode == Mode::Ordinary {
            // What others have written is not believed: it names files to remove.
            assert!(sweep(&place.state(*mode)).unwrap_err().to_string().contains("belongs to somebody else"));
            std::os::unix::fs::chown(place.state(*mode).join("sessions"), Some(0), Some(0)).unwrap();
        }
        // The next server clears away what is left.
        assert_eq!(sweep(&place.state(*mode)).unwrap(), ["orphan"]);
        assert!(!exists(place.state(*mode).join("sessions/orphan")));
        assert_eq!(cgroups("orphan"), Vec::<String>::new());
    }
}

fn server_of(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_frozen_session_of_a_killed_server_is_found() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut child = place.launch(Mode::Root, &["--print-pid", "--name", "icy"], &["/opt/walls", "spin"]);
    let mut child = Killed(child.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let pid: i32 = lines.next().unwrap().unwrap().trim_start_matches("PID ").parse().unwrap();
    let made = cgroups("icy");
    assert!(!made.is_empty());
    for dir in &made {
        // As version 1 freezes, which keeps a killed process from dying.
        if Path::new(dir).join("freezer.state").exists() {
            fs::write(Path::new(dir).join("freezer.state"), "FROZEN").unwrap();
        }
    }
    kill(server_of(pid));
    let _ = child.0.wait();
    assert_eq!(sweep(&place.state(Mode::Root)).unwrap(), ["icy"]);
    eventually("process 1 is gone", || !alive(pid));
    assert_eq!(cgroups("icy"), Vec::<String>::new());
}

#[test]
fn a_name_is_taken_once() {
    let place = Place::new();
    let one = launch(&place, config(&place, "twin", &["/opt/walls", "wait"]));
    let lease = Lease::claim(&own_state(&place)).unwrap();
    if is_root() {
        assert_ne!(lease.id(), one.lease().id());
    }
    let again = Sandbox::launch(config(&place, "twin", &["/opt/walls", "wait"]), lease, Vec::new());
    assert!(again.unwrap_err().to_string().contains("is running"));
    let name = format!("twin-{}", std::process::id());
    drop(one);
    assert!(!exists(own_state(&place).join("sessions").join(&name)));
    drop(launch(&place, config(&place, "twin", &["/opt/walls", "wait"])));
}

#[test]
fn a_start_that_fails_says_why_and_leaves_nothing() {
    let place = Place::new();
    let try_it = |config: Config| {
        Sandbox::launch(config, Lease::claim(&own_state(&place)).unwrap(), Vec::new()).unwrap_err().to_string()
    };
    let missing = try_it(config(&place, "fail", &["/opt/nothing"]));
    assert!(missing.contains("/opt/nothing") && missing.contains("No such file"), "{missing}");
    let mut bad = config(&place, "fail", &["/opt/walls", "wait"]);
    bad.binds[0].source = "/nonexistent/file".into();
    let missing = try_it(bad);
    assert!(missing.contains("/nonexistent/file"), "{missing}");
    let mut bad = config(&place, "fail", &["/opt/walls", "wait"]);
    bad.stage = vec!["/nonexistent/stage".into()];
    assert!(try_it(bad).contains("/nonexistent/stage"));
    let mut bad = config(&place, "fail", &["/opt/walls", "wait"]);
    bad.name = "../x".into();
    assert!(try_it(bad).contains("session name"));
    assert_eq!(cgroups(&format!("fail-{}", std::process::id())), Vec::<String>::new());
    assert_eq!(fs::read_dir(own_state(&place).join("sessions")).unwrap().count(), 0);
}

fn spinning(place: &Place, name: &str, cgroups: UseCgroups) -> (Sandbox, i32) {
    let mut config = config(place, name, &["/bin/sh", "-c", "/opt/walls spin & wait"]);
    config.limits.cgroups = cgroups;
    let sandbox = launch(place, config);
    let pid = sandbox.init().pid();
    let child = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    eventually("it spins", || child().trim().parse::<i32>().is_ok_and(|pid| ticks(pid) > 2));
    let spinner = child().trim().parse().unwrap();
    (sandbox, spinner)
}

#[test]
fn a_frozen_session_uses_no_processor() {
    let place = Place::new();
    for cgroups in [UseCgroups::IfPossible, UseCgroups::Never] {
        let (sandbox, spinner) = spinning(&place, "frost", cgroups);
        println!("frozen by {:?}", sandbox.freezer());
        if cgroups == UseCgroups::Never {
            assert_eq!(sandbox.freezer(), Freezer::Signals);
        }
        for _ in 0..3 {
            sandbox.freeze().unwrap();
            assert!(sandbox.is_frozen());
            // Time must pass for the claim to mean anything: another process of ours takes it. Some at first, since the kernel
            // counts a process as frozen that is about to leave its processor, for which it may need one more turn.
            let frozen = ticks(spinner);
            let mut other = Killed(std::process::Command::new(&place.program).arg("spin").spawn().unwrap());
            let pid = i32::try_from(other.0.id()).unwrap();
            eventually("another process began", || ticks(pid) > 5);
            let before = ticks(spinner);
            assert!(before <= frozen + 1, "{} ticks after it was frozen", before - frozen);
            eventually("another process ran", || ticks(pid) > 25);
            let _ = other.0.kill();
            assert_eq!(ticks(spinner), before, "not a tick while frozen");
            assert!(sandbox.exec(program(&["/usr/bin/true"]), &[]).is_err());
            sandbox.thaw().unwrap();
            eventually("it goes on", || ticks(spinner) > before);
        }
        // Frozen ones can be ended, too.
        sandbox.freeze().unwrap();
        let pid = sandbox.init().pid();
        drop(sandbox);
        assert!(!alive(pid) && !alive(spinner));
    }
}

#[test]
fn paging_out_says_what_it_did() {
    let place = Place::new();
    let sandbox = launch(&place, config(&place, "page", &["/opt/walls", "wait"]));
    assert!(sandbox.page_out().is_err(), "it must be frozen first");
    sandbox.freeze().unwrap();
    let swap = fs::read_to_string("/proc/swaps").unwrap().lines().count() > 1;
    match sandbox.page_out().unwrap() {
        PageOut::Done { bytes } => assert!(swap && bytes > 0),
        // Whose cgroup limits memory may have it reclaimed, root or not.
        PageOut::Unavailable(why) => {
            assert!(!swap || !is_root() && sandbox.unlimited().contains(&"memory"), "{why}");
        }
    }
    sandbox.thaw().unwrap();
}

#[test]
fn one_more_program_is_within_the_same_walls() {
    let place = Place::new();
    let sandbox = launch(&place, config(&place, "more", &["/opt/walls", "wait"]));
    let run = |args: &[&str]| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let fds = vec![(OwnedFd::from(writer), 1)];
        let process = sandbox.exec(program(args), &fds).unwrap();
        drop(fds);
        let mut out = String::new();
        reader.read_to_string(&mut out).unwrap();
        (process.wait(), out)
    };
    assert_eq!(run(&["/bin/sh", "-c", "echo hello; exit 7"]), (Exit::Code(7), "hello\n".into()));
    let (_, out) = run(&["/bin/sh", "-c", "id -u; hostname; tr '\\0' ' ' < /proc/1/cmdline; ls /proc/self/fd"]);
    assert!(out.starts_with("1000\nsession\n/opt/walls wait"), "{out}");
    for kind in ["user", "pid", "mnt", "ipc", "uts", "net", "cgroup"] {
        let (_, out) = run(&["/bin/readlink", &format!("/proc/self/ns/{kind}")]);
        let first = fs::read_link(format!("/proc/{}/ns/{kind}", sandbox.init().pid())).unwrap();
        assert_eq!(out.trim(), first.to_str().unwrap());
    }
    for attack in ["mount-in-userns", "capabilities", "ptrace", "io-uring", "descriptors", "raise-limit"] {
        let (exit, out) = run(&["/opt/walls", "attack", attack]);
        assert_eq!(exit, Exit::Code(0), "{attack}: {out}");
    }
    if is_root() {
        let (_, out) = run(&["/bin/cat", "/proc/self/cgroup"]);
        // Where no hierarchy of version 1 has the memory, that of version 2 does.
        let line = |sign: &str| out.lines().find(|line| line.contains(sign)).map(str::to_owned);
        let own = line(":memory:").or_else(|| line("0::")).unwrap_or_default();
        assert!(own.ends_with(":/"), "it is in the session's: {out}");
    }
    // It ends with the session.
    let stays = sandbox.exec(program(&["/opt/walls", "wait"]), &[]).unwrap();
    let pid = stays.pid();
    assert!(alive(pid));
    sandbox.kill();
    eventually("it is gone", || !alive(pid));
}

#[test]
fn more_programs_as_an_ordinary_user() {
    if is_root() {
        // This very test, by that user.
        let place = Place::new();
        let copy = place.dir.join("lifecycle");
        common::copy(std::env::current_exe().unwrap(), &copy);
        let done = std::process::Command::new("setpriv")
            .args([format!("--reuid={}", common::ORDINARY), format!("--regid={}", common::ORDINARY)])
            .args(["--clear-groups", "--inh-caps=-all", "--"])
            .arg(&copy)
            .args(["--exact", "one_more_program_is_within_the_same_walls", "a_frozen_session_uses_no_processor"])
            .env("WALLS_TEST", &place.program)
            .output()
            .unwrap();
        assert!(done.status.success() && text(&done).contains("2 passed"), "{}", text(&done));
    }
}

#[test]
fn fifty_sessions_leave_nothing() {
    let place = Place::new();
    let count = || {
        let sockets =
            fs::read_to_string("/proc/self/net/unix").unwrap().lines().filter(|l| l.contains("glasshouse")).count();
        let fds = fs::read_dir("/proc/self/fd").unwrap().count();
        (fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count(), sockets, fds)
    };
    // Once before counting: the thread that starts sessions, and lock files, stay.
    drop(launch(&place, config(&place, "many-0", &["/opt/walls", "wait"])));
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let (before, threads_before) = (count().0, threads());
    let mut pids = Vec::new();
    let mut ids = Vec::new();
    for round in 0..50 {
        let mut config =
            config(&place, &format!("many-{round}"), &["/bin/sh", "-c", "/opt/walls wait & /opt/walls wait & wait"]);
        config.listeners = vec!["127.0.0.1:3128".parse().unwrap()];
        let mut sandbox = launch(&place, config);
        let trash = place.dir.join(format!("trash-{round}"));
        fs::create_dir(&trash).unwrap();
        sandbox.remove_at_end(trash.clone()).unwrap();
        pids.push(sandbox.init().pid());
        ids.push(sandbox.lease().id());
        match round % 5 {
            0 => {
                sandbox.kill();
            }
            1 => sandbox.freeze().unwrap(),
            2 => sandbox.init().signal(libc::SIGKILL).unwrap(),
            3 => drop(sandbox.take_listeners()),
            _ => {}
        }
        drop(sandbox);
        assert!(!exists(&trash));
    }
    for pid in pids {
        assert!(!alive(pid));
    }
    if is_root() {
        let left = fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            use std::os::unix::fs::MetadataExt;
            entry.metadata().is_ok_and(|meta| ids.contains(&meta.uid()) && meta.is_dir())
        });
        // Other tests of this program may have taken the ids again.
        let ours = left.filter(|entry| {
            fs::read_to_string(entry.path().join("cmdline")).is_ok_and(|line| line.contains("walls wait & /opt"))
        });
        assert_eq!(ours.count(), 0);
    }
    assert_eq!(
        cgroups("many-").into_iter().filter(|dir| dir.ends_with(&format!("-{}", std::process::id()))).count(),
        0
    );
    assert_eq!(count().0, before, "mounts");
    // Threads of other tests come and go; ours would be fifty.
    assert!(threads() < threads_before + 20);
}
