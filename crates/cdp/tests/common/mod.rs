//! A real Chromium, a gate in front of it, and clients.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses its part; a failure is a test's failure")]

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use glasshouse_cdp::{Access as _, Config, Gate, Grant, Policy, Stream, Tokens, Upstream};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{self, Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};

/// Bounds a failure; a passing test never waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The token that may do everything but end the browser.
pub(crate) const FULL: &str = "the-full-token";

const PROGRAMS: [&str; 4] =
    ["/usr/lib/chromium/chromium", "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/// A headless Chromium with a profile of its own; both are gone with it.
pub(crate) struct Browser {
    child: Child,
    profile: PathBuf,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let profile = std::env::temp_dir().join(format!("glasshouse-cdp-{}-{number}", std::process::id()));
        fs::create_dir(&profile).unwrap();
        let mut browser = Self { child: spawn(&profile), profile };
        browser.wait_until_ready().await;
        browser
    }

    /// Ends it without a word and starts it again with the same profile.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.profile);
        self.wait_until_ready().await;
    }

    /// Ends it with all its children, which are in its process group.
    pub(crate) fn kill(&mut self) {
        let group = Pid::from_child(&self.child);
        let deadline = Instant::now() + PATIENCE;
        // The child itself stays a zombie until it is waited for, so its number cannot be another's.
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let _ = fs::remove_file(self.profile.join("DevToolsActivePort"));
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) {
        until("the browser ends", async || self.child.try_wait().unwrap().is_some()).await;
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    async fn wait_until_ready(&mut self) {
        let (profile, child) = (self.profile.clone(), &mut self.child);
        until("Chromium is ready", async || {
            assert!(child.try_wait().unwrap().is_none(), "Chromium ended at its start");
            match address(&profile) {
                Ok(address) => TcpStream::connect(address).await.is_ok(),
                Err(_) => false,
            }
        })
        .await;
    }

    /// The way to it, also after a restart.
    pub(crate) fn upstream(&self) -> Upstream {
        let profile = self.profile.clone();
        Upstream::new(move || {
            let address = address(&profile);
            async move {
                let stream = TcpStream::connect(address?).await?;
                stream.set_nodelay(true)?;
                Ok(Box::new(stream) as Box<dyn Stream>)
            }
        })
    }

    /// The address of its own WebSocket, without a gate.
    pub(crate) fn straight(&self) -> String {
        let text = fs::read_to_string(self.profile.join("DevToolsActivePort")).unwrap();
        let (port, path) = text.split_once('\n').unwrap();
        format!("ws://127.0.0.1:{port}{path}")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

fn spawn(profile: &Path) -> Child {
    let program = PROGRAMS.iter().find(|program| Path::new(program).exists()).expect("install chromium");
    // The kernel ends it when the test is gone, however it went.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "--", program]);
    if is_root() {
        // Chromium's own sandbox refuses root.
        command.arg("--no-sandbox");
    }
    let mut data = std::ffi::OsString::from("--user-data-dir=");
    data.push(profile);
    command
        .arg(data)
        .process_group(0)
        .args(["--headless=new", "--remote-debugging-port=0", "--no-first-run", "--disable-gpu", "--disable-breakpad"])
        .args(["--disable-background-networking", "--disable-component-update", "about:blank"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn address(profile: &Path) -> io::Result<SocketAddr> {
    let text = fs::read_to_string(profile.join("DevToolsActivePort"))?;
    let port = text.lines().next().and_then(|line| line.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// Polls until something is true.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Fails when something takes longer than a failure may.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("never happened: {what}"))
}

/// A gate on a port of its own.
pub(crate) struct Door {
    pub(crate) gate: Gate,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Door {
    pub(crate) async fn open(upstream: Upstream) -> Self {
        Self::open_with(upstream, |_| {}).await
    }

    pub(crate) async fn open_with(upstream: Upstream, change: impl FnOnce(&mut Config)) -> Self {
        let tokens = Arc::new(Tokens::default());
        tokens.add(FULL, Grant::new(Policy::full(), None));
        let mut config = Config::new(upstream, tokens.clone());
        change(&mut config);
        let gate = Gate::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = gate.router::<()>();
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { gate, tokens, address, serving }
    }

    /// A token with this policy.
    pub(crate) fn token(&self, policy: Policy) -> String {
        self.tokens.issue(policy, None).unwrap()
    }

    /// One request; status, headers as text, and body.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, String) {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += "\r\n";
        request += body;
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        soon("the answer comes", stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let (status, _, body) = self.ask("GET", path, &[], "").await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A client of the browser's WebSocket.
    pub(crate) async fn client(&self, token: &str) -> Client {
        Client::connect(&format!("ws://{}/cdp?token={token}", self.address)).await.unwrap()
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A CDP client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next: i64,
}

impl Client {
    pub(crate) async fn connect(url: &str) -> Result<Self, tungstenite::Error> {
        Self::connect_with(url, &[]).await
    }

    pub(crate) async fn connect_with(url: &str, headers: &[(&'static str, &str)]) -> Result<Self, tungstenite::Error> {
        let mut request = url.into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let limits = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(limits), true);
        let (socket, _) = soon("the client connects", connecting).await?;
        Ok(Self { socket, next: 0 })
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.socket.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Calls a method; the whole answer.
    pub(crate) async fn call(&mut self, method: &str, params: Value, session: Option<&str>) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.send(&message).await;
        loop {
            let message = self.read().await.expect("an answer before the end");
            if message["id"] == id {
                return message;
            }
        }
    }

    /// The next message; the close code and reason at the end.
    pub(crate) async fn read(&mut self) -> Result<Value, (u16, String)> {
        loop {
            match soon("a message comes", self.socket.next()).await {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => {
                    return Err(
                        frame.map_or((1005, String::new()), |frame| (frame.code.into(), frame.reason.to_string()))
                    );
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err((1006, error.to_string())),
                None => return Err((1006, String::new())),
            }
        }
    }

    /// The close code and reason, after whatever comes before.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Err(end) = self.read().await {
                return end;
            }
        }
    }

    /// Opens a page and attaches to it.
    pub(crate) async fn page(&mut self) -> String {
        let made = self.call("Target.createTarget", json!({ "url": "about:blank" }), None).await;
        let target = made["result"]["targetId"].as_str().unwrap().to_owned();
        self.attach(&target).await
    }

    pub(crate) async fn attach(&mut self, target: &str) -> String {
        let answer = self.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }), None).await;
        answer["result"]["sessionId"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub(crate) async fn evaluate(&mut self, code: &str, session: &str) -> Value {
        let params = json!({ "expression": code, "returnByValue": true });
        let answer = self.call("Runtime.evaluate", params, Some(session)).await;
        answer["result"]["result"]["value"].clone()
    }
}

/// A way that counts how often it was taken.
pub(crate) fn counted(upstream: Upstream) -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let counted = Upstream::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        let upstream = upstream.clone();
        async move { upstream.connect().await }
    });
    (counted, count)
}

/// The status of a refused handshake, and its body.
pub(crate) fn refusal(error: &tungstenite::Error) -> (u16, String) {
    match error {
        tungstenite::Error::Http(response) => {
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned();
            (response.status().as_u16(), body)
        }
        other => panic!("not an HTTP answer: {other}"),
    }
}
