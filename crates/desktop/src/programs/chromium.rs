//! Chromium: quiet, without first-run pages, with its own sandbox.

use std::{
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::CommandLine;
use crate::{Error, session::SessionDir, user::run_as};

/// No background traffic, no questions, no keyring; one process less than by default. Each was measured to speed up the
/// start or not to slow it down.
const FLAGS: &str = "--no-first-run --no-default-browser-check --disable-background-networking --disable-component-update \
    --disable-sync --disable-default-apps --disable-breakpad --disable-client-side-phishing-detection \
    --disable-domain-reliability --no-pings --password-store=basic --hide-crash-restore-bubble \
    --disable-session-crashed-bubble --disable-infobars --disable-search-engine-choice-screen --noerrdialogs \
    --autoplay-policy=no-user-gesture-required --start-maximized --window-position=0,0 --ozone-platform=x11 \
    --disable-features=SpareRendererForSitePerProcess,Translate,OptimizationHints,MediaRouter,GlobalMediaControls,AutofillServerCommunication";

/// Programs to look for. The first is Debian's without its wrapper script, which adds flags of its own.
const PROGRAMS: [&str; 5] =
    ["/usr/lib/chromium/chromium", "chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/// Largest preferences file that we change, in bytes.
const MAX_PREFERENCES: u64 = 16 * 1024 * 1024;

/// Prepares the profile and returns the command line.
pub(super) fn command(
    url: Option<&str>,
    flags: &[OsString],
    only_given_flags: bool,
    profile: &Path,
    dir: &SessionDir,
    proxy: Option<u16>,
    devtools: Option<u16>,
) -> Result<CommandLine, Error> {
    let program = find()?;
    let mut profile_flag = OsString::from("--user-data-dir=");
    profile_flag.push(dir.inside(profile));
    let mut args = vec![profile_flag];
    if !only_given_flags {
        let downloads = dir.inside(&dir.downloads());
        let seen = dir.reach(profile);
        run_as(dir.user(), || seed(&seen, &downloads))?;
        args.extend(FLAGS.split_ascii_whitespace().map(OsString::from));
        if dir.is_enclosed() {
            // WebGL in software, which maps and games need and Chromium keeps off: its compiler runs in a process that pages are
            // nearer to. Who breaks out of that is still within the walls, where `--app-flag=--disable-3d-apis` turns it off.
            args.push("--enable-unsafe-swiftshader".into());
            // There is no graphics hardware in there; looking for it takes two processes that fail.
            args.push("--disable-gpu".into());
        }
        if let Some(port) = proxy {
            args.extend(proxy_flags(port).map(OsString::from));
        }
        if let Some(port) = devtools {
            // A number of our own: with port 0, pages are told that a program drives the browser.
            args.push(format!("--remote-debugging-port={port}").into());
        }
    }
    args.extend(flags.iter().cloned());
    if let Some(url) = url {
        // A page must not be taken for a flag.
        args.push("--".into());
        args.push(url.into());
    }
    Ok(CommandLine { program, args })
}

/// Writes what a managed Chromium reads below `/etc/chromium`: our policy beside those of the host. Returns the folder.
///
/// Background traffic and questions are off by flags as well; a page or an extension cannot change a policy.
pub(crate) fn publish_policies(dir: &SessionDir, host_network: bool) -> std::io::Result<PathBuf> {
    let mut policy = json!({
        "BackgroundModeEnabled": false,
        "BrowserSignin": 0,
        "ComponentUpdatesEnabled": false,
        "DefaultBrowserSettingEnabled": false,
        "MetricsReportingEnabled": false,
        "PasswordManagerEnabled": false,
        "PromotionsEnabled": false,
        "SyncDisabled": true,
        "TranslateEnabled": false,
    });
    if !host_network {
        // There is nothing to talk to but the proxy.
        merge(
            &mut policy,
            json!({
                "BuiltInDnsClientEnabled": false,
                "DnsOverHttpsMode": "off",
                "NetworkPredictionOptions": 2,
                "QuicAllowed": false,
                "WebRtcIPHandling": "disable_non_proxied_udp",
            }),
        );
    }
    let ours = dir.publish("chromium/policies/managed/glasshouse.json", &serde_json::to_vec_pretty(&policy)?)?;
    let folder = ours.ancestors().nth(3).unwrap_or(&ours).to_path_buf();
    for below in ["", "policies/managed", "policies/recommended"] {
        for host in ["/etc/chromium", "/etc/opt/chrome"] {
            for entry in fs::read_dir(Path::new(host).join(below)).into_iter().flatten().flatten() {
                let Ok(meta) = fs::metadata(entry.path()) else { continue };
                if meta.is_file()
                    && meta.len() <= MAX_PREFERENCES
                    && let (Ok(content), Ok(name)) = (fs::read(entry.path()), entry.file_name().into_string())
                    && name != "glasshouse.json"
                {
                    dir.publish(&format!("chromium/{below}/{name}"), &content)?;
                }
            }
        }
    }
    Ok(folder)
}

/// Everything through the proxy, loopback included, and no WebRTC past it.
fn proxy_flags(port: u16) -> [String; 3] {
    [
        format!("--proxy-server=http://127.0.0.1:{port}"),
        "--proxy-bypass-list=<-loopback>".into(),
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp".into(),
    ]
}

fn find() -> Result<PathBuf, Error> {
    PROGRAMS
        .iter()
        .find_map(|program| super::find(OsStr::new(program), "chromium").ok())
        .ok_or_else(|| Error::Missing { program: "chromium".into(), package: "chromium".into() })
}

/// Sets what has no flag, and forgets that the last start may have ended by a kill.
fn seed(profile: &Path, downloads: &Path) -> std::io::Result<()> {
    let folder = profile.join("Default");
    fs::create_dir_all(&folder)?;
    for name in ["SingletonLock", "SingletonSocket", "SingletonCookie"] {
        // The profile is ours alone, so what these say is about a Chromium that was killed.
        let _ = fs::remove_file(profile.join(name));
    }
    fs::write(profile.join("First Run"), [])?;
    let path = folder.join("Preferences");
    let mut preferences = fs::metadata(&path)
        .ok()
        .filter(|meta| meta.len() <= MAX_PREFERENCES)
        .and_then(|_| serde_json::from_slice(&fs::read(&path).ok()?).ok())
        .filter(Value::is_object)
        .unwrap_or_else(|| json!({}));
    merge(
        &mut preferences,
        json!({
            "profile": { "exit_type": "Normal", "exited_cleanly": true },
            "browser": { "check_default_browser": false, "has_seen_welcome_page": true, "custom_chrome_frame": false },
            "download": { "default_directory": downloads, "prompt_for_download": false, "directory_upgrade": true },
            "savefile": { "default_directory": downloads },
            "translate": { "enabled": false },
            "signin": { "allowed": false, "allowed_on_next_startup": false },
            "credentials_enable_service": false,
            "privacy_sandbox": { "m1": { "prompt_suppressed": 2 } },
        }),
    );
    let fresh = folder.join("Preferences.glasshouse");
    fs::write(&fresh, serde_json::to_vec(&preferences)?)?;
    fs::rename(fresh, path)
}

/// Lays `over` on `base`, object by object.
fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (name, value) in over {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keeps_what_is_not_named() {
        let mut base = json!({ "a": { "b": 1, "c": 2 }, "d": 3 });
        merge(&mut base, json!({ "a": { "c": 4 }, "e": { "f": 5 } }));
        assert_eq!(base, json!({ "a": { "b": 1, "c": 4 }, "d": 3, "e": { "f": 5 } }));
    }
}
