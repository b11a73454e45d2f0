//! `glasshouse exec`: a program within a session, to its end.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    remote::{Server, ServerOptions, whole},
    serve::parse_time,
};

/// Options of `exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecOptions {
    /// Id or name of the session.
    session: String,
    /// How long the program may take, 5 minutes at most.
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_time)]
    timeout: u64,
    #[command(flatten)]
    server: ServerOptions,
    /// Program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs it, prints what it has written, and ends as it did.
pub(crate) async fn run(options: ExecOptions) -> anyhow::Result<ExitCode> {
    let server = Server::find(&options.server)?;
    let id = server.id(&options.session).await?;
    let link = server.link(&id, true).await?;
    let ask = async |path: &str, token: Option<&str>, body: Value| -> anyhow::Result<Value> {
        let body = Full::new(Bytes::from(body.to_string()));
        let path = format!("s/{id}/{path}");
        let response = server.exchange(&path, Method::POST, Some("application/json"), body, token).await?;
        Ok(serde_json::from_slice(&whole(response).await?).unwrap_or_default())
    };
    let member = ask("api/login", None, json!({ "username": "exec", "password": link["token"] })).await?;
    let token = member["token"].as_str().context("the session lets nobody in")?;
    let (command, arguments) = options.command.split_first().context("no command")?;
    let body = json!({ "command": command, "args": arguments, "timeoutMs": options.timeout.saturating_mul(1_000) });
    let done = ask("v1/processes/run", Some(token), body).await;
    // Gone by itself, should this not be heard.
    let _ = ask("api/logout", Some(token), json!({})).await;
    let done = done?;
    if options.server.json {
        writeln!(std::io::stdout(), "{done}")?;
    } else {
        std::io::stdout().write_all(done["stdout"].as_str().unwrap_or_default().as_bytes())?;
        std::io::stderr().write_all(done["stderr"].as_str().unwrap_or_default().as_bytes())?;
    }
    if done["timedOut"] == true {
        anyhow::bail!("the program took longer than {} s: give it more with --timeout", options.timeout);
    }
    // A program that was ended by a signal has no code.
    let code = done["exitCode"].as_u64().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
