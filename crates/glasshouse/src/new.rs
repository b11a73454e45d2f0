//! `glasshouse new`: a session on a running server.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use crate::{
    cli::{AppName, parse_bytes, parse_processors, parse_size},
    remote::{Server, ServerOptions, parse_pair, print},
    serve::parse_time,
};

const MIB: u64 = 1 << 20;

/// Options of `new`.
#[derive(Debug, Args)]
pub(crate) struct NewOptions {
    /// Page to open first.
    url: Option<String>,
    /// Program on the desktop.
    #[arg(long, value_enum, default_value_t = AppName::Chromium)]
    app: AppName,
    /// Size of the screen in pixels, 320x240 to 3840x2160.
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    screen: Option<glasshouse_desktop::Size>,
    /// Name of one's own, unique among the sessions that run.
    #[arg(long)]
    name: Option<String>,
    /// Language of the browser, such as de-DE.
    #[arg(long)]
    locale: Option<String>,
    /// Time zone, such as Europe/Berlin.
    #[arg(long)]
    timezone: Option<String>,
    /// Words to find the session by (repeatable).
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    /// Variable for the programs on the desktop (repeatable).
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    env: Vec<(String, String)>,
    /// No sound.
    #[arg(long)]
    no_sound: bool,
    /// Frames per second at most.
    #[arg(long, value_name = "COUNT")]
    max_fps: Option<u32>,
    /// Profile that is kept for the next session with the same one; made when there is none.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Freeze after so long without use; 0 never.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    idle_freeze: Option<u64>,
    /// End after so long without use; 0 never.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    idle_timeout: Option<u64>,
    /// End after so long, used or not; 0 never.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    max_lifetime: Option<u64>,
    #[command(flatten)]
    walls: WishOptions,
    #[command(flatten)]
    server: ServerOptions,
}

/// What the session is to be kept within.
#[derive(Debug, Args)]
#[command(next_help_heading = "Isolation")]
struct WishOptions {
    /// Memory of all programs together: 2g, 512m.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    memory: Option<u64>,
    /// Processes and threads of all programs together.
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// Processor time of all programs together, in processors: 1.5.
    #[arg(long, value_name = "PROCESSORS", value_parser = parse_processors)]
    cpu: Option<u32>,
    /// Profile, downloads and other files of the session together. The session ends when it has more.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    disk: Option<u64>,
    /// Host that may be reached, and then only those (repeatable), as for `glasshouse session`.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    allow_host: Vec<String>,
    /// Host that may not be reached (repeatable). Stronger than --allow-host.
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    deny_host: Vec<String>,
    /// No way out at all.
    #[arg(long, conflicts_with_all = ["allow_host", "upstream_proxy", "upstream_proxy_file"])]
    block_all: bool,
    /// Proxy that all traffic goes through: http://HOST:PORT, https or socks5. One with credentials belongs into a file.
    #[arg(long, value_name = "URL", conflicts_with = "upstream_proxy_file")]
    upstream_proxy: Option<String>,
    /// File with the URL of the proxy that all traffic goes through, credentials included.
    #[arg(long, value_name = "FILE")]
    upstream_proxy_file: Option<PathBuf>,
}

impl WishOptions {
    fn limits(&self) -> Value {
        object([
            ("memory_mib", json!(self.memory.map(|bytes| bytes / MIB))),
            ("pids", json!(self.pids)),
            ("cpu", json!(self.cpu.map(|hundredths| f64::from(hundredths) / 100.0))),
            ("disk_mib", json!(self.disk.map(|bytes| bytes / MIB))),
        ])
    }

    fn egress(&self) -> anyhow::Result<Value> {
        let list = |hosts: &[String]| if hosts.is_empty() { Value::Null } else { json!(hosts) };
        Ok(object([
            ("allow", list(&self.allow_host)),
            ("deny", list(&self.deny_host)),
            ("block_all", if self.block_all { json!(true) } else { Value::Null }),
            ("upstream_proxy", json!(self.proxy()?)),
        ]))
    }

    fn proxy(&self) -> anyhow::Result<Option<String>> {
        match (&self.upstream_proxy, &self.upstream_proxy_file) {
            (Some(url), _) if url.contains('@') => bail!(
                "--upstream-proxy has credentials, which other users of this machine can see: put the URL into a file, and name that with --upstream-proxy-file"
            ),
            (Some(url), _) => Ok(Some(url.clone())),
            (None, Some(path)) => {
                let text = fs::read_to_string(path);
                let text = text.with_context(|| format!("cannot read --upstream-proxy-file {}", path.display()))?;
                Ok(Some(text.trim().to_owned()))
            }
            (None, None) => Ok(None),
        }
    }
}

/// The fields that have a value; null without any.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let set = fields.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.to_owned(), value));
    let set: Map<_, _> = set.collect();
    if set.is_empty() { Value::Null } else { set.into() }
}

pub(crate) async fn create(options: NewOptions) -> anyhow::Result<ExitCode> {
    let server = Server::find(&options.server)?;
    let app = clap::ValueEnum::to_possible_value(&options.app).map(|name| name.get_name().to_owned());
    let pairs = |pairs: Vec<(String, String)>| {
        Value::from(pairs.into_iter().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>())
    };
    let spec = object([
        ("app", json!(app)),
        ("url", json!(options.url)),
        ("name", json!(options.name)),
        ("locale", json!(options.locale)),
        ("timezone", json!(options.timezone)),
        ("screen", json!(options.screen.map(|size| json!({ "width": size.width, "height": size.height })))),
        ("sound", if options.no_sound { json!(false) } else { Value::Null }),
        ("max_fps", json!(options.max_fps)),
        ("profile", json!(options.profile)),
        ("limits", options.walls.limits()),
        ("egress", options.walls.egress()?),
        ("idle_freeze_seconds", json!(options.idle_freeze)),
        ("idle_timeout_seconds", json!(options.idle_timeout)),
        ("max_lifetime_seconds", json!(options.max_lifetime)),
        ("labels", pairs(options.label)),
        ("environment", pairs(options.env)),
    ]);
    let mut session = server.json(Method::POST, "sessions?wait=60", Some(spec)).await?;
    let id = session["id"].as_str().unwrap_or_default().to_owned();
    if session["state"] != "ready" {
        let state = session["state"].as_str().unwrap_or_default();
        bail!("session {id} is {state}: {}", session["reason"].as_str().unwrap_or("it takes long to start"));
    }
    let link = server.link(&id, true).await?;
    session["link"] = link["url"].clone();
    let text = format!("{id}\n{}", link["url"].as_str().unwrap_or_default());
    print(&options.server, &session, &text)
}
