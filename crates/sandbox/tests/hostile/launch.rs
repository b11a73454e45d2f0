//! Launches a session from the command line, for tests of what an ordinary user can do.
//!
//! `launch [--name N] [--state DIR] [--no-cgroups] [--memory MIB] [--pids N] [--shm MIB] [--file-size MIB]
//! [--home DIR] [--proxy-allow RULES] [--bind SOURCE:TARGET[:w]]... [--print-pid] -- PROGRAM ARGS...`

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use glasshouse_sandbox::{
    Bind, Config, Executable, Exit, Home, Lease, Program, Sandbox, UseCgroups, default_state_dir,
    egress::{Policy, Proxy, ProxyConfig},
};

pub(crate) fn main(args: &[String]) -> ExitCode {
    match run(args) {
        Ok(Exit::Code(code)) => ExitCode::from(u8::try_from(code).unwrap_or(255)),
        Ok(Exit::Signal(signal)) => {
            println!("SIGNAL {signal}");
            ExitCode::from(128)
        }
        Err(error) => {
            println!("ERROR {error}");
            ExitCode::from(70)
        }
    }
}

fn run(args: &[String]) -> Result<Exit, Box<dyn std::error::Error>> {
    let exe = std::env::current_exe()?;
    let stage: Vec<OsString> = vec![exe.into(), "sandbox-stage".into()];
    let split = args.iter().position(|arg| arg == "--").ok_or("no program")?;
    let (options, command) = (&args[..split], &args[split + 1..]);
    let program = Program {
        executable: match command[0].as_str() {
            "self" => Executable::Stage,
            path => Executable::Inside(path.into()),
        },
        args: command.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), glasshouse_sandbox::HOME.into())],
        cwd: "/".into(),
    };
    let mut config = Config::new(format!("test-{}", std::process::id()), stage, program);
    let mut print_pid = false;
    let mut proxy_allow = None;
    let mut options = options.iter();
    let mib = |value: &str| value.parse::<u64>().map(|value| value << 20);
    while let Some(option) = options.next() {
        let mut value = || options.next().map(String::as_str).ok_or("value missing");
        match option.as_str() {
            "--name" => config.name = value()?.into(),
            "--state" => config.state = Some(value()?.into()),
            "--no-cgroups" => config.limits.cgroups = UseCgroups::Never,
            "--memory" => config.limits.memory = mib(value()?)?,
            "--pids" => config.limits.pids = value()?.parse()?,
            "--shm" => config.sizes.shm = mib(value()?)?,
            "--tmp" => config.sizes.tmp = mib(value()?)?,
            "--file-size" => config.limits.file_size = Some(mib(value()?)?),
            "--home" => config.home = Home::Directory(value()?.into()),
            "--downloads" => config.downloads = Some(value()?.into()),
            "--proxy-allow" => {
                config.listeners = vec!["127.0.0.1:3128".parse()?, "[::1]:3128".parse()?];
                proxy_allow = Some(value()?.to_owned());
            }
            "--print-pid" => print_pid = true,
            "--bind" => {
                let parts: Vec<&str> = value()?.split(':').collect();
                config.binds.push(Bind {
                    source: parts[0].into(),
                    target: parts[1].into(),
                    writable: parts.get(2) == Some(&"w"),
                    executable: true,
                    optional: false,
                });
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let state: PathBuf = config.state.clone().unwrap_or_else(default_state_dir);
    let lease = Lease::claim(&state)?;
    let fds = vec![
        (rustix::io::dup(rustix::stdio::stdin())?, 0),
        (rustix::io::dup(rustix::stdio::stdout())?, 1),
        (rustix::io::dup(rustix::stdio::stderr())?, 2),
    ];
    let mut sandbox = Sandbox::launch(config, lease, fds)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _guard = runtime.enter();
    let _proxy = match proxy_allow {
        None => None,
        Some(rules) => {
            let allow = rules.split(',').filter(|rule| !rule.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
            let config = ProxyConfig { policy: Policy { allow, ..Policy::default() }, ..ProxyConfig::default() };
            Some(Proxy::start(sandbox.take_listeners(), config)?)
        }
    };
    if print_pid {
        println!("PID {}", sandbox.init().pid());
        std::io::stdout().flush()?;
    }
    let exit = sandbox.init().wait();
    if let Some(reached) = sandbox.usage().reached() {
        println!("REACHED {reached}");
    }
    Ok(exit)
}
