//! Measures what the walls cost: `cargo run --release -p glasshouse-sandbox --example walls_bench`.
//!
//! Prints medians, and ratios of two things measured in turns in one run: start of a program with and without walls;
//! freezing and thawing; one large download directly and through the way out.

use std::{
    error::Error,
    ffi::OsString,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use glasshouse_sandbox::{
    Config, Executable, Lease, PageOut, Program, Sandbox, default_state_dir,
    egress::{Policy, Proxy, ProxyConfig},
};

/// Size of the download, in bytes.
const DOWNLOAD: usize = 1 << 30;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("sandbox-stage") {
        return glasshouse_sandbox::stage::main();
    }
    // One part by its name, or all.
    if std::env::args().nth(1).as_deref() == Some("downloads") {
        return if downloads().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match starts().and_then(|()| freezing()).and_then(|()| browser()).and_then(|()| downloads()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("walls_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn print(line: &str) {
    println!("{line}");
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

fn config(name: &str, command: &[&str]) -> Result<Config, Box<dyn Error>> {
    let stage = vec![std::env::current_exe()?.into(), "sandbox-stage".into()];
    let program = Program {
        executable: Executable::Inside(command[0].into()),
        args: command.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin".into())],
        cwd: "/".into(),
    };
    Ok(Config::new(format!("measure-{name}-{}", std::process::id()), stage, program))
}

/// From the call to the first byte that the program writes.
fn starts() -> Result<(), Box<dyn Error>> {
    let (mut plain, mut walls, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..41 {
        let mut byte = [0];
        let start = Instant::now();
        let mut child = Command::new("/usr/bin/cat").arg("/proc/self/stat").stdout(Stdio::piped()).spawn()?;
        child.stdout.take().ok_or("no pipe")?.read_exact(&mut byte)?;
        plain.push(start.elapsed());
        child.wait()?;

        let mut config = config(&format!("start-{round}"), &["/usr/bin/cat", "/proc/self/stat"])?;
        config.listeners = vec!["127.0.0.1:3128".parse()?];
        let (mut reader, writer) = std::io::pipe()?;
        let start = Instant::now();
        let lease = Lease::claim(&default_state_dir())?;
        let sandbox = Sandbox::launch(config, lease, vec![(OwnedFd::from(writer), 1)])?;
        reader.read_exact(&mut byte)?;
        walls.push(start.elapsed());
        let start = Instant::now();
        drop(sandbox);
        ends.push(start.elapsed());
    }
    let (plain, walls) = (median(plain), median(walls));
    print(&format!(
        "start: plain {}, within walls {}, extra {}; end {}",
        millis(plain),
        millis(walls),
        millis(walls.saturating_sub(plain)),
        millis(median(ends))
    ));
    Ok(())
}

fn freezing() -> Result<(), Box<dyn Error>> {
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do while :; do sleep 0.01; done & done; wait";
    let sandbox = Sandbox::launch(
        config("freeze", &["/bin/sh", "-c", script])?,
        Lease::claim(&default_state_dir())?,
        Vec::new(),
    )?;
    let (mut freezes, mut thaws) = (Vec::new(), Vec::new());
    for _ in 0..41 {
        std::thread::sleep(Duration::from_millis(20));
        let start = Instant::now();
        sandbox.freeze()?;
        freezes.push(start.elapsed());
        let start = Instant::now();
        sandbox.thaw()?;
        thaws.push(start.elapsed());
    }
    sandbox.freeze()?;
    let start = Instant::now();
    let paged = match sandbox.page_out()? {
        PageOut::Done { bytes } => format!("{} MiB offered in {}", bytes >> 20, millis(start.elapsed())),
        PageOut::Unavailable(why) => why.to_owned(),
    };
    print(&format!(
        "freeze by {:?}: {}, thaw {}; page-out: {paged}",
        sandbox.freezer(),
        millis(median(freezes)),
        millis(median(thaws))
    ));
    Ok(())
}

/// Starts a browser on an X server, inside.
const BROWSER: &str = "Xvnc :7 -SecurityTypes None -rfbport -1 -nolisten tcp >/dev/null 2>&1 & \
    while [ ! -S /tmp/.X11-unix/X7 ]; do sleep 0.01; done; DISPLAY=:7 exec /usr/lib/chromium/chromium \
    --user-data-dir=/home/user/p --remote-debugging-port=9222 --no-first-run --password-store=basic \
    --disable-background-networking about:blank >/dev/null 2>&1";

/// Freezing, paging out and thawing a session with a browser. Needs root, to ask the browser in its network.
fn browser() -> Result<(), Box<dyn Error>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let sandbox = Sandbox::launch(
        config("browser", &["/bin/sh", "-c", BROWSER])?,
        Lease::claim(&default_state_dir())?,
        Vec::new(),
    )?;
    let pid = sandbox.init().pid();
    let patience = Instant::now() + Duration::from_secs(30);
    while ask_browser(pid).is_err() {
        if Instant::now() > patience {
            return Err("the browser does not answer".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(2));
    for page_out in [false, true] {
        let (mut freezes, mut answers) = (Vec::new(), Vec::new());
        let mut said = String::new();
        for _ in 0..if page_out { 3 } else { 15 } {
            let (before, swapped) = (memory(pid), zram());
            let start = Instant::now();
            sandbox.freeze()?;
            freezes.push(start.elapsed());
            if page_out {
                let start = Instant::now();
                let done = sandbox.page_out()?;
                let took = start.elapsed();
                let (after, zram) = (memory(pid), zram().saturating_sub(swapped));
                // The first time: later there is little left to page out.
                said = match done {
                    PageOut::Done { .. } if !said.is_empty() => said,
                    PageOut::Done { .. } => {
                        format!(
                            ", memory {} -> {} MiB, of it not files {} -> {} MiB, of that its own alone {} -> {} MiB, and {} MiB \
                             in zram, in {}",
                            before.all >> 10,
                            after.all >> 10,
                            before.not_files >> 10,
                            after.not_files >> 10,
                            before.own >> 10,
                            after.own >> 10,
                            zram >> 20,
                            millis(took)
                        )
                    }
                    PageOut::Unavailable(why) => format!(", {why}"),
                };
            }
            let start = Instant::now();
            sandbox.thaw()?;
            ask_browser(pid)?;
            answers.push(start.elapsed());
            std::thread::sleep(Duration::from_millis(300));
        }
        print(&format!(
            "browser{}: freeze {}, thaw to answer {}{said}",
            if page_out { ", paged out" } else { "" },
            millis(median(freezes)),
            millis(median(answers))
        ));
    }
    Ok(())
}

/// Bytes that compressed swap takes in memory, on all of the machine: the third number of each `mm_stat`.
fn zram() -> u64 {
    let devices = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let stats = devices.filter_map(|device| std::fs::read_to_string(device.path().join("mm_stat")).ok());
    stats.filter_map(|text| text.split_ascii_whitespace().nth(2)?.parse::<u64>().ok()).sum()
}

/// Memory of some processes, in KiB. What several share counts in parts.
#[derive(Default, Clone, Copy)]
struct Memory {
    all: u64,
    /// What is not in files.
    not_files: u64,
    /// What no two of them share, and no file has.
    own: u64,
}

/// That of a process and all below it.
fn memory(pid: i32) -> Memory {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    let mut total =
        Memory { all: value("Pss"), not_files: value("Pss_Anon") + value("Pss_Shmem"), own: value("Private_Dirty") };
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(memory) {
            total.all += child.all;
            total.not_files += child.not_files;
            total.own += child.own;
        }
    }
    total
}

/// Asks the browser for its version, from a thread that enters the session's network for it.
fn ask_browser(pid: i32) -> Result<(), Box<dyn Error>> {
    let asked = std::thread::spawn(move || -> std::io::Result<()> {
        let network = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&network),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )?;
        let mut stream = TcpStream::connect("127.0.0.1:9222")?;
        stream.write_all(b"GET /json/version HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])
    });
    Ok(asked.join().map_err(|_| "a thread panicked")??)
}

fn downloads() -> Result<(), Box<dyn Error>> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let target = server.local_addr()?;
    std::thread::spawn(move || {
        let block = vec![1_u8; 1 << 20];
        for stream in server.incoming().flatten() {
            let block = block.clone();
            std::thread::spawn(move || {
                let mut stream = stream;
                let mut go = [0];
                if stream.read_exact(&mut go).is_ok() {
                    for _ in 0..DOWNLOAD >> 20 {
                        if stream.write_all(&block).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let proxy = listener.local_addr()?;
    let policy = Policy { allow: vec!["127.0.0.0/8".parse()?], ..Policy::default() };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok();
        if let Some(runtime) = runtime {
            runtime.block_on(async {
                let proxy = Proxy::start(vec![listener.into()], ProxyConfig { policy, ..ProxyConfig::default() });
                std::future::pending::<()>().await;
                drop(proxy);
            });
        }
    });
    let (mut direct, mut proxied) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        direct.push(download(TcpStream::connect(target)?)?);
        let mut stream = TcpStream::connect(proxy)?;
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\n\r\n").as_bytes())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.extend(byte);
        }
        proxied.push(download(stream)?);
    }
    let (direct, proxied) = (median(direct), median(proxied));
    let speed = |time: Duration| DOWNLOAD as f64 / time.as_secs_f64() / 1e9;
    print(&format!(
        "download: direct {:.2} GB/s, through the way out {:.2} GB/s, ratio {:.2}",
        speed(direct),
        speed(proxied),
        direct.as_secs_f64() / proxied.as_secs_f64()
    ));
    Ok(())
}

fn download(mut stream: TcpStream) -> Result<Duration, Box<dyn Error>> {
    let mut buffer = vec![0; 256 * 1024];
    let start = Instant::now();
    stream.write_all(b"g")?;
    let mut left = DOWNLOAD;
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Err("the download ended early".into()),
            count => left -= count,
        }
    }
    Ok(start.elapsed())
}
