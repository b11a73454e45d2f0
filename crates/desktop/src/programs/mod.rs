//! How each program is called, and what it needs before it starts.

pub(crate) mod chromium;
pub(crate) mod firefox;
pub(crate) mod keymap;
pub(crate) mod sound;
pub(crate) mod window_manager;
pub(crate) mod x_server;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{App, Error, session::SessionDir};

/// A program and its arguments.
#[derive(Debug, Clone)]
pub(crate) struct CommandLine {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
}

impl CommandLine {
    pub(crate) fn new<A: Into<OsString>>(program: PathBuf, args: impl IntoIterator<Item = A>) -> Self {
        Self { program, args: args.into_iter().map(Into::into).collect() }
    }
}

/// Where a program is: a path as it is, a name by `$PATH` and the usual folders.
pub(crate) fn find(program: &OsStr, package: &str) -> Result<PathBuf, Error> {
    let missing = || Error::Missing { program: program.to_string_lossy().into_owned(), package: package.to_owned() };
    let runnable = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.as_encoded_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return if runnable(&path) { Ok(std::path::absolute(path)?) } else { Err(missing()) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/bin", "/usr/bin", "/bin"].map(PathBuf::from))
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(program))
        .find(|candidate| runnable(candidate))
        .ok_or_else(missing)
}

/// Environment of every program. Nothing of ours is passed on but what says where programs, languages and proxies are.
pub(crate) fn environment(
    dir: &SessionDir,
    display: &str,
    xauthority: Option<&Path>,
    sound: bool,
    proxy: Option<u16>,
    given: &BTreeMap<OsString, OsString>,
) -> Vec<(OsString, OsString)> {
    let mut env: BTreeMap<OsString, OsString> = std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            matches!(&*name, "PATH" | "LANG" | "LANGUAGE" | "TZ")
                || name.starts_with("LC_")
                || name.to_ascii_lowercase().ends_with("_proxy")
        })
        .collect();
    env.entry("PATH".into()).or_insert_with(|| "/usr/local/bin:/usr/bin:/bin".into());
    env.entry("LANG".into()).or_insert_with(|| "C.UTF-8".into());
    if let Some(port) = proxy {
        // What the host goes through is out of reach, and named hosts past the proxy as well.
        env.retain(|name, _| !name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy"));
        for name in ["http_proxy", "https_proxy", "HTTPS_PROXY"] {
            env.insert(name.into(), format!("http://127.0.0.1:{port}").into());
        }
        for name in ["all_proxy", "ALL_PROXY"] {
            env.insert(name.into(), format!("socks5h://127.0.0.1:{port}").into());
        }
    }
    let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
    set("HOME", dir.inside(&dir.home()).into());
    set("TMPDIR", dir.inside(&dir.temporary()).into());
    set("XDG_RUNTIME_DIR", dir.inside(&dir.runtime()).into());
    set("XDG_DOWNLOAD_DIR", dir.inside(&dir.downloads()).into());
    set("XDG_SESSION_TYPE", "x11".into());
    set("SHELL", "/bin/sh".into());
    set("USER", "user".into());
    set("LOGNAME", "user".into());
    set("DISPLAY", display.into());
    // There is no message bus; without these lines toolkits would start one.
    set("DBUS_SESSION_BUS_ADDRESS", "disabled:".into());
    set("NO_AT_BRIDGE", "1".into());
    if let Some(path) = xauthority {
        set("XAUTHORITY", dir.inside(path).into());
    }
    if sound {
        let mut server = OsString::from("unix:");
        server.push(dir.inside(&dir.sound_socket()));
        set("PULSE_SERVER", server);
    }
    env.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    env.into_iter().collect()
}

/// The app's command line; prepares its profile. `None` when there is no app.
pub(crate) fn app(
    app: &App,
    profile: Option<&Path>,
    dir: &SessionDir,
    proxy: Option<u16>,
    devtools: Option<u16>,
) -> Result<Option<CommandLine>, Error> {
    let throwaway = dir.throwaway_profile();
    let profile = profile.unwrap_or(&throwaway);
    match app {
        App::None => Ok(None),
        App::Chromium { url, flags, only_given_flags } => {
            chromium::command(url.as_deref(), flags, *only_given_flags, profile, dir, proxy, devtools).map(Some)
        }
        App::Firefox { url, flags } => firefox::command(url.as_deref(), flags, profile, dir, proxy).map(Some),
        App::Command(line) => {
            let Some((program, args)) = line.split_first() else {
                return Err(Error::Invalid("the app's command line is empty: name a program".into()));
            };
            let path = find(program, "the package that has it")?;
            Ok(Some(CommandLine::new(path, args.iter().cloned())))
        }
    }
}
