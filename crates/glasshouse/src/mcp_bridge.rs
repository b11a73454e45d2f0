//! `glasshouse mcp`: the Model Context Protocol on standard input and output, for a session that runs elsewhere.
//!
//! A bridge to the session's own `/mcp`: each line is one message, which is sent on as it is. A session of the protocol that
//! has expired meanwhile is begun anew, unseen by the client, which may have been idle for hours.

use std::{
    env,
    io::{self, BufRead, Read, Write},
    process::ExitCode,
    sync::Arc,
    thread,
};

use anyhow::{Context, bail};
use bytes::{Bytes, BytesMut};
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, body::Incoming, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::JoinSet,
};

use crate::{
    outgoing::Outgoing,
    remote::{Server, ServerOptions, whole},
};

/// Longest message in bytes, and longest event, which may hold a picture.
const MAX_LINE: u64 = 2 * 1024 * 1024;
const MAX_EVENT: usize = 64 * 1024 * 1024;
/// Requests that are waited for at a time.
const MAX_WAITING: usize = 64;
/// Names the session of the protocol.
const SESSION: &str = "mcp-session-id";
/// Code of an error of ours, as JSON-RPC has it for servers.
const FAILED: i64 = -32000;

/// Options of `mcp`.
#[derive(Debug, Args)]
pub(crate) struct BridgeOptions {
    /// Id or name of a session of the running server.
    #[arg(long, value_name = "SESSION", required_unless_present = "url", conflicts_with = "url")]
    session: Option<String>,
    /// Address of a session's page, such as http://127.0.0.1:8080/ or https://host/s/ID/. Its token is taken from
    /// GLASSHOUSE_TOKEN, or else a password to log in with from GLASSHOUSE_PASSWORD.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    server: ServerOptions,
}

/// Bridges until the input ends.
pub(crate) fn run(options: BridgeOptions) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(bridge(options))
}

/// Where a session is, and how to get in.
struct Way {
    /// Of its page, with a slash at the end.
    base: String,
    outgoing: Outgoing,
    entry: Entry,
}

enum Entry {
    /// With this token, always.
    Token(String),
    /// By a link of the server's, made when it is needed.
    Link(Server, String),
    Password(String),
}

impl Way {
    async fn find(options: &BridgeOptions) -> anyhow::Result<Self> {
        let (base, entry) = match (&options.url, &options.session) {
            (Some(url), _) => {
                let given = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
                let entry = given("GLASSHOUSE_TOKEN").map(Entry::Token);
                let entry = entry.or_else(|| given("GLASSHOUSE_PASSWORD").map(Entry::Password));
                let entry = entry.context(
                    "no token: set GLASSHOUSE_TOKEN to one of the session, or GLASSHOUSE_PASSWORD to its password",
                )?;
                (base_of(url), entry)
            }
            (None, Some(session)) => {
                let server = Server::find(&options.server)?;
                let id = server.id(session).await?;
                (format!("{}s/{id}/", server.url()), Entry::Link(server, id))
            }
            (None, None) => bail!("name a session with --session, or its address with --url"),
        };
        let uri: Uri = base.parse().with_context(|| format!("no address: {base}"))?;
        Ok(Self { outgoing: Outgoing::for_address(&uri)?, base, entry })
    }

    /// A token of the session.
    async fn enter(&self) -> anyhow::Result<String> {
        let password = match &self.entry {
            Entry::Token(token) => return Ok(token.clone()),
            Entry::Password(password) => password.clone(),
            Entry::Link(server, id) => {
                let link = server.link(id, true).await?;
                link["token"].as_str().context("the server makes no link")?.to_owned()
            }
        };
        let body = json!({ "username": "MCP", "password": password }).to_string();
        let response = self.send(Method::POST, "api/login", HeaderMap::new(), body.into()).await?;
        let status = response.status();
        let answer: Value = serde_json::from_slice(&whole(response).await?).unwrap_or_default();
        let token = answer["token"].as_str().map(str::to_owned);
        token.with_context(|| {
            format!("the session lets nobody in: {}", answer["message"].as_str().unwrap_or(status.as_str()))
        })
    }

    async fn leave(&self, token: &str) {
        if !matches!(self.entry, Entry::Token(_))
            && let Ok(headers) = bearer(token)
        {
            // Gone by itself, should this not be heard.
            let _ = self.send(Method::POST, "api/logout", headers, Bytes::new()).await;
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(own) = request.headers_mut() {
            own.extend(headers);
            own.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
            own.insert(header::ACCEPT, header::HeaderValue::from_static("application/json, text/event-stream"));
        }
        self.outgoing.send(request.body(Full::new(body))?).await
    }
}

fn bearer(token: &str) -> anyhow::Result<HeaderMap> {
    Ok(HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {token}").parse()?)]))
}

/// The address of a session's page, of whatever a person has copied.
fn base_of(url: &str) -> String {
    let url = url.split(['#', '?']).next().unwrap_or_default().trim_end_matches('/');
    let url = url.strip_suffix("/mcp").unwrap_or(url);
    format!("{url}/")
}

/// What has been agreed with the session.
#[derive(Default, Clone)]
struct Agreed {
    token: String,
    session: Option<String>,
    version: Option<String>,
}

impl Agreed {
    fn headers(&self) -> anyhow::Result<HeaderMap> {
        let mut headers = bearer(&self.token)?;
        if let Some(session) = &self.session {
            headers.insert(SESSION, session.parse()?);
        }
        if let Some(version) = &self.version {
            headers.insert("mcp-protocol-version", version.parse()?);
        }
        Ok(headers)
    }
}

struct Bridge {
    way: Way,
    agreed: Mutex<Agreed>,
    /// The client's first message, to begin anew with.
    first: Mutex<Option<Bytes>>,
}

async fn bridge(options: BridgeOptions) -> anyhow::Result<ExitCode> {
    let way = Way::find(&options).await?;
    let token = way.enter().await?;
    let agreed = Agreed { token, ..Agreed::default() };
    let bridge = Arc::new(Bridge { way, agreed: Mutex::new(agreed), first: Mutex::default() });
    let mut stop = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let result = tokio::select! {
        result = bridge.serve() => result,
        _ = stop.0.recv() => Ok(()),
        _ = stop.1.recv() => Ok(()),
    };
    bridge.end().await;
    result.map(|()| ExitCode::SUCCESS)
}

impl Bridge {
    async fn serve(self: &Arc<Self>) -> anyhow::Result<()> {
        let mut input = lines();
        let mut waiting = JoinSet::new();
        loop {
            let Some(line) = input.recv().await else { return Ok(()) };
            let line = line?;
            let line = Bytes::from(line.trim_ascii().to_vec());
            if line.is_empty() {
                continue;
            }
            while waiting.try_join_next().is_some() {}
            if waiting.len() >= MAX_WAITING {
                waiting.join_next().await;
            }
            let message = serde_json::from_slice::<Value>(&line).unwrap_or_default();
            // Sent in their order, so that a request comes before its cancellation; what is answered, comes when it does.
            match self.pass(&message, &line).await {
                Ok(Some(response)) => {
                    let bridge = self.clone();
                    let id = message.get("id").cloned();
                    let is_first = message["method"] == "initialize";
                    let answering = async move {
                        if let Err(error) = bridge.answer(response, is_first).await {
                            fail(id.as_ref(), &error);
                        }
                    };
                    // Nothing may follow before there is a session.
                    if is_first {
                        answering.await;
                    } else {
                        waiting.spawn(answering);
                    }
                }
                Ok(None) => {}
                Err(error) => fail(message.get("id"), &error),
            }
        }
    }

    /// Sends a message; begins anew if the session does not know us any more.
    async fn pass(&self, message: &Value, line: &Bytes) -> anyhow::Result<Option<Response<Incoming>>> {
        let is_first = message["method"] == "initialize";
        if is_first {
            *self.first.lock() = Some(line.clone());
            let mut agreed = self.agreed.lock();
            (agreed.session, agreed.version) = (None, None);
        }
        let response = self.post(line.clone()).await?;
        let is_unknown = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND);
        let response =
            if is_unknown && self.begin_anew(is_first).await? { self.post(line.clone()).await? } else { response };
        let status = response.status();
        if status == StatusCode::ACCEPTED {
            return Ok(None);
        }
        if !status.is_success() {
            let body = whole(response).await.unwrap_or_default();
            let problem = serde_json::from_slice::<Value>(&body).unwrap_or_default();
            let said = problem["detail"].as_str().or(problem["error"]["message"].as_str());
            bail!("{}", said.map_or_else(|| format!("the session answers {status}"), str::to_owned));
        }
        Ok(Some(response))
    }

    async fn post(&self, line: Bytes) -> anyhow::Result<Response<Incoming>> {
        let headers = self.agreed.lock().headers()?;
        self.way.send(Method::POST, "mcp", headers, line).await
    }

    /// Logs in again where that is possible, and begins as the client did; whether it is worth trying again.
    async fn begin_anew(&self, is_first: bool) -> anyhow::Result<bool> {
        if !matches!(self.way.entry, Entry::Token(_)) {
            let token = self.way.enter().await?;
            self.agreed.lock().token = token;
        } else if is_first {
            return Ok(false);
        }
        let first = self.first.lock().clone();
        let Some(first) = first.filter(|_| !is_first) else { return Ok(is_first) };
        {
            let mut agreed = self.agreed.lock();
            (agreed.session, agreed.version) = (None, None);
        }
        let response = self.post(first).await?;
        if !response.status().is_success() {
            return Ok(false);
        }
        self.note_session(&response);
        for event in events_of(response).await? {
            self.note_version(&event);
        }
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string();
        Ok(self.post(ready.into()).await?.status().is_success())
    }

    fn note_session(&self, response: &Response<Incoming>) {
        if let Some(session) = response.headers().get(SESSION).and_then(|id| id.to_str().ok()) {
            self.agreed.lock().session = Some(session.to_owned());
        }
    }

    fn note_version(&self, message: &Value) {
        if let Some(version) = message["result"]["protocolVersion"].as_str() {
            self.agreed.lock().version = Some(version.to_owned());
        }
    }

    /// Writes what is answered, message by message.
    async fn answer(&self, response: Response<Incoming>, is_first: bool) -> anyhow::Result<()> {
        self.note_session(&response);
        let mut reader = Events::new(response);
        while let Some(message) = reader.next().await? {
            if is_first {
                self.note_version(&message);
            }
            write(&message)?;
        }
        Ok(())
    }

    async fn end(&self) {
        let agreed = self.agreed.lock().clone();
        if agreed.session.is_some()
            && let Ok(headers) = agreed.headers()
        {
            // It expires by itself, should this not be heard.
            let _ = self.way.send(Method::DELETE, "mcp", headers, Bytes::new()).await;
        }
        self.way.leave(&agreed.token).await;
    }
}

/// The messages of an answer, of one JSON value or of a stream of events.
struct Events {
    response: Response<Incoming>,
    is_stream: bool,
    seen: BytesMut,
    /// Of the event that is being read.
    data: Vec<u8>,
}

impl Events {
    fn new(response: Response<Incoming>) -> Self {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
        Self { response, is_stream, seen: BytesMut::new(), data: Vec::new() }
    }

    async fn next(&mut self) -> anyhow::Result<Option<Value>> {
        if !self.is_stream {
            let body = Limited::new(self.response.body_mut(), MAX_EVENT).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
            return if body.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&body)?)) };
        }
        loop {
            while let Some(end) = self.seen.iter().position(|byte| *byte == b'\n') {
                let line = self.seen.split_to(end + 1);
                let line = line.trim_ascii_end();
                if let Some(data) = line.strip_prefix(b"data:") {
                    self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
                } else if line.is_empty() && !self.data.is_empty() {
                    return Ok(Some(serde_json::from_slice(&std::mem::take(&mut self.data))?));
                }
            }
            if self.seen.len() + self.data.len() > MAX_EVENT {
                bail!("an answer is larger than {MAX_EVENT} bytes");
            }
            let Some(frame) = self.response.body_mut().frame().await else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                self.seen.extend_from_slice(&data);
            }
        }
    }
}

async fn events_of(response: Response<Incoming>) -> anyhow::Result<Vec<Value>> {
    let (mut reader, mut all) = (Events::new(response), Vec::new());
    while let Some(message) = reader.next().await? {
        all.push(message);
        if !reader.is_stream {
            break;
        }
    }
    Ok(all)
}

/// The lines of the input, read by a thread that may wait for ever and ends with the process.
fn lines() -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(MAX_LINE + 1).read_until(b'\n', &mut line);
            let line = match read {
                Ok(0) => return,
                Ok(length) if length as u64 > MAX_LINE => Err(io::Error::other("a message is longer than 2 MiB")),
                Ok(_) => Ok(line),
                Err(error) => Err(error),
            };
            let is_end = line.is_err();
            if sender.blocking_send(line).is_err() || is_end {
                return;
            }
        }
    });
    receiver
}

/// Writes one message as one line.
fn write(message: &Value) -> io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    out.flush()
}

/// Tells the client that a request failed; of what is none, the person who reads the log.
fn fail(id: Option<&Value>, error: &anyhow::Error) {
    let text = format!("{error:#}");
    match id {
        // Nobody reads any more; the input will end.
        Some(id) => drop(write(&json!({ "jsonrpc": "2.0", "id": id, "error": { "code": FAILED, "message": text } }))),
        None => eprintln!("error: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_copy_them() {
        for (url, base) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
            ("http://127.0.0.1:8080/#token=x", "http://127.0.0.1:8080/"),
            ("https://a.example/s/abc/mcp", "https://a.example/s/abc/"),
            ("https://a.example/s/abc/mcp/?x", "https://a.example/s/abc/"),
        ] {
            assert_eq!(base_of(url), base, "{url}");
        }
    }
}
