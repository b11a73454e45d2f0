//! What a token may do.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

/// Most entries of a deny list.
pub(crate) const MAX_DENIED: usize = 256;

/// How far a token's power goes, before its deny list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Everything.
    Full,
    /// Looking only: no input, no navigation, no code in pages, no cookies, nothing that changes what people see.
    ReadOnly,
}

/// What a token may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// How far its power goes.
    pub power: Power,
    /// CDP methods that are refused: `Domain.method`, or `Domain.*`.
    pub deny: Vec<String>,
    /// Whether `Browser.close` ends the browser. Without, it ends the client's connection only.
    pub browser_close: bool,
    /// The only folder for files, as the browser sees it: downloads go there, and files for pages come from there. Any if
    /// none.
    pub folder: Option<PathBuf>,
    /// How long its input and its navigation wait for a person who has control; zero fails at once. [`crate::PATIENCE`] if none.
    pub patience: Option<Duration>,
}

impl Policy {
    /// Everything but ending the browser.
    #[must_use]
    pub fn full() -> Self {
        Self { power: Power::Full, deny: Vec::new(), browser_close: false, folder: None, patience: None }
    }

    /// Looking only.
    #[must_use]
    pub fn read_only() -> Self {
        Self { power: Power::ReadOnly, ..Self::full() }
    }

    /// Checks a deny list.
    ///
    /// # Errors
    ///
    /// Says which entry is no method.
    pub fn check(&self) -> Result<(), String> {
        if self.deny.len() > MAX_DENIED {
            return Err(format!("deny has {} entries: the limit is {MAX_DENIED}", self.deny.len()));
        }
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let wrong = self.deny.iter().find(|entry| {
            let parts = entry.split_once('.');
            entry.len() > 100
                || !parts.is_some_and(|(domain, method)| is_word(domain) && (method == "*" || is_word(method)))
        });
        match wrong {
            None => Ok(()),
            Some(entry) => Err(format!("deny: {entry:?} is no CDP method: write Domain.method or Domain.*")),
        }
    }

    /// This policy within another: never more power than that one has. `browser_close` stays: it keeps clients from doing
    /// what they do not mean, and who has full power can end the browser in other ways.
    #[must_use]
    pub fn within(mut self, outer: &Self) -> Self {
        if outer.power == Power::ReadOnly {
            self.power = Power::ReadOnly;
        }
        for entry in &outer.deny {
            if !self.deny.contains(entry) {
                self.deny.push(entry.clone());
            }
        }
        if outer.folder.is_some() {
            self.folder.clone_from(&outer.folder);
        }
        self
    }

    /// Whether messages must be looked into at all.
    pub(crate) fn is_everything(&self) -> bool {
        !self.is_strict() && self.browser_close && self.folder.is_none()
    }

    /// Whether what cannot be understood is refused.
    pub(crate) fn is_strict(&self) -> bool {
        self.power == Power::ReadOnly || !self.deny.is_empty()
    }

    /// What becomes of a call of this method.
    pub(crate) fn judge(&self, method: &str) -> Verdict {
        if self.is_strict() && TUNNELS.contains(&method) {
            return Verdict::Refuse("it passes other methods by this token's limits; attach with flatten: true");
        }
        if self.deny.iter().any(|entry| is_match(entry, method)) {
            return Verdict::Refuse("this token's deny list has it; ask for a token without");
        }
        if method == "Browser.close" && !self.browser_close {
            return Verdict::EndView;
        }
        if self.power == Power::ReadOnly {
            return match method {
                "Target.setAutoAttach" => Verdict::Inspect,
                _ if is_reading(method) => Verdict::Pass,
                _ => Verdict::Refuse("this token is read-only; ask for one with full power"),
            };
        }
        match method {
            _ if self.folder.is_some() && FILE_METHODS.contains(&method) => Verdict::Inspect,
            _ => Verdict::Pass,
        }
    }

    /// What becomes of a whole message whose method needs a look at its parameters.
    pub(crate) fn inspect(&self, message: &[u8]) -> Finding {
        let Ok(mut message) = serde_json::from_slice::<Value>(message) else {
            return Finding::Refuse("it is no JSON".into());
        };
        match message["method"].as_str() {
            // Clients ask for new pages to wait for them. Who only looks must not hold up a page, and need not miss it.
            Some("Target.setAutoAttach") => {
                let wait = message.get_mut("params").and_then(|params| params.get_mut("waitForDebuggerOnStart"));
                match wait {
                    Some(wait) if *wait != Value::Bool(false) => {
                        *wait = Value::Bool(false);
                        Finding::Replace(message.to_string().into_bytes())
                    }
                    _ => Finding::Pass,
                }
            }
            Some("DOM.setFileInputFiles") => self.inspect_files(&message["params"]["files"]),
            Some("Browser.setDownloadBehavior" | "Page.setDownloadBehavior") => {
                let path = message.get_mut("params").and_then(|params| params.get_mut("downloadPath"));
                let (Some(folder), Some(path)) = (&self.folder, path) else { return Finding::Pass };
                if path.as_str().is_some_and(|given| is_inside(Path::new(given), folder)) {
                    return Finding::Pass;
                }
                *path = json!(folder);
                Finding::Replace(message.to_string().into_bytes())
            }
            _ => Finding::Pass,
        }
    }

    fn inspect_files(&self, files: &Value) -> Finding {
        let Some(folder) = &self.folder else { return Finding::Pass };
        let outside = files
            .as_array()
            .into_iter()
            .flatten()
            .find(|file| !file.as_str().is_some_and(|file| is_inside(Path::new(file), folder)));
        match outside {
            None => Finding::Pass,
            Some(file) => Finding::Refuse(format!("{file} is not below the session's folder {}", folder.display())),
        }
    }
}

/// What becomes of a message by its method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// The parameters decide.
    Inspect,
    /// Refused; why, and what to do.
    Refuse(&'static str),
    /// Answered as done; then the connection is closed.
    EndView,
}

/// What becomes of a message by its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    Pass,
    /// This takes its place.
    Replace(Vec<u8>),
    /// Refused; why, and what to do.
    Refuse(String),
}

/// Methods that carry other methods, or hand them to a page.
const TUNNELS: [&str; 2] = ["Target.sendMessageToTarget", "Target.exposeDevToolsProtocol"];

/// Methods that name files.
const FILE_METHODS: [&str; 3] = ["DOM.setFileInputFiles", "Browser.setDownloadBehavior", "Page.setDownloadBehavior"];

/// Methods that only look, of Chromium 156's protocol. Cookies and storage are left out: they are keys to accounts.
const READING: [(&str, &str); 17] = [
    (
        "Accessibility",
        "disable enable getAXNodeAndAncestors getChildAXNodes getFullAXTree getPartialAXTree getRootAXNode queryAXTree",
    ),
    ("Audits", "disable enable"),
    ("Browser", "getVersion getWindowBounds getWindowForTarget"),
    ("CSS", "disable enable getComputedStyleForNode getInlineStylesForNode getMatchedStylesForNode getStyleSheetText"),
    (
        "DOM",
        "describeNode disable enable getAttributes getBoxModel getContentQuads getDocument getFlattenedDocument \
         getFrameOwner getNodeForLocation getOuterHTML getSearchResults performSearch discardSearchResults \
         pushNodesByBackendIdsToFrontend querySelector querySelectorAll requestChildNodes",
    ),
    ("DOMSnapshot", "captureSnapshot disable enable"),
    ("IO", "close read"),
    ("Inspector", "disable enable"),
    ("LayerTree", "disable enable"),
    ("Log", "disable enable"),
    ("Network", "disable enable getResponseBody"),
    (
        "Page",
        "captureScreenshot captureSnapshot disable enable getAppManifest getFrameTree getLayoutMetrics \
         getNavigationHistory getResourceTree printToPDF screencastFrameAck setLifecycleEventsEnabled startScreencast \
         stopScreencast",
    ),
    ("Performance", "disable enable getMetrics"),
    ("Runtime", "disable enable runIfWaitingForDebugger"),
    ("Schema", "getDomains"),
    ("SystemInfo", "getInfo"),
    ("Target", "attachToTarget detachFromTarget getBrowserContexts getTargetInfo getTargets setDiscoverTargets"),
];

fn is_reading(method: &str) -> bool {
    method.split_once('.').is_some_and(|(domain, name)| {
        READING
            .iter()
            .any(|(known, names)| *known == domain && names.split_ascii_whitespace().any(|known| known == name))
    })
}

fn is_match(entry: &str, method: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(domain) => method.starts_with(domain),
        None => entry == method,
    }
}

/// Whether a path stays inside of a folder, by its words alone: links are for the walls around the browser.
fn is_inside(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder) && path.components().all(|part| part != Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_only_looks_and_does_not_touch() {
        let policy = Policy::read_only();
        for method in ["Page.captureScreenshot", "Target.getTargets", "DOM.getDocument", "Network.enable"] {
            assert_eq!(policy.judge(method), Verdict::Pass, "{method}");
        }
        for method in [
            "Input.dispatchMouseEvent",
            "Page.navigate",
            "Page.navigateToHistoryEntry",
            "Page.reload",
            "Runtime.evaluate",
            "Runtime.callFunctionOn",
            "Page.addScriptToEvaluateOnNewDocument",
            "Target.createTarget",
            "Target.sendMessageToTarget",
            "Network.getCookies",
            "Storage.getCookies",
            "Page.",
            ".enable",
            "Page",
            "",
            "page.enable",
            "A.b",
        ] {
            assert!(matches!(policy.judge(method), Verdict::Refuse(_)), "{method}");
        }
        assert_eq!(policy.judge("Browser.close"), Verdict::EndView);
        let attach = |wait: bool| {
            let message =
                json!({ "id": 1, "method": "Target.setAutoAttach", "params": { "waitForDebuggerOnStart": wait } });
            policy.inspect(message.to_string().as_bytes())
        };
        assert_eq!(attach(false), Finding::Pass);
        let Finding::Replace(message) = attach(true) else { panic!("not replaced") };
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(
            message,
            json!({ "id": 1, "method": "Target.setAutoAttach", "params": { "waitForDebuggerOnStart": false } })
        );
    }

    #[test]
    fn deny_lists_name_methods_and_domains() {
        let policy = Policy { deny: vec!["Network.*".into(), "Page.navigate".into()], ..Policy::full() };
        assert_eq!(policy.check(), Ok(()));
        for (method, passes) in [
            ("Network.enable", false),
            ("NetworkX.enable", true),
            ("Page.navigate", false),
            ("Page.navigateToHistoryEntry", true),
            ("Target.sendMessageToTarget", false),
        ] {
            assert_eq!(policy.judge(method) == Verdict::Pass, passes, "{method}");
        }
        for wrong in ["", "*", "Page", "Page.", ".x", "Page.*x", "Page.a.b", "Pa ge.x"] {
            assert!(Policy { deny: vec![wrong.into()], ..Policy::full() }.check().is_err(), "{wrong}");
        }
        assert!(Policy { deny: vec!["A.b".into(); MAX_DENIED + 1], ..Policy::full() }.check().is_err());
    }

    #[test]
    fn a_policy_within_another_is_never_more() {
        let outer = Policy { deny: vec!["Network.*".into()], folder: Some("/d".into()), ..Policy::read_only() };
        let wanted = Policy { deny: vec!["Page.reload".into()], ..Policy::full() };
        let got = wanted.clone().within(&outer);
        assert_eq!(got.power, Power::ReadOnly);
        assert_eq!(got.deny, ["Page.reload", "Network.*"]);
        assert_eq!(got.folder.as_deref(), Some(Path::new("/d")));
        assert_eq!(wanted.clone().within(&Policy::full()), wanted);
    }

    #[test]
    fn files_stay_in_the_folder() {
        let policy = Policy { folder: Some("/home/user/Downloads".into()), ..Policy::full() };
        let inspect = |message: Value| policy.inspect(message.to_string().as_bytes());
        let files = |path: &str| inspect(json!({ "method": "DOM.setFileInputFiles", "params": { "files": [path] } }));
        assert_eq!(files("/home/user/Downloads/a"), Finding::Pass);
        for path in ["/etc/passwd", "/home/user/Downloads/../x", "/home/user/Downloads2/x", "a"] {
            assert!(matches!(files(path), Finding::Refuse(_)), "{path}");
        }
        let download = |path: &str| {
            inspect(
                json!({ "id": 3, "method": "Browser.setDownloadBehavior", "params": { "behavior": "allow", "downloadPath": path } }),
            )
        };
        assert_eq!(download("/home/user/Downloads/a"), Finding::Pass);
        let Finding::Replace(message) = download("/tmp/x") else { panic!("not replaced") };
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["params"]["downloadPath"], "/home/user/Downloads");
        assert_eq!(message["id"], 3);
        for params in [json!({ "behavior": "default" }), json!("x"), json!(null)] {
            assert_eq!(inspect(json!({ "method": "Browser.setDownloadBehavior", "params": params })), Finding::Pass);
        }
    }
}
