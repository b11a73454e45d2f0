//! The commands that talk to `glasshouse serve`: `new`, `ls`, `open`, `rm`, `freeze`, `thaw`, `logs`, `exec`, `profiles`.

use std::{fs, io::Write, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode, Uri,
    body::{Body, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::serve::{StateOptions, address_file};

/// How long a request may take: a session is waited for for a minute.
const PATIENCE: Duration = Duration::from_secs(90);
/// Largest answer in bytes.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// What to ask a running server.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create a session on the running server, and print its link when it is ready.
    New(Box<crate::new::NewOptions>),
    /// List the sessions of the running server.
    Ls(ListOptions),
    /// Print a fresh link to a session.
    Open(OpenOptions),
    /// End sessions.
    Rm(IdOptions),
    /// Stop the programs of sessions until they are used again.
    Freeze(IdOptions),
    /// Let the programs of sessions go on.
    Thaw(IdOptions),
    /// Print the end of what a session has logged.
    Logs(LogsOptions),
    /// Run a program within a session to its end.
    Exec(crate::exec::ExecOptions),
    /// Profiles that outlive their sessions.
    #[command(subcommand)]
    Profiles(crate::profiles::Verb),
}

/// Where the server is, and how to print.
#[derive(Debug, Args)]
pub(crate) struct ServerOptions {
    /// Address of the server, such as http://127.0.0.1:8080/ [default: the one that runs with this state directory].
    #[arg(long, env = "GLASSHOUSE_SERVER", value_name = "URL")]
    server: Option<String>,
    #[command(flatten)]
    state: StateOptions,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Options of `ls`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Ended sessions too.
    #[arg(long)]
    all: bool,
    /// Only with this label (repeatable).
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    server: ServerOptions,
}

/// Options of commands for sessions.
#[derive(Debug, Args)]
pub(crate) struct IdOptions {
    /// Ids or names of sessions.
    #[arg(required = true, value_name = "SESSION")]
    sessions: Vec<String>,
    #[command(flatten)]
    server: ServerOptions,
}

/// Options of `open`.
#[derive(Debug, Args)]
pub(crate) struct OpenOptions {
    /// Id or name of the session.
    session: String,
    /// Log in as a guest, not as an admin of the room.
    #[arg(long)]
    guest: bool,
    #[command(flatten)]
    server: ServerOptions,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsOptions {
    /// Id or name of the session.
    session: String,
    #[command(flatten)]
    server: ServerOptions,
}

pub(crate) fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| format!("expected NAME=VALUE, got {text:?}"))?;
    Ok((pair.0.to_owned(), pair.1.to_owned()))
}

/// Does what was asked for.
pub(crate) fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(verb.run())
}

impl Verb {
    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::New(options) => crate::new::create(*options).await,
            Self::Ls(options) => list(&options).await,
            Self::Open(options) => {
                let server = Server::find(&options.server)?;
                let id = server.id(&options.session).await?;
                let link = server.link(&id, !options.guest).await?;
                print(&options.server, &link, link["url"].as_str().unwrap_or_default())
            }
            Self::Rm(options) => each(&options, Method::DELETE, "").await,
            Self::Freeze(options) => each(&options, Method::POST, "/freeze").await,
            Self::Thaw(options) => each(&options, Method::POST, "/thaw").await,
            Self::Logs(options) => {
                let server = Server::find(&options.server)?;
                let id = server.id(&options.session).await?;
                let log = server.ask(Method::GET, &format!("sessions/{id}/logs?bytes=1048576"), None).await?;
                let text = String::from_utf8_lossy(&log).into_owned();
                let answer = json!({ "id": id, "log": text });
                print(&options.server, &answer, text.trim_end())
            }
            Self::Exec(options) => crate::exec::run(options).await,
            Self::Profiles(verb) => verb.run().await,
        }
    }
}

async fn list(options: &ListOptions) -> anyhow::Result<ExitCode> {
    let server = Server::find(&options.server)?;
    let mut query = "limit=200".to_owned();
    if options.all {
        query.push_str("&state=creating,ready,frozen,terminated,failed");
    }
    for (name, value) in &options.label {
        query.push_str(&format!("&label={}", encode(&format!("{name}={value}"))));
    }
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.json(Method::GET, &format!("sessions?{query}{cursor}"), None).await?;
        all.extend(page["sessions"].as_array().into_iter().flatten().cloned());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={}", encode(next));
    }
    let mut text = format!("{:<26}  {:<10}  {:<8}  {:<24}  NAME, REASON", "ID", "STATE", "VIEWERS", "CREATED");
    for session in &all {
        let field = |name: &str| session[name].as_str().unwrap_or_default();
        text.push_str(&format!(
            "\n{:<26}  {:<10}  {:<8}  {:<24}  {} {}",
            field("id"),
            field("state"),
            session["connections"],
            field("created_at"),
            field("name"),
            field("reason")
        ));
    }
    print(&options.server, &Value::Array(all), &text)
}

/// Does one thing to sessions; those that can be done are done, and any failure is the result.
async fn each(options: &IdOptions, method: Method, action: &str) -> anyhow::Result<ExitCode> {
    let server = Server::find(&options.server)?;
    let (mut done, mut failed) = (Vec::new(), false);
    for session in &options.sessions {
        let result = async {
            let id = server.id(session).await?;
            server.json(method.clone(), &format!("sessions/{id}{action}"), None).await
        };
        match result.await {
            Ok(answer) => done.push(answer),
            Err(error) => {
                eprintln!("error: {session}: {error:#}");
                failed = true;
            }
        }
    }
    let lines: Vec<_> = done
        .iter()
        .map(|session| {
            format!("{} {}", session["id"].as_str().unwrap_or_default(), session["state"].as_str().unwrap_or_default())
        })
        .collect();
    print(&options.server, &Value::Array(done), &lines.join("\n"))?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

pub(crate) fn print(options: &ServerOptions, value: &Value, text: &str) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{value}")?;
    } else if !text.is_empty() {
        writeln!(out, "{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => encoded.push(char::from(byte)),
            byte => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// A running server.
pub(crate) struct Server {
    /// With a slash at its end.
    url: String,
    token: String,
}

impl Server {
    pub(crate) fn find(options: &ServerOptions) -> anyhow::Result<Self> {
        let state = options.state.directory()?;
        let read = |path: &std::path::Path| {
            let text = fs::read_to_string(path).with_context(|| {
                format!("cannot read {}: start `glasshouse serve`, or name its directory with --state", path.display())
            });
            text.map(|text| text.trim().to_owned())
        };
        let mut url = match &options.server {
            Some(url) => url.clone(),
            None => read(&address_file(&state))?,
        };
        if !url.ends_with('/') {
            url.push('/');
        }
        let given = std::env::var("GLASSHOUSE_TOKEN").ok().filter(|token| !token.is_empty());
        let token = match given {
            Some(token) => token,
            None => read(&state.join("admin-token"))?,
        };
        Ok(Self { url, token })
    }

    /// Its address, with a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The id of a session by its id or name.
    pub(crate) async fn id(&self, session: &str) -> anyhow::Result<String> {
        let is_id = session.len() == 26 && session.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'));
        if is_id {
            return Ok(session.to_owned());
        }
        let found = self.json(Method::GET, &format!("sessions?name={}", encode(session)), None).await?;
        let id = found["sessions"][0]["id"].as_str().map(str::to_owned);
        id.with_context(|| format!("no session that runs has the name {session}"))
    }

    pub(crate) async fn link(&self, id: &str, admin: bool) -> anyhow::Result<Value> {
        let body = json!({ "admin": admin, "expires_in_seconds": 600 });
        self.json(Method::POST, &format!("sessions/{id}/links"), Some(body)).await
    }

    pub(crate) async fn json(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let answer = self.ask(method, path, body).await?;
        serde_json::from_slice(&answer).context("the server answers with something else than JSON")
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Bytes> {
        let exchange = async {
            let kind = body.is_some().then_some("application/json");
            let body = body.map(|body| body.to_string()).unwrap_or_default();
            let response = self.send(method, path, kind, Full::new(Bytes::from(body))).await?;
            whole(response).await
        };
        tokio::time::timeout(PATIENCE, exchange).await.context("the server does not answer")?
    }

    /// Sends a request, whose body may take as long as it takes; the answer is one of success.
    pub(crate) async fn send<B>(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: B,
    ) -> anyhow::Result<Response<Incoming>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.exchange(&format!("api/v1/{path}"), method, kind, body, Some(&self.token)).await
    }

    /// Like [`Server::send`], for any path of the server and any token.
    pub(crate) async fn exchange<B>(
        &self,
        path: &str,
        method: Method,
        kind: Option<&str>,
        body: B,
        token: Option<&str>,
    ) -> anyhow::Result<Response<Incoming>>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let uri: Uri = format!("{}{path}", self.url).parse().with_context(|| format!("no address: {}", self.url))?;
        if uri.scheme_str() != Some("http") {
            bail!("{} does not begin with http://; over a network, use an SSH tunnel", self.url);
        }
        let authority = uri.authority().context("the address has no host")?.clone();
        let target = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(80));
        let stream = tokio::time::timeout(PATIENCE, TcpStream::connect(target)).await;
        let stream = stream
            .map_err(anyhow::Error::from)
            .and_then(|stream| Ok(stream?))
            .with_context(|| format!("cannot reach {authority}: is `glasshouse serve` running?"))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, authority.as_str());
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let response = sender.send_request(request.body(body)?).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem = whole(response).await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&problem).unwrap_or_default();
        match problem["detail"].as_str() {
            _ if status == StatusCode::UNAUTHORIZED => {
                bail!("the server does not know the token: set GLASSHOUSE_TOKEN")
            }
            Some(detail) => bail!("{detail}"),
            None => bail!("the server answers {status}"),
        }
    }
}

/// The body of an answer, 16 MiB at most.
pub(crate) async fn whole(response: Response<Incoming>) -> anyhow::Result<Bytes> {
    let read = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    Ok(read.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_addresses() {
        assert_eq!(encode("a b=ä&"), "a%20b%3D%C3%A4%26");
        assert_eq!(parse_pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(parse_pair("a").is_err());
    }
}
