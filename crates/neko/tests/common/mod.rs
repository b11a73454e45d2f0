//! A server over a desktop and an engine that record what they are told.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderMap, Request, StatusCode},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use glasshouse_desktop::{Cursor, Error as DesktopError, Input, KeyboardMap, KeyboardModifiers, ProgramState, Size};
use glasshouse_neko::{
    Config, Peer, Provider, Server,
    seam::{Desk, Media, Pending},
};
use glasshouse_webrtc::{
    ConnectOptions, DelayHistogram, Error as EngineError, Offer, VideoChoice, ViewerId, ViewerStats,
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};
use tower::ServiceExt;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct FakeDesk {
    pub inputs: Mutex<Vec<Input>>,
    pub size: Mutex<Option<Size>>,
    pub text: Mutex<String>,
    pub html: Mutex<String>,
    pub png: Mutex<Option<Vec<u8>>>,
    pub map: Mutex<KeyboardMap>,
    pub modifiers: Mutex<KeyboardModifiers>,
    pub shots: Mutex<Vec<u8>>,
    pub fails: Mutex<bool>,
    pub asleep: std::sync::atomic::AtomicBool,
}

fn ready<T: Send + 'static>(value: T) -> Pending<'static, T> {
    Box::pin(std::future::ready(value))
}

impl FakeDesk {
    pub fn take_inputs(&self) -> Vec<Input> {
        std::mem::take(&mut self.inputs.lock())
    }

    fn outcome<T>(&self, value: T) -> Result<T, DesktopError> {
        if *self.fails.lock() { Err(DesktopError::Invalid("broken".into())) } else { Ok(value) }
    }
}

impl Desk for FakeDesk {
    fn input(&self, input: Input) {
        self.inputs.lock().push(input);
    }
    fn size(&self) -> Size {
        self.size.lock().unwrap_or(Size { width: 1280, height: 720 })
    }
    fn sizes(&self) -> Vec<Size> {
        vec![Size { width: 1280, height: 720 }, Size { width: 1920, height: 1080 }]
    }
    fn resize(&self, size: Size, _: u16) -> Pending<'_, Result<Size, DesktopError>> {
        *self.size.lock() = Some(size);
        ready(self.outcome(size))
    }
    fn screenshot_jpeg(&self, quality: u8) -> Pending<'_, Result<Vec<u8>, DesktopError>> {
        self.shots.lock().push(quality);
        ready(self.outcome(vec![0xff, 0xd8, quality]))
    }
    fn cursor(&self) -> Option<Arc<Cursor>> {
        Some(Arc::new(Cursor { width: 24, height: 24, x_hot: 4, y_hot: 4, png: vec![9; 300] }))
    }
    fn clipboard_text(&self) -> Pending<'_, Result<String, DesktopError>> {
        ready(self.outcome(self.text.lock().clone()))
    }
    fn clipboard_html(&self) -> Pending<'_, Result<String, DesktopError>> {
        ready(self.outcome(self.html.lock().clone()))
    }
    fn clipboard_png(&self) -> Pending<'_, Result<Option<Vec<u8>>, DesktopError>> {
        ready(self.outcome(self.png.lock().clone()))
    }
    fn set_clipboard(&self, text: Option<String>, html: Option<String>) -> Pending<'_, Result<(), DesktopError>> {
        *self.text.lock() = text.unwrap_or_default();
        *self.html.lock() = html.unwrap_or_default();
        ready(self.outcome(()))
    }
    fn keyboard_map(&self) -> Pending<'_, Result<KeyboardMap, DesktopError>> {
        ready(self.outcome(self.map.lock().clone()))
    }
    fn set_keyboard_map(&self, map: KeyboardMap) -> Pending<'_, Result<(), DesktopError>> {
        *self.map.lock() = map;
        ready(self.outcome(()))
    }
    fn keyboard_modifiers(&self) -> Pending<'_, Result<KeyboardModifiers, DesktopError>> {
        ready(self.outcome(*self.modifiers.lock()))
    }
    fn set_keyboard_modifiers(&self, modifiers: KeyboardModifiers) -> Pending<'_, Result<(), DesktopError>> {
        *self.modifiers.lock() = modifiers;
        ready(self.outcome(()))
    }
    fn programs(&self) -> Vec<(&'static str, ProgramState, String)> {
        let state = if *self.fails.lock() { ProgramState::Failed } else { ProgramState::Running };
        vec![("x-server", state, "started".into())]
    }
    fn has_sound(&self) -> bool {
        true
    }
    fn freeze(&self) -> Pending<'_, Result<(), DesktopError>> {
        let done = self.outcome(());
        self.asleep.store(done.is_ok(), std::sync::atomic::Ordering::Release);
        ready(done)
    }
    fn thaw(&self) -> Pending<'_, Result<(), DesktopError>> {
        self.wake();
        ready(self.outcome(()))
    }
    fn wake(&self) {
        self.asleep.store(false, std::sync::atomic::Ordering::Release);
    }
    fn is_asleep(&self) -> bool {
        self.asleep.load(std::sync::atomic::Ordering::Acquire)
    }
}

#[derive(Default)]
pub struct FakeMedia {
    /// One line per call.
    pub calls: Mutex<Vec<String>>,
    pub data: Mutex<Vec<(ViewerId, Bytes)>>,
    pub broadcasts: Mutex<Vec<(Option<ViewerId>, Bytes)>>,
    pub options: Mutex<Vec<(ViewerId, ConnectOptions)>>,
    pub refuse: Mutex<bool>,
}

impl FakeMedia {
    fn note(&self, call: String) {
        self.calls.lock().push(call);
    }

    fn outcome<T>(&self, value: T) -> Result<T, EngineError> {
        match *self.refuse.lock() {
            true => Err(EngineError::Signal { what: "answer", reason: "garbage".into() }),
            false => Ok(value),
        }
    }

    pub fn last_viewer(&self) -> ViewerId {
        self.options.lock().last().unwrap().0
    }
}

impl Media for FakeMedia {
    fn connect(&self, id: ViewerId, options: ConnectOptions) -> Pending<'_, Result<Offer, EngineError>> {
        self.options.lock().push((id, options));
        ready(self.outcome(Offer { sdp: "offer".into(), candidates: vec![] }))
    }
    fn accept(
        &self,
        id: ViewerId,
        options: ConnectOptions,
        sdp: String,
        channel: &'static str,
    ) -> Pending<'_, Result<String, EngineError>> {
        self.note(format!("accept {} {sdp} {channel}", id.0));
        self.options.lock().push((id, options));
        ready(self.outcome(format!("answer to {sdp}")))
    }
    fn answer(&self, id: ViewerId, sdp: String) -> Pending<'_, Result<(), EngineError>> {
        self.note(format!("answer {} {sdp}", id.0));
        ready(self.outcome(()))
    }
    fn offer(&self, _: ViewerId, sdp: String) -> Pending<'_, Result<String, EngineError>> {
        ready(self.outcome(format!("answer to {sdp}")))
    }
    fn restart_ice(&self, _: ViewerId) -> Pending<'_, Result<Offer, EngineError>> {
        ready(self.outcome(Offer { sdp: "restart".into(), candidates: vec![] }))
    }
    fn remote_candidate(&self, id: ViewerId, candidate: String) -> Pending<'_, Result<(), EngineError>> {
        self.note(format!("candidate {} {candidate}", id.0));
        ready(self.outcome(()))
    }
    fn set_video(&self, _: ViewerId, choice: VideoChoice) {
        self.note(format!("video {:?} auto={} codec={:?}", choice.quality, choice.auto, choice.codec));
    }
    fn set_audio(&self, _: ViewerId, disabled: bool) {
        self.note(format!("audio disabled={disabled}"));
    }
    fn set_paused(&self, _: ViewerId, paused: bool) {
        self.note(format!("paused={paused}"));
    }
    fn send_data(&self, id: ViewerId, message: Bytes) {
        self.data.lock().push((id, message));
    }
    fn broadcast_data(&self, except: Option<ViewerId>, message: Bytes) {
        self.broadcasts.lock().push((except, message));
    }
    fn change_to_send(&self) -> DelayHistogram {
        DelayHistogram { sum: 0.75, buckets: vec![(0.01, 2), (f64::INFINITY, 1)] }
    }
    fn close(&self, id: ViewerId) {
        self.note(format!("close {}", id.0));
    }
    fn stats(&self, _: ViewerId) -> Pending<'_, Result<ViewerStats, EngineError>> {
        ready(Ok(ViewerStats { bytes_sent: 7, protocol: Some("udp"), ..ViewerStats::default() }))
    }
}

/// neko's own defaults where ours differ, with known passwords.
pub fn config() -> Config {
    Config {
        provider: Provider::Multiuser { user_password: "user".into(), admin_password: "admin".into() },
        settings: glasshouse_room::Settings { inactive_cursors: false, ..Default::default() },
        path_prefix: "/".into(),
        cors: Vec::new(),
        allowed_hosts: Vec::new(),
        api_token: Some("api-secret".into()),
        ice_servers: vec![json!({ "urls": ["stun:stun.example.org:3478"] })],
    }
}

pub struct Harness {
    pub server: Server,
    pub desk: Arc<FakeDesk>,
    pub media: Arc<FakeMedia>,
    pub address: SocketAddr,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap()
    }
}

impl Harness {
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: Config) -> Self {
        let (desk, media) = (Arc::new(FakeDesk::default()), Arc::new(FakeMedia::default()));
        let server = Server::with_parts(config, desk.clone(), media.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(&server, address);
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { server, desk, media, address, serving }
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = router(&self.server, self.address).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec();
        Answer { status, headers, bytes }
    }

    pub async fn call(&self, method: &str, path: &str, token: &str, body: impl Into<String>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("Host", "localhost");
        if !token.is_empty() {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.send(request.body(Body::from(body.into())).unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, token, "").await
    }

    pub async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.call("POST", path, token, body.to_string()).await
    }

    /// Asserts status and exact body.
    pub async fn expect(&self, method: &str, path: &str, token: &str, body: &str, status: u16, answer: &str) {
        let got = self.call(method, path, token, body).await;
        let answer = if answer.is_empty() { String::new() } else { format!("{answer}\n") };
        assert_eq!((got.status.as_u16(), got.text()), (status, answer), "{method} {path} {body}");
    }

    /// Asserts an error answer.
    pub async fn refused(&self, method: &str, path: &str, token: &str, body: &str, status: u16, message: &str) {
        let answer = format!(r#"{{"code":{status},"message":"{message}"}}"#);
        self.expect(method, path, token, body, status, &answer).await;
    }

    /// Logs in; id and token.
    pub async fn login(&self, name: &str, password: &str) -> (String, String) {
        let answer = self.post("/api/login", "", json!({ "username": name, "password": password })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let answer = answer.json();
        (answer["id"].as_str().unwrap().to_owned(), answer["token"].as_str().unwrap().to_owned())
    }

    /// Opens the WebSocket; `query` is what follows `/api/ws?`.
    pub async fn open(&self, query: &str) -> Client {
        let url = format!("ws://{}/api/ws?{query}", self.address);
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Client(socket)
    }

    pub async fn open_with(&self, headers: &[(&'static str, &str)]) -> Result<(Client, HeaderMap), u16> {
        let mut request = format!("ws://{}/api/ws", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, response)) => Ok((Client(socket), response.headers().clone())),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Logs in and connects, and reads what every new connection gets.
    pub async fn join(&self, name: &str, password: &str) -> Member {
        self.join_as(name, password, "").await
    }

    pub async fn join_as(&self, name: &str, password: &str, query: &str) -> Member {
        let (id, token) = self.login(name, password).await;
        let mut client = self.open(&format!("token={token}{query}")).await;
        client.until("openinapp/init").await;
        Member { id, token, client }
    }

    /// Value of a metric, 0 when it is not there.
    pub async fn metric(&self, series: &str) -> u64 {
        let text = self.get("/metrics", "").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

fn router(server: &Server, local: SocketAddr) -> Router {
    let peer = Peer { remote: "192.0.2.1:1000".parse().unwrap(), local };
    server.router().layer(Extension(ConnectInfo(peer)))
}

pub struct Member {
    pub id: String,
    pub token: String,
    pub client: Client,
}

pub struct Client(pub WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>);

impl Client {
    /// The next frame of any kind; `None` when the connection is over.
    pub async fn frame(&mut self) -> Option<Message> {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("nothing came").and_then(Result::ok)
    }

    /// The next text, exactly as it came.
    pub async fn text(&mut self) -> String {
        loop {
            match self.frame().await.expect("the connection is over") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn next(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Reads until an event of this name comes; its payload.
    pub async fn until(&mut self, event: &str) -> Value {
        loop {
            let message = self.next().await;
            if message["event"] == event {
                return message["payload"].clone();
            }
        }
    }

    /// Names of the next events.
    pub async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.next().await["event"].as_str().unwrap().to_owned());
        }
        names
    }

    pub async fn say(&mut self, event: &str, payload: Value) {
        self.raw(&json!({ "event": event, "payload": payload }).to_string()).await;
    }

    pub async fn raw(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Comes back when everything said so far has been handled, with what came in between.
    pub async fn settle(&mut self) -> Vec<Value> {
        static MARKS: AtomicU64 = AtomicU64::new(0);
        let mark = format!("mark {}", MARKS.fetch_add(1, Ordering::Relaxed));
        self.say("chat/message", json!({ "text": mark })).await;
        let mut seen = Vec::new();
        loop {
            let message = self.next().await;
            if message["payload"]["content"]["text"] == mark {
                return seen;
            }
            seen.push(message);
        }
    }

    /// Code of the close frame that ends the connection, after skipping everything else.
    pub async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(frame) = self.frame().await {
            if let Message::Close(frame) = frame {
                code = frame.map(|frame| frame.code.into());
            }
        }
        code
    }
}

/// Replaces every time in a JSON text.
pub fn without_times(text: &str) -> String {
    let mut parts: Vec<String> = text.split('"').map(str::to_owned).collect();
    for part in &mut parts {
        let bytes = part.as_bytes();
        if bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes.ends_with(b"Z") {
            *part = "TIME".to_owned();
        }
    }
    parts.join("\"")
}

pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < end, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
