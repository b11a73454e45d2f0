//! The command line.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use glasshouse_desktop::{MAX_SIZE, MIN_SIZE, Size};
use glasshouse_sandbox::egress::Rule;

/// Isolated Linux desktops and browsers, streamed live to people and handed to programs.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one session: a desktop with a program on it, and its room.
    // What all sessions of a server are given comes after what one of them is asked for, and wins.
    #[command(args_override_self = true)]
    Session(Box<SessionOptions>),
    /// Run many sessions behind one port, with an API.
    Serve(Box<crate::serve::ServeOptions>),
    /// Ask a running server.
    #[command(flatten)]
    Remote(crate::remote::Verb),
    /// Speak the Model Context Protocol on standard input and output, for a session that runs.
    Mcp(crate::mcp_bridge::BridgeOptions),
    /// People who sign in with a password.
    #[command(subcommand)]
    User(crate::users::Verb),
    /// Say what is missing on this machine and how to get it.
    Doctor(DoctorOptions),
}

/// Options of `glasshouse session`.
#[derive(Debug, Args)]
pub(crate) struct SessionOptions {
    /// Address and port to listen on: HTTP and ICE over TCP, and UDP on the same number. Port 0 picks a free one.
    #[arg(long, env = "GLASSHOUSE_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,

    /// UDP port for WebRTC, when it has to differ from the one of --listen.
    #[arg(long, env = "GLASSHOUSE_WEBRTC_PORT", value_name = "PORT")]
    pub(crate) webrtc_port: Option<u16>,

    /// Public address to announce to viewers in place of the machine's own (repeatable).
    #[arg(long, env = "GLASSHOUSE_NAT1TO1", value_name = "ADDRESS", value_delimiter = ',')]
    pub(crate) nat1to1: Vec<IpAddr>,

    /// Host name that people may use in the address bar (repeatable). Loopback names and IP addresses always work.
    #[arg(long = "allowed-host", env = "GLASSHOUSE_ALLOWED_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub(crate) allowed_hosts: Vec<String>,

    /// Origin whose pages may call the API from elsewhere, such as https://example.com (repeatable).
    #[arg(long, env = "GLASSHOUSE_CORS", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) cors: Vec<String>,

    /// Directory that a server has prepared for this session; it is then reached through that server only.
    #[arg(long, hide = true, value_name = "DIRECTORY")]
    pub(crate) managed: Option<PathBuf>,

    /// Prefix of every path, such as /desk.
    #[arg(long, env = "GLASSHOUSE_PATH_PREFIX", default_value = "/", value_name = "PATH")]
    pub(crate) path_prefix: String,

    /// Program on the desktop, when no command is given after `--`.
    #[arg(long, value_enum, default_value_t = AppName::Chromium)]
    pub(crate) app: AppName,

    /// Page to open first.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Further command-line flag for the browser, such as --app-flag=--lang=de (repeatable).
    #[arg(long = "app-flag", value_name = "FLAG", allow_hyphen_values = true)]
    pub(crate) app_flags: Vec<OsString>,

    /// Start Chromium with the profile directory and --app-flag only, none of our own flags.
    #[arg(long)]
    pub(crate) no_default_flags: bool,

    /// What to do when the program ends by itself [default: restart for --app, stop for a command].
    #[arg(long, value_enum)]
    pub(crate) on_exit: Option<OnExit>,

    /// Keep the profile in this directory; without it, it is thrown away at the end.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) profile: Option<PathBuf>,

    /// Show a display that already runs, such as :3, and start nothing on it but the command after `--`.
    #[arg(long, value_name = "DISPLAY")]
    pub(crate) display: Option<String>,

    /// Size of the screen in pixels, 320x240 to 3840x2160.
    #[arg(long, env = "GLASSHOUSE_SCREEN", default_value = "1280x720", value_name = "WxH", value_parser = parse_size)]
    pub(crate) screen: Size,

    /// Start without PulseAudio.
    #[arg(long)]
    pub(crate) no_sound: bool,

    /// Start without a window manager.
    #[arg(long)]
    pub(crate) no_window_manager: bool,

    /// Whether the display offers OpenGL to programs (GLX). It delays the start, and Chromium, which has WebGL of its own, needs it
    /// not: "auto" is on for every app but Chromium.
    #[arg(long, value_enum, default_value_t = Glx::Auto)]
    pub(crate) glx: Glx,

    /// What keeps the session's programs apart from this machine and from other sessions.
    #[command(flatten)]
    pub(crate) walls: WallOptions,

    /// Frames per second at most.
    #[arg(long, env = "GLASSHOUSE_MAX_FPS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=120))]
    pub(crate) max_fps: u32,

    /// Bit rate of the best rendition at most, in kbit/s.
    #[arg(long, env = "GLASSHOUSE_MAX_BIT_RATE", default_value_t = 12_000, value_name = "KBIT/S",
          value_parser = clap::value_parser!(u32).range(200..=100_000))]
    pub(crate) max_bit_rate: u32,

    /// Codec for viewers that leave the choice to us.
    #[arg(long, env = "GLASSHOUSE_CODEC", value_enum)]
    pub(crate) codec: Option<Codec>,

    /// Bit rate of the sound in kbit/s.
    #[arg(long, default_value_t = 128, value_name = "KBIT/S", value_parser = clap::value_parser!(u32).range(6..=510))]
    pub(crate) audio_bit_rate: u32,

    /// Programs that may drive Chromium over CDP at a time; 0 is none at all. They need the token of GLASSHOUSE_CDP_TOKEN,
    /// which is made up and printed when not set. [default: 100; 0 where the session shares this machine's network, because
    /// any program of this machine then reaches Chromium past the token]
    #[arg(long, env = "GLASSHOUSE_CDP_CLIENTS", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub(crate) cdp_clients: Option<u16>,

    /// Who may act on the desktop: people and programs (over CDP, computer use or MCP) together, programs only while no person has
    /// control, or people only. An admin can change it in the page.
    #[arg(long, env = "GLASSHOUSE_PROGRAMS", value_enum, default_value_t = ProgramsMode::Together)]
    pub(crate) programs: ProgramsMode,

    /// Directory to keep the trail in: what programs did, as lines of JSON. Without it, the trail goes with the session, or stays
    /// beside a kept profile.
    #[arg(long, env = "GLASSHOUSE_TRAIL", value_name = "DIRECTORY")]
    pub(crate) trail: Option<PathBuf>,

    /// Note contents in the trail, too: typed text, code, whole addresses. Without, it has methods, places and paths only.
    #[arg(long, env = "GLASSHOUSE_TRAIL_CONTENTS")]
    pub(crate) trail_contents: bool,

    /// Address that hears of each question that a program puts to people (docs/mcp.md): a POST, signed with the key in
    /// GLASSHOUSE_ASK_WEBHOOK_SECRET.
    #[arg(long, env = "GLASSHOUSE_ASK_WEBHOOK", value_name = "URL")]
    pub(crate) ask_webhook: Option<String>,

    /// Address under which people reach this program from elsewhere, such as https://desk.example, for links in messages.
    #[arg(long, env = "GLASSHOUSE_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,

    /// Port on which the session answers as a kernel-images container does on 10001 (docs/kernel-images.md): PORT, of this
    /// machine alone, or ADDRESS:PORT. Whoever reaches it is let in, unless --kernel-token is given.
    #[arg(long, env = "GLASSHOUSE_KERNEL_API", value_name = "PORT", value_parser = parse_local)]
    pub(crate) kernel_api: Option<SocketAddr>,

    /// Port that leads programs to the browser as a kernel-images container does on 9222: PORT or ADDRESS:PORT, likewise.
    #[arg(long, env = "GLASSHOUSE_KERNEL_CDP", value_name = "PORT", value_parser = parse_local)]
    pub(crate) kernel_cdp: Option<SocketAddr>,

    /// Demand tokens on the ports of --kernel-api (an admin's) and --kernel-cdp (GLASSHOUSE_CDP_TOKEN).
    #[arg(long, env = "GLASSHOUSE_KERNEL_TOKEN")]
    pub(crate) kernel_token: bool,

    /// How people log in.
    #[arg(long, env = "GLASSHOUSE_PROVIDER", value_enum, default_value_t = Provider::Multiuser)]
    pub(crate) provider: Provider,

    /// Print one line of JSON instead of text when ready: url, listen, display, xauthority, pid.
    #[arg(long)]
    pub(crate) json: bool,

    /// Logs.
    #[command(flatten)]
    pub(crate) log: LogOptions,

    /// Command to run on the desktop in place of --app.
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// What a session is kept within.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Isolation")]
pub(crate) struct WallOptions {
    /// Walls around the session's programs. `none` runs them as plain processes of this machine.
    #[arg(long, env = "GLASSHOUSE_ISOLATION", value_enum, default_value_t = Isolation::Walls)]
    pub(crate) isolation: Isolation,

    /// Way to the network. `egress`: TCP to public addresses through a guarded proxy; `host`: this machine's own network,
    /// loopback and private addresses included.
    #[arg(long, env = "GLASSHOUSE_NETWORK", value_enum, default_value_t = Network::Egress)]
    pub(crate) network: Network,

    /// Port of this machine's loopback that the session may reach, as localhost or host.glasshouse (repeatable).
    #[arg(long, value_name = "PORT", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) expose: Vec<u16>,

    /// Host that may be reached, and then only those: example.com (and what is below it), *.example.com, 10.0.0.0/8, with
    /// :PORT or without (repeatable). A range opens private addresses.
    #[arg(long, env = "GLASSHOUSE_ALLOW_HOST", value_name = "HOST", value_delimiter = ',')]
    pub(crate) allow_host: Vec<Rule>,

    /// Host that may not be reached, written likewise (repeatable). Stronger than --allow-host.
    #[arg(long, env = "GLASSHOUSE_DENY_HOST", value_name = "HOST", value_delimiter = ',')]
    pub(crate) deny_host: Vec<Rule>,

    /// No way out at all.
    #[arg(long, conflicts_with_all = ["expose", "allow_host", "deny_host", "upstream_proxy", "upstream_proxy_file"])]
    pub(crate) block_all: bool,

    /// Proxy that all traffic goes through: http://HOST:PORT, https or socks5. Other users of this machine see the command
    /// line: put credentials into GLASSHOUSE_UPSTREAM_PROXY (http://USER:PASSWORD@HOST:PORT) or a file.
    #[arg(long, value_name = "URL", conflicts_with = "upstream_proxy_file")]
    pub(crate) upstream_proxy: Option<String>,

    /// File with the URL of the proxy that all traffic goes through, credentials included.
    #[arg(long, value_name = "FILE")]
    pub(crate) upstream_proxy_file: Option<PathBuf>,

    /// Log every request of the session to the network, at level info.
    #[arg(long)]
    pub(crate) log_requests: bool,

    /// Memory of all programs together, /tmp and /dev/shm included: 2g, 512m. [default: 2g]
    #[arg(long, env = "GLASSHOUSE_MEMORY", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,

    /// Processes and threads of all programs together. [default: 1024]
    #[arg(long, env = "GLASSHOUSE_PIDS", value_name = "COUNT",
          value_parser = clap::value_parser!(u32).range(32..=1_000_000))]
    pub(crate) pids: Option<u32>,

    /// Processor time of all programs together, in processors: 1.5. Without it, as much as there is.
    #[arg(long, env = "GLASSHOUSE_CPU", value_name = "PROCESSORS", value_parser = parse_processors)]
    pub(crate) cpu: Option<u32>,

    /// Weight against other sessions when processors are short.
    #[arg(long, env = "GLASSHOUSE_CPU_WEIGHT", default_value_t = 100, value_name = "1-10000",
          value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) cpu_weight: u16,

    /// Profile, downloads and other files of the session together. The session ends when it has more. [default: 4g]
    #[arg(long, env = "GLASSHOUSE_DISK", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) disk: Option<u64>,
}

/// Walls, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Isolation {
    /// Namespaces, limits, system call filters, a network of its own.
    Walls,
    /// None: the programs can do what an ordinary user of this machine can.
    None,
}

/// Ways to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// Through a guarded proxy.
    Egress,
    /// This machine's own.
    Host,
}

/// How to log.
#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// Least important level to log: error, warn, info, debug or trace.
    #[arg(long, env = "GLASSHOUSE_LOG_LEVEL", default_value = "warn", value_name = "LEVEL",
          value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub(crate) log_level: String,
    /// Shape of a log line.
    #[arg(long, env = "GLASSHOUSE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// Options of `glasshouse doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Programs known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AppName {
    /// Chromium.
    Chromium,
    /// Firefox.
    Firefox,
    /// An empty desktop.
    None,
}

/// What to do when the program ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OnExit {
    /// Start it again.
    Restart,
    /// End the session.
    Stop,
}

/// Codecs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Codec {
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// H.264.
    H264,
}

/// Who may act on the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgramsMode {
    /// People and programs.
    Together,
    /// Programs only while no person has control.
    PersonFirst,
    /// People only; programs watch.
    WatchOnly,
}

/// When the display offers OpenGL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Glx {
    /// When the app may need it.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How people log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Provider {
    /// Any name with the user's or the admin's password (GLASSHOUSE_USER_PASSWORD, GLASSHOUSE_ADMIN_PASSWORD; generated when not set).
    Multiuser,
    /// Anybody is admin. Only for a machine that nobody else can reach.
    Noauth,
}

/// Systems whose interface a server can have besides its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FacadeName {
    /// The orchestrator of Mini-Browser-Isolation: /api/sessions and /ws/sessions, for its web page and its tests.
    MiniBrowserIsolation,
    /// The orchestrator of browser-use-vnc: /sessions, with stock noVNC at the address that it returns.
    BrowserUseVnc,
}

impl From<FacadeName> for glasshouse_gateway::Facade {
    fn from(name: FacadeName) -> Self {
        match name {
            FacadeName::MiniBrowserIsolation => Self::MiniBrowserIsolation,
            FacadeName::BrowserUseVnc => Self::BrowserUseVnc,
        }
    }
}

pub(crate) fn parse_size(text: &str) -> Result<Size, String> {
    let wrong = || format!("expected WIDTHxHEIGHT, such as 1280x720, got {text:?}");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let size = Size { width: width.parse().map_err(|_| wrong())?, height: height.parse().map_err(|_| wrong())? };
    let fits = (MIN_SIZE.width..=MAX_SIZE.width).contains(&size.width)
        && (MIN_SIZE.height..=MAX_SIZE.height).contains(&size.height);
    if fits {
        Ok(size)
    } else {
        Err(format!(
            "{text} is outside {}x{} to {}x{}",
            MIN_SIZE.width, MIN_SIZE.height, MAX_SIZE.width, MAX_SIZE.height
        ))
    }
}

/// A port of this machine alone, or an address with a port.
pub(crate) fn parse_local(text: &str) -> Result<SocketAddr, String> {
    let port = text.parse::<u16>().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    port.or_else(|_| text.parse()).map_err(|_| format!("expected PORT or ADDRESS:PORT, got {text:?}"))
}

/// A number of bytes: a number with k, m, g or nothing behind it.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("expected a size such as 2g, 512m or a number of bytes, got {text:?}");
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (number, unit) = match lower.char_indices().last() {
        Some((at, 'k')) => (&lower[..at], 1 << 10),
        Some((at, 'm')) => (&lower[..at], 1 << 20),
        Some((at, 'g')) => (&lower[..at], 1 << 30),
        _ => (lower, 1_u64),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)?;
    if bytes < 16 << 20 { Err(format!("{text} is too little: use 16m or more")) } else { Ok(bytes) }
}

/// A number of processors, in hundredths of one.
pub(crate) fn parse_processors(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        // In range, so that nothing is cut off.
        Ok(number) if (0.01..=1024.0).contains(&number) => Ok((number * 100.0).round() as u32),
        _ => Err(format!("expected a number of processors from 0.01 to 1024, got {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn local_ports() {
        assert_eq!(parse_local("9222"), Ok(SocketAddr::from(([127, 0, 0, 1], 9222))));
        assert_eq!(parse_local("0.0.0.0:1"), Ok(SocketAddr::from(([0, 0, 0, 0], 1))));
        for wrong in ["", "x", "70000", "localhost:1", ":1"] {
            assert!(parse_local(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bytes_and_processors() {
        assert_eq!(parse_bytes("2g"), Ok(2 << 30));
        assert_eq!(parse_bytes("512M"), Ok(512 << 20));
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("33554432"), Ok(32 << 20));
        for wrong in ["", "g", "-1g", "1.5g", "15m", "99999999999g", "2x"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_processors("1.5"), Ok(150));
        for wrong in ["", "0", "-1", "nan", "inf", "1e9"] {
            assert!(parse_processors(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("320x240"), Ok(Size { width: 320, height: 240 }));
        for wrong in ["", "1280", "1280x", "x720", "-1x5", "319x240", "3841x2160", "99999x99999", "1280x720@30"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
