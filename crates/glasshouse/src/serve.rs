//! `glasshouse serve`: many sessions behind one door.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, Parser};
use glasshouse_fleet::{Bounds, Config, Fleet, Limits, PoolConfig, Spec};
use glasshouse_gateway::{Agent, FacadeConfig, Gateway, Network};

use crate::{
    cli::{Cli, Command, FacadeName, LogOptions},
    front::Front,
    opened::Opened,
    stop::Stop,
};

/// Options of `glasshouse serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address and port to listen on: HTTP, and the media of all sessions over UDP and TCP. Port 0 picks a free one.
    #[arg(long, env = "GLASSHOUSE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,

    /// What to keep, and where the sessions' sockets are.
    #[command(flatten)]
    state: StateOptions,

    /// Address for media, with the port of --listen, over UDP and TCP: for viewers who do not come through the proxy that HTTP
    /// comes through [default: the one of --listen].
    #[arg(long, env = "GLASSHOUSE_MEDIA_ADDRESS", value_name = "ADDRESS")]
    media_address: Option<IpAddr>,

    /// Public address to announce to viewers in place of the machine's own (repeatable).
    #[arg(long, env = "GLASSHOUSE_NAT1TO1", value_name = "ADDRESS", value_delimiter = ',')]
    nat1to1: Vec<IpAddr>,

    /// Host name that people may use in the address bar (repeatable). Loopback names and IP addresses always work.
    #[arg(long = "allowed-host", env = "GLASSHOUSE_ALLOWED_HOSTS", value_name = "NAME", value_delimiter = ',')]
    allowed_hosts: Vec<String>,

    /// Reverse proxy whose X-Forwarded-For, -Host and -Proto are believed: an address or a range (repeatable).
    #[arg(long = "trusted-proxy", env = "GLASSHOUSE_TRUSTED_PROXIES", value_name = "ADDRESS", value_delimiter = ',')]
    trusted_proxies: Vec<Network>,

    /// Origin besides our own whose pages may use the API, such as http://localhost:5173: of pages behind a proxy that passes our
    /// paths on under another name (repeatable).
    #[arg(long = "allowed-origin", env = "GLASSHOUSE_ALLOWED_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    allowed_origins: Vec<String>,

    /// Serve the interface of another system too, so that its clients work unchanged (repeatable).
    #[arg(long = "facade", env = "GLASSHOUSE_FACADES", value_enum, value_name = "SYSTEM", value_delimiter = ',')]
    facades: Vec<FacadeName>,

    /// Let whoever reaches these interfaces use them, without a token. Only for a private network.
    #[arg(long, env = "GLASSHOUSE_FACADE_OPEN", requires = "facades")]
    facade_open: bool,

    /// Script that each session of browser-use-vnc runs within its walls, on its display: a file that ends in .py, .sh, .js or
    /// .mjs. The session ends 10 s after it. Without it, such a session has a browser.
    #[arg(long, env = "GLASSHOUSE_AGENT", requires = "facades", value_name = "FILE")]
    agent: Option<PathBuf>,

    /// File with variables for that script, a NAME=VALUE a line.
    #[arg(long, env = "GLASSHOUSE_AGENT_ENV", requires = "agent", value_name = "FILE")]
    agent_env: Option<PathBuf>,

    /// Who may sign in, besides those who have a token.
    #[command(flatten)]
    sign_in: crate::users::SignInOptions,

    /// Our certificate.
    #[command(flatten)]
    tls: crate::tls::TlsOptions,

    /// Prefix of every path, such as /glasshouse.
    #[arg(long, env = "GLASSHOUSE_PATH_PREFIX", default_value = "/", value_name = "PATH", value_parser = parse_prefix)]
    path_prefix: String,

    /// Sessions at a time.
    #[arg(long, env = "GLASSHOUSE_MAX_SESSIONS", default_value_t = 100, value_name = "COUNT")]
    max_sessions: u16,

    /// Sessions at a time that one token or person has created [default: as many as there may be].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..))]
    max_sessions_per_token: Option<u16>,

    /// Sessions created within a minute, by everybody together.
    #[arg(long, default_value_t = 120, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    creations_per_minute: u32,

    /// Sessions created within a minute with one token.
    #[arg(long, default_value_t = 60, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    creations_per_minute_and_token: u32,

    /// Memory that a session is taken to need, in MiB: without that much to spare, none is created.
    #[arg(long, default_value_t = 400, value_name = "MIB")]
    session_memory: u32,

    /// Memory that creations leave free, in MiB.
    #[arg(long, default_value_t = 256, value_name = "MIB")]
    reserved_memory: u32,

    /// Freeze sessions that nobody has used for so long: 90s, 5m, 2h, 1d; 0 never.
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = parse_time)]
    idle_freeze: u64,

    /// End sessions that nobody has used for so long; 0 never.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = parse_time)]
    idle_timeout: u64,

    /// End sessions after so long, used or not; 0 never.
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = parse_time)]
    max_lifetime: u64,

    /// Sessions of the usual shape (Chromium with sound) that are started ahead, so that a creation takes milliseconds. Each
    /// takes memory like any session.
    #[arg(long, env = "GLASSHOUSE_POOL", default_value_t = 0, value_name = "COUNT")]
    pool: u16,

    /// Sessions of another shape that are started ahead, such as '2={"locale":"de-DE","sound":false}': what a creation says
    /// in its body, page, screen, egress, name, labels and time-outs excepted, which any can still get (repeatable).
    #[arg(long, value_name = "COUNT=JSON", value_parser = parse_shape)]
    pool_shape: Vec<(usize, Spec)>,

    /// Keep what is started ahead frozen, so that it costs no processor time; thawing takes some milliseconds.
    #[arg(long)]
    pool_frozen: bool,

    /// Open a session at the start, on a page if one is given, and print a link to it that works once, within ten minutes. It ends with the server.
    #[arg(long, value_name = "URL", num_args = 0..=1)]
    open: Option<Option<String>>,

    /// Print one line of JSON instead of text when ready: url, listen, state, pid, token when it is new, and link with --open.
    #[arg(long)]
    json: bool,

    /// Logs.
    #[command(flatten)]
    pub(crate) log: LogOptions,

    /// Further options of every session, such as --isolation=none; see `glasshouse session --help`.
    #[arg(last = true, value_name = "SESSION-OPTIONS")]
    session_options: Vec<OsString>,
}

/// Where a server keeps what it has to keep.
#[derive(Debug, Args)]
pub(crate) struct StateOptions {
    /// Directory of the server [default: /var/lib/glasshouse for root, else glasshouse in $XDG_STATE_HOME or ~/.local/state].
    #[arg(long, env = "GLASSHOUSE_STATE", value_name = "DIRECTORY")]
    state: Option<PathBuf>,
}

impl StateOptions {
    /// The directory.
    ///
    /// # Errors
    /// There is no home directory.
    pub(crate) fn directory(&self) -> anyhow::Result<PathBuf> {
        if let Some(state) = &self.state {
            return std::path::absolute(state).with_context(|| format!("cannot find {}", state.display()));
        }
        if rustix::process::geteuid().is_root() {
            return Ok("/var/lib/glasshouse".into());
        }
        let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
        Ok(base.context("there is no home directory: name one with --state")?.join("glasshouse"))
    }
}

/// Where the server says how to reach it.
pub(crate) fn address_file(state: &Path) -> PathBuf {
    state.join("address")
}

/// Serves until it is told to stop. Sessions go on.
pub(crate) fn run(options: &ServeOptions) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(serve(options))
}

async fn serve(options: &ServeOptions) -> anyhow::Result<ExitCode> {
    // The state comes first: a server that is about to end lets go of it last.
    let state = options.state.directory()?;
    let agent = agent(options)?;
    let fleet = Fleet::start(config(options, state.clone())?).await?;
    let (token, is_new) = fleet.admin_token().await?;
    let front = Front::open(options.listen, options.media_address, &fleet).await?;
    let listen = front.listener.local_addr()?;
    let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let near = SocketAddr::new(host, listen.port());
    let url = format!("{}{}/", options.tls.origin(near, &options.allowed_hosts), options.path_prefix);
    if options.facade_open && !listen.ip().is_loopback() {
        tracing::warn!(%listen, "anybody who reaches this address can create, control and end sessions (--facade-open)");
    }
    let file = address_file(&state);
    // The command line of this machine needs no TLS.
    write_private(&file, &format!("http://{near}{}/", options.path_prefix))
        .with_context(|| format!("cannot write {}", file.display()))?;

    let gateway = Gateway::new(
        fleet.clone(),
        glasshouse_gateway::Config {
            path_prefix: options.path_prefix.clone(),
            allowed_hosts: options.allowed_hosts.clone(),
            trusted_proxies: options.trusted_proxies.clone(),
            allowed_origins: options.allowed_origins.clone(),
            facades: FacadeConfig {
                served: options.facades.iter().map(|name| (*name).into()).collect(),
                open: options.facade_open,
                agent,
            },
            tls: options.tls.open()?,
            ..options.sign_in.door()?
        },
    )
    .with_console(axum::routing::any(crate::web::serve))
    .with_media(front.media);
    let opened = match &options.open {
        Some(page) => Some(Opened::start(&fleet, &token, page.clone()).await?),
        None => None,
    };
    let (opened, link) = opened.map(|(opened, fragment)| (opened, format!("{url}#{fragment}"))).unzip();
    let mut signals = Stop::new().context("cannot hear signals")?;
    announce(options, listen, &url, &state, is_new.then_some(&token), link.as_deref())?;
    let stop = async move {
        signals.asked().await;
    };
    let served = glasshouse_gateway::serve(front.listener, gateway, stop).await;
    if let Some(opened) = opened {
        opened.end().await;
    }
    fleet.close_pool().await;
    served?;
    Ok(ExitCode::SUCCESS)
}

/// The script of the user's own, if there is one.
fn agent(options: &ServeOptions) -> anyhow::Result<Option<Agent>> {
    let Some(script) = &options.agent else { return Ok(None) };
    fs::File::open(script).with_context(|| format!("cannot read the script {}", script.display()))?;
    let mut environment = BTreeMap::new();
    if let Some(file) = &options.agent_env {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // The line itself may be a secret.
            let wrong = || format!("{}, line {}: expected NAME=VALUE", file.display(), index + 1);
            let (name, value) = line.split_once('=').filter(|(name, _)| !name.is_empty()).with_context(wrong)?;
            environment.insert(name.trim().to_owned(), value.to_owned());
        }
    }
    Agent::new(script.clone(), environment).map(Some).map_err(anyhow::Error::msg)
}

fn config(options: &ServeOptions, state: PathBuf) -> anyhow::Result<Config> {
    let program = env::current_exe().context("cannot find this program's own file")?;
    let mut session_options: Vec<OsString> =
        options.nat1to1.iter().map(|address| format!("--nat1to1={address}").into()).collect();
    session_options.extend(options.session_options.iter().cloned());
    Ok(Config {
        state,
        program: vec![program.into(), "session".into()],
        options: session_options,
        path: format!("{}/s", options.path_prefix),
        limits: Limits {
            sessions: options.max_sessions.into(),
            sessions_per_token: options.max_sessions_per_token.map_or(usize::MAX, usize::from),
            per_minute: options.creations_per_minute,
            per_minute_and_token: options.creations_per_minute_and_token,
            session_mib: options.session_memory.into(),
            reserve_mib: options.reserved_memory.into(),
        },
        start_within: Duration::from_secs(60),
        idle_freeze: options.idle_freeze,
        idle_timeout: options.idle_timeout,
        max_lifetime: options.max_lifetime,
        bounds: bounds(&options.session_options),
        pool: PoolConfig {
            shapes: std::iter::once((options.pool.into(), Spec::default())).chain(options.pool_shape.clone()).collect(),
            frozen: options.pool_frozen,
        },
    })
}

/// What the options of all sessions leave to the creator of one. Those that are wrong let no session start, which then says why.
fn bounds(session_options: &[OsString]) -> Bounds {
    let line = ["glasshouse", "session"].map(OsString::from).into_iter().chain(session_options.iter().cloned());
    match Cli::try_parse_from(line) {
        Ok(Cli { command: Command::Session(options) }) => crate::walls::bounds(&options),
        _ => Bounds::default(),
    }
}

fn announce(
    options: &ServeOptions,
    listen: SocketAddr,
    url: &str,
    state: &Path,
    token: Option<&String>,
    link: Option<&str>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if options.json {
        let line = serde_json::json!({
            "url": url,
            "listen": listen.to_string(),
            "state": state,
            "pid": std::process::id(),
            "token": token,
            "link": link,
        });
        writeln!(out, "{line}")?;
    } else if let Some(link) = link {
        writeln!(
            out,
            "\n  Open {link}\n\n  It shows a session; all sessions are behind the first button of its bar. The link works once, within ten minutes.\n  \
             `glasshouse open` and `glasshouse new` make others; the console at {url} takes the token in {}.\n",
            state.join("admin-token").display()
        )?;
    } else if let Some(token) = token {
        writeln!(
            out,
            "\n  Open {url}#token={token}\n\n  This is the admin's token, shown this once; the command line finds it in {}.\n",
            state.display()
        )?;
    } else {
        writeln!(out, "\n  Serving {url}\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Writes a file for us only, whole or not at all.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(new, path)
}

/// A time as seconds.
pub(crate) fn parse_time(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let seconds = seconds.filter(|seconds| *seconds <= 31_536_000);
    seconds.ok_or_else(|| format!("expected a time of a year at most, such as 90s, 5m, 2h or 1d, got {text:?}"))
}

/// A number of sessions of a shape.
fn parse_shape(text: &str) -> Result<(usize, Spec), String> {
    let (count, shape) = text.split_once('=').ok_or_else(|| format!("expected COUNT=JSON, got {text:?}"))?;
    let count: u16 = count.parse().map_err(|_| format!("expected a number before '=', got {count:?}"))?;
    let spec: Spec = serde_json::from_str(shape).map_err(|error| format!("not the shape of a session: {error}"))?;
    spec.check().map_err(|error| error.to_string())?;
    Ok((count.into(), spec))
}

/// A prefix with a slash before and none behind it.
fn parse_prefix(text: &str) -> Result<String, String> {
    let trimmed = text.trim_matches('/');
    let is_good = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    match trimmed {
        "" => Ok(String::new()),
        path if path.split('/').all(is_good) => Ok(format!("/{path}")),
        _ => Err(format!("expected a path of letters, digits, '.', '_' and '-', such as /glasshouse, got {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_prefixes() {
        assert_eq!(parse_time("90s"), Ok(90));
        assert_eq!(parse_time("2h"), Ok(7_200));
        assert_eq!(parse_time("0"), Ok(0));
        for wrong in ["", "m", "-1", "1.5h", "366d", "5x"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        let (count, spec) = parse_shape(r#"2={"locale":"de-DE"}"#).unwrap();
        assert_eq!((count, spec.locale.as_deref()), (2, Some("de-DE")));
        for wrong in ["", "2", "x={}", "2={", r#"1={"locale":"?"}"#, r#"1={"surprise":1}"#] {
            assert!(parse_shape(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_prefix("/"), Ok(String::new()));
        assert_eq!(parse_prefix("a/b/"), Ok("/a/b".into()));
        for wrong in ["/..", "/a//b", "/a?b", "/{a}"] {
            assert!(parse_prefix(wrong).is_err(), "{wrong}");
        }
    }
}
