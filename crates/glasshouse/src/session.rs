//! One session from start to end: desktop, media, WebRTC, room, web page.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{ErrorKind, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Context, bail};
use axum::{
    extract::{ConnectInfo, Request},
    serve::IncomingStream,
};
use glasshouse_desktop::{App, Desktop, Display};
use glasshouse_fleet::Managed;
use glasshouse_media::{Audio, AudioConfig, Video, VideoCodec, VideoConfig};
use glasshouse_neko::{Peer, Server};
use glasshouse_webrtc::Engine;
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{
    automation::{self, Automation},
    behind,
    claim::Claimed,
    cli::{AppName, Codec, Glx, OnExit, ProgramsMode, Provider, SessionOptions},
    computer, fine, kernel_ports, mcp,
    port::Port,
    programs::Programs,
    readings, rest,
    stop::Stop,
    trail::Trail,
    vnc, walls,
};

/// How long a desktop that went away may take to say why.
const FAREWELL: Duration = Duration::from_secs(2);

/// How many numbers are tried when any will do.
const PORT_TRIES: u32 = 16;

/// How long answers that are on their way when a session ends may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Runs a session until it is told to stop, or ends by itself.
pub(crate) fn run(options: SessionOptions) -> anyhow::Result<ExitCode> {
    // First of all, so that whoever looks for this session finds it.
    let managed = options.managed.as_deref().map(|directory| {
        Managed::open(directory).with_context(|| format!("cannot run the session of {}", directory.display()))
    });
    let managed = managed.transpose()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(session(options, managed.as_ref()))
}

/// Opens the ports for HTTP and for media, which have the same number unless another is asked for. A session behind a server has
/// none: it is handed the sockets of its viewers.
async fn ports(
    options: &SessionOptions,
    managed: Option<&Managed>,
    room: &Arc<OnceLock<Server>>,
) -> anyhow::Result<(Option<TcpListener>, Engine)> {
    if let Some(managed) = managed {
        let port = glasshouse_webrtc::Port::Shared { socket: managed.media_socket(), tag: managed.media_tag() };
        let engine = engine(options, room, port);
        return Ok((None, engine.context("cannot be handed the sockets of viewers")?));
    }
    let is_any = options.listen.port() == 0 && options.webrtc_port.is_none();
    let mut tries = if is_any { PORT_TRIES } else { 1 };
    loop {
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}; choose another address with --listen", options.listen))?;
        let listen = listener.local_addr()?;
        let udp = SocketAddr::new(listen.ip(), options.webrtc_port.unwrap_or(listen.port()));
        tries -= 1;
        match engine(options, room, glasshouse_webrtc::Port::Own { udp, tcp: Some(listen.port()) }) {
            Ok(engine) => return Ok((Some(listener), engine)),
            // Free for TCP, but not for UDP: another number may be free for both.
            Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot use UDP port {udp}; choose another with --webrtc-port"));
            }
        }
    }
}

fn engine(
    options: &SessionOptions,
    room: &Arc<OnceLock<Server>>,
    port: glasshouse_webrtc::Port,
) -> std::io::Result<Engine> {
    let config = glasshouse_webrtc::Config {
        port,
        nat1to1: options.nat1to1.clone(),
        codec: options.codec.map_or(glasshouse_media::DEFAULT_CODEC, VideoCodec::from),
    };
    let room = room.clone();
    let handler = move |event| {
        if let Some(room) = room.get() {
            room.viewer_event(event);
        }
    };
    Engine::start(config, Box::new(handler))
}

async fn session(mut options: SessionOptions, managed: Option<&Managed>) -> anyhow::Result<ExitCode> {
    let mut signals = Stop::new().context("cannot hear signals")?;
    // Heard before the address is told: whoever reads it may send them.
    let (asked_again, asked_to_sleep) = (signal(SignalKind::user_defined1()), signal(SignalKind::user_defined2()));
    if let Some(managed) = managed {
        walls::limit(&mut options.walls, managed.limits());
    }
    let policy = walls::policy(&options.walls, managed.map(Managed::reach))?;
    // The ports come first: they fail fast, and nothing has to be taken down again.
    let room: Arc<OnceLock<Server>> = Arc::default();
    let (listener, engine) = ports(&options, managed, &room).await?;
    let kernel = kernel_ports::Ports::bind(&options, managed.is_some()).await?;

    let (ended, mut end) = watch::channel(None::<String>);
    let desktop = {
        let room = room.clone();
        let handler = move |event| {
            if let glasshouse_desktop::Event::Ended(reason) = &event {
                ended.send_replace(Some(reason.clone()));
            }
            if let Some(room) = room.get() {
                room.desktop_event(event);
            }
        };
        // A signal during the start must not leave half a desktop: dropping the future ends what it has started.
        tokio::select! {
            desktop = Desktop::start(desktop_config(&options, managed)?, Arc::new(handler)) => Arc::new(desktop.map_err(explain)?),
            _ = signals.asked() => bail!("stopped while starting"),
        }
    };
    // What the programs have asked for so far waits in the listeners.
    let way_out = walls::serve_way_out(&desktop, policy, options.walls.log_requests)?;

    let video = {
        let engine = engine.clone();
        let config = VideoConfig {
            display: desktop.display().to_owned(),
            xauthority: desktop.xauthority().map(Into::into),
            max_fps: options.max_fps,
            max_bit_rate: options.max_bit_rate.saturating_mul(1_000),
        };
        match Video::start(config, Arc::new(move |frame| engine.video_frame(frame))) {
            Ok(video) => Arc::new(video),
            Err(error) => {
                // A program that ends at once takes the display with it; that is then what is to be told.
                let told = tokio::time::timeout(FAREWELL, end.wait_for(Option::is_some)).await;
                let reason = told.ok().and_then(Result::ok).and_then(|reason| reason.clone());
                desktop.end().await;
                let Some(reason) = reason else { return Err(error.into()) };
                eprintln!("session ended: {reason}");
                return Ok(ExitCode::SUCCESS);
            }
        }
    };
    let audio = match desktop.sound_fifo() {
        None => None,
        Some(fifo) => {
            let engine = engine.clone();
            let config = AudioConfig {
                fifo: fifo.to_owned(),
                bit_rate: options.audio_bit_rate.saturating_mul(1_000),
                frame: Duration::from_millis(10),
            };
            Some(Arc::new(Audio::start(config, Arc::new(move |packet| engine.audio_packet(packet)))?))
        }
    };
    engine.attach(video.clone(), audio.clone());
    tokio::spawn(rest::whenever_still(Arc::downgrade(&video)));

    let (provider, generated) = provider(&options)?;
    let mut config = server_config(&options, managed, provider);
    let kernel_token = kernel.token(&mut config.api_token)?;
    let server = Server::new(config, desktop.clone(), engine.clone());
    server.attach_video(video.clone());
    server.attach_readings(readings::of(&desktop, way_out.as_ref()));
    // Nobody else sets it.
    let _ = room.set(server.clone());

    server.set_mode(options.programs.into());
    let trail = Trail::begin(trail_file(&options, managed, &desktop), options.trail_contents)
        .context("cannot write the trail; choose another directory with --trail")?;
    server.attach_trail(trail.reader());
    let programs = Programs::new(&server, trail.recorder());
    let automation = automation::gate(&options, managed.map(Managed::cdp_token), &desktop, &programs)?;
    let gate = automation.as_ref().map(|automation| automation.gate.clone());
    let scroller = gate.as_ref().map(|gate| fine::attach(&desktop, gate));
    let computer = computer::make(&options, &desktop, &server, &programs);
    let rfb = vnc::make(&options, &desktop, &server);
    let inner = server.router_with_page(automation::page(gate.clone(), computer.clone(), rfb.clone(), None));
    let mcp = mcp::make(&options, &server, gate.clone(), inner);
    let page = automation::page(gate.clone(), computer.clone(), rfb.clone(), Some(mcp.clone()));
    let routes = server.router_with_page(page);
    let listen = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let asks = mcp::attach_asks(&options, listen, &server, gate.as_ref())?;
    let socket = match managed {
        None => None,
        Some(managed) => {
            let claimed = Claimed::new(&options, desktop.clone(), gate.clone(), way_out.clone());
            let (desktop, server, engine) = (desktop.clone(), server.clone(), engine.clone());
            Some(behind::Socket::serve(managed, routes.clone(), desktop, server, engine, claimed)?)
        }
    };
    let kernel = kernel.serve(&options, kernel_token, &computer, automation.as_ref())?;
    if let Some(listen) = listen {
        announce(&options, listen, &server, &desktop, generated.as_ref(), automation.as_ref(), &kernel)?;
    }

    let sleeper = tokio::spawn(sleep_by_signal(desktop.clone(), asked_to_sleep));
    let mut over = end.clone();
    let page = listen.map(|listen| address(&options, listen));
    let stopping = server.clone();
    let (told, mut is_told) = watch::channel(false);
    let stop = async move {
        let reason = tokio::select! {
            signal = signals.asked() => signal.to_owned(),
            // The sender lives in the desktop's handler.
            _ = over.wait_for(Option::is_some) => "the desktop ended".to_owned(),
            () = announce_again(page.as_deref(), &stopping, asked_again) => "asked for links no more".to_owned(),
        };
        tracing::info!(reason, "stopping");
        let gate = async {
            if let Some(gate) = gate {
                gate.shutdown().await;
            }
        };
        computer.shutdown();
        programs.shutdown();
        mcp.shutdown();
        if let Some(rfb) = rfb {
            rfb.shutdown();
        }
        tokio::join!(stopping.shutdown(), gate);
        told.send_replace(true);
    };
    match listener {
        None => stop.await,
        Some(listener) => {
            let engine = engine.clone();
            let port = Port::new(listener, move |stream| engine.accept_tcp(stream))?;
            let app = routes.layer(axum::middleware::map_request(share_peer));
            let serving = axum::serve(port, app.into_make_service_with_connect_info::<Connection>());
            // A client that does not read what it asked for must not hold us up.
            let cut = async {
                let _ = is_told.wait_for(|is_told| *is_told).await;
                tokio::time::sleep(LAST_WORDS).await;
            };
            tokio::select! {
                served = serving.with_graceful_shutdown(stop).into_future() => served?,
                () = cut => tracing::info!("clients that did not read were cut off"),
            }
        }
    }

    drop((socket, kernel, scroller));
    sleeper.abort();
    engine.stop();
    video.stop();
    drop((video, audio, server, room, way_out, asks));
    trail.end();
    desktop.end().await;
    let reason = end.borrow_and_update().clone();
    if let Some(reason) = reason {
        eprintln!("session ended: {reason}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the trail is written: where it is to be kept, beside a kept profile, or in the desktop's own directory, which goes with it.
fn trail_file(options: &SessionOptions, managed: Option<&Managed>, desktop: &Desktop) -> Option<PathBuf> {
    if let Some(folder) = &options.trail {
        let name = managed.map_or_else(|| "trail".to_owned(), |managed| managed.id().to_string());
        return Some(folder.join(name + ".jsonl"));
    }
    if let Some(profile) = &options.profile {
        let mut name = profile.file_name()?.to_owned();
        name.push(glasshouse_fleet::TRAIL_OF_PROFILE);
        return Some(profile.with_file_name(name));
    }
    // Two folders above that of the downloads; the programs have no right to write there.
    Some(desktop.downloads().parent()?.parent()?.join("trail.jsonl"))
}

/// The two ends of a connection, in a type of this crate so that axum can make it.
#[derive(Clone, Copy)]
struct Connection(Peer);

impl axum::extract::connect_info::Connected<IncomingStream<'_, Port>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Port>) -> Self {
        Self(*stream.remote_addr())
    }
}

async fn share_peer(ConnectInfo(Connection(peer)): ConnectInfo<Connection>, mut request: Request) -> Request {
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

impl From<ProgramsMode> for glasshouse_room::Mode {
    fn from(mode: ProgramsMode) -> Self {
        match mode {
            ProgramsMode::Together => Self::Together,
            ProgramsMode::PersonFirst => Self::PersonFirst,
            ProgramsMode::WatchOnly => Self::WatchOnly,
        }
    }
}

impl From<Codec> for VideoCodec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Vp8 => Self::Vp8,
            Codec::Vp9 => Self::Vp9,
            Codec::H264 => Self::H264,
        }
    }
}

/// Names the way to go on without walls, which has to be asked for.
fn explain(error: glasshouse_desktop::Error) -> anyhow::Error {
    match error {
        glasshouse_desktop::Error::Walls(_) => {
            anyhow::anyhow!("{error} ('glasshouse doctor' checks this machine; --isolation=none goes without walls)")
        }
        error => error.into(),
    }
}

fn desktop_config(options: &SessionOptions, managed: Option<&Managed>) -> anyhow::Result<glasshouse_desktop::Config> {
    let flags = options.app_flags.clone();
    let app = match (&options.command[..], &options.display, options.app) {
        ([], Some(_), _) | ([], None, AppName::None) => App::None,
        ([], None, AppName::Chromium) => {
            App::Chromium { url: options.url.clone(), flags, only_given_flags: options.no_default_flags }
        }
        ([], None, AppName::Firefox) => App::Firefox { url: options.url.clone(), flags },
        (command, _, _) => App::Command(command.to_vec()),
    };
    let on_exit = match options.on_exit {
        Some(OnExit::Restart) => glasshouse_desktop::OnExit::Restart,
        Some(OnExit::Stop) => glasshouse_desktop::OnExit::Stop,
        None if options.command.is_empty() => glasshouse_desktop::OnExit::Restart,
        None => glasshouse_desktop::OnExit::Stop,
    };
    let program = env::current_exe().context("cannot find this program's own file")?;
    Ok(glasshouse_desktop::Config {
        display: match &options.display {
            Some(name) => Display::Existing(name.clone()),
            None => Display::Own(options.screen),
        },
        glx: match options.glx {
            Glx::Auto => !matches!(app, App::Chromium { .. }),
            Glx::On => true,
            Glx::Off => false,
        },
        app,
        on_exit,
        window_manager: !options.no_window_manager && options.display.is_none(),
        sound: !options.no_sound,
        profile: options.profile.clone(),
        environment: managed.map(environment).unwrap_or_default(),
        devtools: automation::clients(options) > 0,
        walls: walls::walls(options)?,
        keeper: vec![program.into(), "keeper".into()],
    })
}

/// Passwords that were made up, to be shown once.
struct Generated {
    user: Option<String>,
    admin: Option<String>,
}

fn provider(options: &SessionOptions) -> anyhow::Result<(glasshouse_neko::Provider, Option<Generated>)> {
    if options.provider == Provider::Noauth {
        if !options.listen.ip().is_loopback() {
            tracing::warn!(listen = %options.listen, "anybody who reaches this address is admin (--provider noauth)");
        }
        return Ok((glasshouse_neko::Provider::NoAuth, None));
    }
    let given = |name: &str| env::var(name).ok().filter(|password| !password.is_empty());
    let (user, admin) = (given("GLASSHOUSE_USER_PASSWORD"), given("GLASSHOUSE_ADMIN_PASSWORD"));
    if user.is_some() && user == admin {
        bail!(
            "GLASSHOUSE_USER_PASSWORD and GLASSHOUSE_ADMIN_PASSWORD are the same: everybody would be admin; make them differ"
        );
    }
    let mut generated = Generated { user: None, admin: None };
    let mut or_make = |password: Option<String>, is_admin: bool| -> anyhow::Result<String> {
        if let Some(password) = password {
            return Ok(password);
        }
        let made = glasshouse_neko::random_password()?;
        *(if is_admin { &mut generated.admin } else { &mut generated.user }) = Some(made.clone());
        Ok(made)
    };
    let provider = glasshouse_neko::Provider::Multiuser {
        user_password: or_make(user, false)?,
        admin_password: or_make(admin, true)?,
    };
    Ok((provider, Some(generated)))
}

fn environment(managed: &Managed) -> BTreeMap<OsString, OsString> {
    managed.environment().iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn server_config(
    options: &SessionOptions,
    managed: Option<&Managed>,
    provider: glasshouse_neko::Provider,
) -> glasshouse_neko::Config {
    let from_environment = || env::var("GLASSHOUSE_API_TOKEN").ok().filter(|token| !token.is_empty());
    glasshouse_neko::Config {
        provider,
        settings: glasshouse_room::Settings::default(),
        path_prefix: options.path_prefix.clone(),
        cors: options.cors.clone(),
        allowed_hosts: options.allowed_hosts.clone(),
        api_token: managed.map(|managed| managed.api_token().to_owned()).or_else(from_environment),
        ice_servers: Vec::new(),
    }
}

/// Where a person on this machine opens the page.
pub(crate) fn address(options: &SessionOptions, listen: SocketAddr) -> String {
    let host = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    let prefix = options.path_prefix.trim_matches('/');
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("http://{}/{prefix}{slash}", SocketAddr::new(host, listen.port()))
}

fn announce(
    options: &SessionOptions,
    listen: SocketAddr,
    server: &Server,
    desktop: &Desktop,
    generated: Option<&Generated>,
    automation: Option<&Automation>,
    kernel: &kernel_ports::Serving,
) -> anyhow::Result<()> {
    let cdp = automation.map(|automation| format!("{}cdp?token={}", address(options, listen), automation.token));
    let page = address(options, listen);
    let url = format!("{page}#token={}", server.one_time_admin_token());
    let mut out = std::io::stdout().lock();
    if options.json {
        let line = serde_json::json!({
            "url": url,
            "listen": listen.to_string(),
            "display": desktop.display(),
            "xauthority": desktop.xauthority(),
            "pid": std::process::id(),
            "user_password": generated.and_then(|generated| generated.user.as_ref()),
            "admin_password": generated.and_then(|generated| generated.admin.as_ref()),
            "cdp": cdp,
            "kernel_api": kernel.api,
            "kernel_cdp": kernel.cdp,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "\n  Open {url}\n\n  The link works once, for ten minutes; kill -USR1 {} prints another.",
            std::process::id()
        )?;
        if let Some(generated) = generated {
            for (who, password) in [("Guests", &generated.user), ("Admins", &generated.admin)] {
                if let Some(password) = password {
                    writeln!(out, "  {who} log in at {page} with any name and the password {password}")?;
                }
            }
        }
        if let Some(cdp) = cdp {
            writeln!(out, "  Programs connect to {cdp} (Playwright's connectOverCDP, Puppeteer, any CDP client)")?;
        }
        for (what, port) in [("API", kernel.api), ("DevTools", kernel.cdp)] {
            if let Some(port) = port {
                writeln!(out, "  Clients of kernel-images find their {what} at http://{port}")?;
            }
        }
        writeln!(out)?;
    }
    out.flush()?;
    Ok(())
}

/// Prints a fresh link at every SIGUSR1, to a page that is reached without a server.
async fn announce_again(page: Option<&str>, server: &Server, asked: std::io::Result<Signal>) {
    let Some(page) = page else { return std::future::pending().await };
    let Ok(mut asked) = asked else { return std::future::pending().await };
    while asked.recv().await.is_some() {
        let mut out = std::io::stdout().lock();
        // Nobody may be reading any more; the session goes on.
        let _ = writeln!(out, "  Open {page}#token={}", server.one_time_admin_token()).and_then(|()| out.flush());
    }
}

/// Freezes the desktop, or lets it go on, at every SIGUSR2.
async fn sleep_by_signal(desktop: Arc<Desktop>, asked: std::io::Result<Signal>) {
    let Ok(mut asked) = asked else { return };
    while asked.recv().await.is_some() {
        let done = if desktop.is_asleep() { desktop.thaw().await } else { desktop.freeze().await };
        if let Err(error) = done {
            tracing::warn!(%error, "SIGUSR2");
        }
    }
}
