//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;

use crate::cli::{LogFormat, LogOptions};

/// Starts logging. `RUST_LOG` wins over `--log-level`.
pub(crate) fn start(options: &LogOptions) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(text)?,
        // str0m logs every refused packet of every viewer at warn.
        _ => EnvFilter::try_new(format!("{},str0m=error", options.log_level))?,
    };
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match options.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}
