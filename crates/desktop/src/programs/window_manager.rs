//! openbox, with browsers filling the screen and nothing to start programs from.

use std::ffi::{OsStr, OsString};

use super::CommandLine;
use crate::{Error, session::SessionDir};

/// No desktop menu, no terminal keys, one workspace. There is no task bar, so nothing can be minimised by a button.
const CONFIGURATION: &str = include_str!("openbox.xml");

/// Writes the configuration and returns the command line.
pub(crate) fn command(dir: &SessionDir) -> Result<CommandLine, Error> {
    let program = super::find(OsStr::new("openbox"), "openbox")?;
    let configuration = dir.publish("openbox.xml", CONFIGURATION.as_bytes())?;
    let args: Vec<OsString> = vec!["--sm-disable".into(), "--config-file".into(), dir.inside(&configuration).into()];
    Ok(CommandLine { program, args })
}
