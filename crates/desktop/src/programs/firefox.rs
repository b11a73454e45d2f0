//! Firefox with a profile of its own, quiet and without first-run pages.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs,
    path::Path,
};

use super::CommandLine;
use crate::{Error, session::SessionDir, user::run_as};

/// Names and values as JavaScript.
const PREFERENCES: &[(&str, &str)] = &[
    ("app.update.auto", "false"),
    ("app.update.enabled", "false"),
    ("app.normandy.enabled", "false"),
    ("app.shield.optoutstudies.enabled", "false"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.download.folderList", "2"),
    ("browser.download.useDownloadDir", "true"),
    ("browser.sessionstore.resume_from_crash", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage_override.mstone", "\"ignore\""),
    ("browser.tabs.inTitlebar", "0"),
    ("browser.translations.automaticallyPopup", "false"),
    ("datareporting.healthreport.uploadEnabled", "false"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("extensions.pocket.enabled", "false"),
    ("identity.fxaccounts.enabled", "false"),
    ("media.autoplay.default", "0"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("signon.rememberSignons", "false"),
    ("startup.homepage_welcome_url", "\"\""),
    ("toolkit.startup.max_resumed_crashes", "-1"),
    ("toolkit.telemetry.enabled", "false"),
    ("toolkit.telemetry.reportingpolicy.firstRun", "false"),
    ("trailhead.firstrun.didSeeAboutWelcome", "true"),
];

/// Everything through the proxy, loopback and names included, and no WebRTC past it.
fn proxy_preferences(port: u16) -> [(&'static str, String); 11] {
    let quoted = || "\"127.0.0.1\"".to_owned();
    [
        ("network.proxy.type", "1".into()),
        ("network.proxy.http", quoted()),
        ("network.proxy.http_port", port.to_string()),
        ("network.proxy.ssl", quoted()),
        ("network.proxy.ssl_port", port.to_string()),
        ("network.proxy.no_proxies_on", "\"\"".into()),
        ("network.proxy.allow_hijacking_localhost", "true".into()),
        ("network.dns.disablePrefetch", "true".into()),
        ("network.trr.mode", "5".into()),
        ("network.http.http3.enable", "false".into()),
        ("media.peerconnection.ice.proxy_only", "true".into()),
    ]
}

/// Prepares the profile and returns the command line.
pub(super) fn command(
    url: Option<&str>,
    flags: &[OsString],
    profile: &Path,
    dir: &SessionDir,
    proxy: Option<u16>,
) -> Result<CommandLine, Error> {
    let program = super::find(OsStr::new("firefox-esr"), "firefox-esr")
        .or_else(|_| super::find(OsStr::new("firefox"), "firefox-esr"))?;
    let mut preferences = String::new();
    for (name, value) in PREFERENCES {
        let _ = writeln!(preferences, "user_pref(\"{name}\", {value});");
    }
    let downloads = serde_json::to_string(&dir.inside(&dir.downloads())).map_err(std::io::Error::from)?;
    let _ = writeln!(preferences, "user_pref(\"browser.download.dir\", {downloads});");
    if let Some(port) = proxy {
        for (name, value) in proxy_preferences(port) {
            let _ = writeln!(preferences, "user_pref(\"{name}\", {value});");
        }
    }
    let seen = dir.reach(profile);
    run_as(dir.user(), || {
        fs::create_dir_all(&seen)?;
        for name in ["lock", ".parentlock"] {
            let _ = fs::remove_file(seen.join(name));
        }
        fs::write(seen.join("user.js"), &preferences)
    })?;
    let mut args: Vec<OsString> =
        vec!["--profile".into(), dir.inside(profile).into(), "--no-remote".into(), "--new-instance".into()];
    args.extend(flags.iter().cloned());
    if let Some(url) = url {
        args.push("--url".into());
        args.push(url.into());
    }
    Ok(CommandLine { program, args })
}
