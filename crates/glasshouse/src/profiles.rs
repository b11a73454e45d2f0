//! `glasshouse profiles`: what outlives sessions, listed, deleted, and moved as tar.zst.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, Subcommand};
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::{Method, body::Frame};
use serde_json::{Value, json};
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncReadExt, AsyncWriteExt},
};

use crate::remote::{Server, ServerOptions, encode, print};

/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// List profiles: name, size, and the session that uses it.
    Ls(ServerOptions),
    /// Delete profiles.
    Rm(NamesOptions),
    /// Write a profile into a file as tar.zst, log-ins included.
    Export(FileOptions),
    /// Make a profile of a tar.zst.
    Import(FileOptions),
}

/// Options of `profiles rm`.
#[derive(Debug, Args)]
pub(crate) struct NamesOptions {
    /// Names of profiles.
    #[arg(required = true, value_name = "PROFILE")]
    names: Vec<String>,
    #[command(flatten)]
    server: ServerOptions,
}

/// Options of `profiles export` and `profiles import`.
#[derive(Debug, Args)]
pub(crate) struct FileOptions {
    /// Name of the profile.
    #[arg(value_name = "PROFILE")]
    name: String,
    /// The archive.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    server: ServerOptions,
}

impl Verb {
    pub(crate) async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Ls(options) => list(&options).await,
            Self::Rm(options) => {
                let server = Server::find(&options.server)?;
                for name in &options.names {
                    server
                        .send(Method::DELETE, &format!("profiles/{}", encode(name)), None, Empty::<Bytes>::new())
                        .await?;
                }
                print(&options.server, &json!(options.names), "")
            }
            Self::Export(options) => export(&options).await,
            Self::Import(options) => import(&options).await,
        }
    }
}

async fn list(options: &ServerOptions) -> anyhow::Result<ExitCode> {
    let all = Server::find(options)?.json(Method::GET, "profiles", None).await?;
    let profiles = all["profiles"].as_array().cloned().unwrap_or_default();
    let mut text = format!("{:<24}  {:>9}  SESSION", "NAME", "MIB");
    for profile in &profiles {
        let field = |name: &str| profile[name].as_str().unwrap_or_default();
        let mib = profile["bytes"].as_f64().unwrap_or_default() / f64::from(1 << 20);
        text.push_str(&format!("\n{:<24}  {mib:>9.1}  {}", field("name"), field("session")));
    }
    print(options, &Value::Array(profiles), &text)
}

async fn export(options: &FileOptions) -> anyhow::Result<ExitCode> {
    let server = Server::find(&options.server)?;
    let path = format!("profiles/{}/archive", encode(&options.name));
    let mut body = server.send(Method::GET, &path, None, Empty::<Bytes>::new()).await?.into_body();
    let shown = options.file.display();
    let failed = || format!("cannot write {shown}");
    // It holds log-ins. Nothing is written over.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&options.file).await;
    let mut file = file.with_context(failed)?;
    let written = async {
        while let Some(frame) = body.frame().await {
            if let Ok(piece) = frame.context("the server has ended in the middle of it")?.into_data() {
                file.write_all(&piece).await.with_context(failed)?;
            }
        }
        file.sync_all().await.with_context(failed)
    };
    if let Err(error) = written.await {
        let _ = tokio::fs::remove_file(&options.file).await;
        return Err(error);
    }
    print(&options.server, &json!({ "name": options.name, "file": options.file }), "")
}

async fn import(options: &FileOptions) -> anyhow::Result<ExitCode> {
    let server = Server::find(&options.server)?;
    let file = File::open(&options.file).await.with_context(|| format!("cannot read {}", options.file.display()))?;
    let pieces = futures_util::stream::try_unfold(file, |mut file| async move {
        let mut piece = Vec::with_capacity(PIECE);
        let count = file.read_buf(&mut piece).await?;
        Ok::<_, std::io::Error>((count > 0).then(|| (Frame::data(Bytes::from(piece)), file)))
    });
    let path = format!("profiles/{}/archive", encode(&options.name));
    server.send(Method::PUT, &path, Some("application/zstd"), StreamBody::new(Box::pin(pieces))).await?;
    print(&options.server, &json!({ "name": options.name }), "")
}
