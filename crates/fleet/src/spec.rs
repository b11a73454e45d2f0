//! What a session is to be, and whether that makes sense.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Egress, FieldError, Resources};

/// Most labels, and most variables, of a session.
const MAX_ENTRIES: usize = 64;
/// Longest label, name of a variable and value, in bytes.
const MAX_KEY: usize = 63;
const MAX_LABEL: usize = 256;
const MAX_VALUE: usize = 4_096;
/// Longest address of a page in bytes.
const MAX_URL: usize = 8_192;
/// Longest time-out: a year, in seconds.
const MAX_SECONDS: u64 = 31_536_000;

/// Program on the desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum App {
    /// Chromium.
    #[default]
    Chromium,
    /// Firefox.
    Firefox,
    /// An empty desktop.
    None,
}

impl App {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chromium => "chromium",
            Self::Firefox => "firefox",
            Self::None => "none",
        }
    }
}

/// Who may act on a desktop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramsMode {
    /// People and programs.
    Together,
    /// Programs only while no person has control.
    PersonFirst,
    /// People only; programs watch.
    WatchOnly,
}

impl ProgramsMode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::PersonFirst => "person-first",
            Self::WatchOnly => "watch-only",
        }
    }
}

/// Size of a screen in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Screen {
    /// 320 to 3840.
    #[schema(minimum = 320, maximum = 3840, example = 1280)]
    pub width: u16,
    /// 240 to 2160.
    #[schema(minimum = 240, maximum = 2160, example = 720)]
    pub height: u16,
}

impl Default for Screen {
    fn default() -> Self {
        Self { width: 1280, height: 720 }
    }
}

/// What a session is to be. Everything has a default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(default)]
pub struct Spec {
    /// A name of one's own, unique among the sessions that run: 1 to 63 letters, digits, `.`, `_` and `-`.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", example = "support-17")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Page to open first: `http:`, `https:` or `about:blank`, without a password in it.
    #[schema(
        max_length = 8192,
        pattern = "^(https?://[^@\\s\\x00-\\x20\\x7f-\\uffff]+|about:blank)$",
        example = "https://example.com/"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Program on the desktop.
    pub app: App,
    /// Size of the screen.
    pub screen: Screen,
    /// Language of the browser, such as `de-DE`.
    #[schema(min_length = 2, max_length = 35, pattern = "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", example = "de-DE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Time zone from the tz database, such as `Europe/Berlin`.
    #[schema(max_length = 64, pattern = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$", example = "Europe/Berlin")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Variables for the programs on the desktop. Never shown again.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Words of one's own to find the session by.
    pub labels: BTreeMap<String, String>,
    /// Whether there is sound; yes, if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<bool>,
    /// Whether the page fills the whole screen, without the browser's own controls; no, if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kiosk: Option<bool>,
    /// Frames per second at most.
    #[schema(minimum = 1, maximum = 120)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fps: Option<u32>,
    /// Name of a profile that is kept: log-ins and settings of the browser outlive the session, and are there for the next one
    /// with the same name. Used by one session at a time; made when there is none. 1 to 63 letters, digits, `.`, `_` and `-`.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", example = "joe")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Who may act on the desktop; everybody, if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub programs: Option<ProgramsMode>,
    /// Most of the machine that the session may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Resources>,
    /// What the session may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Freezes after so many seconds without a viewer or a request; 0 never. The server has a default.
    #[schema(maximum = 31536000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_freeze_seconds: Option<u64>,
    /// Ends after so many seconds without a viewer or a request; 0 never. The server has a default.
    #[schema(maximum = 31536000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout_seconds: Option<u64>,
    /// Ends so many seconds after its creation, whatever happens; 0 never. The server has a default.
    #[schema(maximum = 31536000)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_lifetime_seconds: Option<u64>,
}

/// What can be changed while a session runs; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// New labels; a value of null removes one.
    pub labels: BTreeMap<String, Option<String>>,
    /// Like in the creation.
    #[schema(maximum = 31536000)]
    pub idle_freeze_seconds: Option<u64>,
    /// Like in the creation.
    #[schema(maximum = 31536000)]
    pub idle_timeout_seconds: Option<u64>,
}

/// Collects what is wrong.
#[derive(Default)]
struct Wrong(Vec<FieldError>);

impl Wrong {
    fn unless(&mut self, right: bool, field: &str, message: &str) {
        if !right {
            self.0.push(FieldError { field: field.to_owned(), message: message.to_owned() });
        }
    }

    fn done(self) -> Result<(), crate::Error> {
        if self.0.is_empty() { Ok(()) } else { Err(crate::Error::Invalid(self.0)) }
    }

    fn seconds(&mut self, field: &str, value: Option<u64>) {
        self.unless(value.is_none_or(|value| value <= MAX_SECONDS), field, "at most 31536000 seconds (a year)");
    }

    fn label(&mut self, key: &str, value: &str) {
        let field = format!("labels.{}", shown(key));
        self.unless(is_name(key), &field, "a label is 1 to 63 letters, digits, '.', '_' and '-'");
        self.unless(
            value.len() <= MAX_LABEL && is_printable(value),
            &field,
            "at most 256 bytes, without control characters",
        );
    }
}

/// A name from outside, short enough to be said back.
fn shown(text: &str) -> String {
    text.chars().take(MAX_KEY).filter(|c| !c.is_control()).collect()
}

pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_KEY).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_url(url: &str) -> bool {
    if url == "about:blank" {
        return true;
    }
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    !authority.is_empty()
        && !authority.contains('@')
        && url.len() <= MAX_URL
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_locale(text: &str) -> bool {
    let mut parts = text.split('-');
    let first = parts.next().unwrap_or_default();
    text.len() <= 35
        && (2..=8).contains(&first.len())
        && first.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A zone by its name only: a `TZ` that begins otherwise can name any file.
fn is_timezone(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.split('/').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_+-".contains(&byte))
        })
}

/// Variables that would change what is run, not how it behaves.
fn is_reserved(key: &str) -> bool {
    key.starts_with("LD_") || key.starts_with("GLASSHOUSE_") || ["DISPLAY", "XAUTHORITY", "HOME", "PATH"].contains(&key)
}

fn is_variable(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len())
        && key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl Spec {
    /// Checks every field.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with all fields that are wrong.
    pub fn check(&self) -> Result<(), crate::Error> {
        let mut wrong = Wrong::default();
        let name = self.name.as_deref();
        wrong.unless(name.is_none_or(is_name), "name", "a name is 1 to 63 letters, digits, '.', '_' and '-'");
        let url = "an address that begins with http:// or https:// without user or password, or about:blank; \
                   at most 8192 characters of ASCII";
        wrong.unless(self.url.as_deref().is_none_or(is_url), "url", url);
        let needless = self.url.is_some() && self.app == App::None;
        wrong.unless(!needless, "url", "there is no browser to open it: choose another app");
        let is_bare = self.kiosk == Some(true) && self.app == App::None;
        wrong.unless(!is_bare, "kiosk", "there is no browser to fill the screen: choose another app");
        wrong.unless((320..=3840).contains(&self.screen.width), "screen.width", "from 320 to 3840 pixels");
        wrong.unless((240..=2160).contains(&self.screen.height), "screen.height", "from 240 to 2160 pixels");
        wrong.unless(self.locale.as_deref().is_none_or(is_locale), "locale", "a language tag, such as de-DE");
        let zone = self.timezone.as_deref().is_none_or(is_timezone);
        wrong.unless(zone, "timezone", "a name from the tz database, such as Europe/Berlin");
        wrong.unless(self.labels.len() <= MAX_ENTRIES, "labels", "at most 64 labels");
        for (key, value) in self.labels.iter().take(MAX_ENTRIES) {
            wrong.label(key, value);
        }
        wrong.unless(self.environment.len() <= MAX_ENTRIES, "environment", "at most 64 variables");
        for (key, value) in self.environment.iter().take(MAX_ENTRIES) {
            let field = format!("environment.{}", shown(key));
            wrong.unless(is_variable(key), &field, "a variable is 1 to 63 letters, digits and '_'");
            wrong.unless(!is_reserved(key), &field, "this variable is set by the session itself");
            wrong.unless(
                value.len() <= MAX_VALUE && !value.contains('\0'),
                &field,
                "at most 4096 bytes, without a zero byte",
            );
        }
        wrong.unless(self.max_fps.is_none_or(|fps| (1..=120).contains(&fps)), "max_fps", "from 1 to 120");
        wrong.seconds("idle_freeze_seconds", self.idle_freeze_seconds);
        wrong.seconds("idle_timeout_seconds", self.idle_timeout_seconds);
        wrong.seconds("max_lifetime_seconds", self.max_lifetime_seconds);
        let profile = self.profile.as_deref();
        wrong.unless(profile.is_none_or(is_name), "profile", "a name is 1 to 63 letters, digits, '.', '_' and '-'");
        wrong.0.extend(self.limits.iter().flat_map(Resources::wrong));
        wrong.0.extend(self.egress.iter().flat_map(Egress::wrong));
        wrong.done()
    }

    /// The same without what must not be kept or shown.
    pub(crate) fn public(&self) -> Self {
        Self { environment: BTreeMap::new(), egress: self.egress.as_ref().map(Egress::public), ..self.clone() }
    }

    /// What of it cannot be changed once its session runs, written in one way only.
    pub(crate) fn shape(&self) -> Self {
        Self {
            app: self.app,
            locale: self.locale.clone(),
            timezone: self.timezone.clone(),
            environment: self.environment.clone(),
            sound: Some(self.sound.unwrap_or(true)),
            kiosk: Some(self.kiosk.unwrap_or(false)),
            max_fps: self.max_fps,
            profile: self.profile.clone(),
            programs: self.programs.filter(|mode| *mode != ProgramsMode::Together),
            limits: self.limits.filter(|limits| *limits != Resources::default()),
            ..Self::default()
        }
    }

    /// Variables for the programs: what was asked for, the time zone and the language.
    pub(crate) fn variables(&self) -> BTreeMap<String, String> {
        let mut all = self.environment.clone();
        if let Some(zone) = &self.timezone {
            all.insert("TZ".into(), zone.clone());
        }
        if let Some(locale) = &self.locale {
            all.insert("LANGUAGE".into(), locale.replace('-', "_"));
        }
        all
    }

    /// Applies a change.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] with all fields that are wrong; nothing has changed then.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<(), crate::Error> {
        let mut wrong = Wrong::default();
        wrong.unless(change.labels.len() <= MAX_ENTRIES, "labels", "at most 64 labels");
        let mut labels = self.labels.clone();
        for (key, value) in change.labels.iter().take(MAX_ENTRIES) {
            match value {
                Some(value) => {
                    wrong.label(key, value);
                    labels.insert(key.clone(), value.clone());
                }
                None => {
                    labels.remove(key);
                }
            }
        }
        wrong.unless(labels.len() <= MAX_ENTRIES, "labels", "at most 64 labels");
        wrong.seconds("idle_freeze_seconds", change.idle_freeze_seconds);
        wrong.seconds("idle_timeout_seconds", change.idle_timeout_seconds);
        wrong.done()?;
        self.labels = labels;
        self.idle_freeze_seconds = change.idle_freeze_seconds.or(self.idle_freeze_seconds);
        self.idle_timeout_seconds = change.idle_timeout_seconds.or(self.idle_timeout_seconds);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong_fields(spec: &Spec) -> Vec<String> {
        match spec.check() {
            Ok(()) => Vec::new(),
            Err(crate::Error::Invalid(wrong)) => wrong.into_iter().map(|wrong| wrong.field).collect(),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn good_ones() {
        assert_eq!(wrong_fields(&Spec::default()), Vec::<String>::new());
        let spec = Spec {
            name: Some("a.b-1".into()),
            url: Some("https://example.com:8443/a?b#c".into()),
            locale: Some("zh-Hant-TW".into()),
            timezone: Some("America/Argentina/Buenos_Aires".into()),
            labels: [("team".into(), "blau".into())].into(),
            environment: [("A_1".into(), "x=y z".into())].into(),
            max_fps: Some(30),
            idle_timeout_seconds: Some(0),
            ..Spec::default()
        };
        assert_eq!(wrong_fields(&spec), Vec::<String>::new());
    }

    #[test]
    fn every_wrong_field_is_named() {
        let spec = Spec {
            name: Some("-x".into()),
            url: Some("file:///etc/passwd".into()),
            screen: Screen { width: 319, height: 2161 },
            locale: Some("d".into()),
            timezone: Some(":/etc/passwd".into()),
            labels: [("a b".into(), String::new()), ("c".into(), "x\n".into())].into(),
            environment: [("LD_PRELOAD".into(), String::new()), ("1".into(), "\0".into())].into(),
            max_fps: Some(0),
            idle_freeze_seconds: Some(MAX_SECONDS + 1),
            ..Spec::default()
        };
        let expected = [
            "name",
            "url",
            "screen.width",
            "screen.height",
            "locale",
            "timezone",
            "labels.a b",
            "labels.c",
            "environment.1",
            "environment.1",
            "environment.LD_PRELOAD",
            "max_fps",
            "idle_freeze_seconds",
        ];
        assert_eq!(wrong_fields(&spec), expected);
    }

    #[test]
    fn addresses() {
        for wrong in [
            "",
            "example.com",
            "javascript:alert(1)",
            "http://",
            "http://a b/",
            "https://u:p@example.com/",
            "http://ä.de/",
        ] {
            assert!(!is_url(wrong), "{wrong}");
        }
        assert!(is_url("http://example.com/@x"));
        for wrong in ["", "../x", "/etc/x", "A//B", "A/..", "a:b"] {
            assert!(!is_timezone(wrong), "{wrong}");
        }
    }

    #[test]
    fn changes() {
        let mut spec = Spec { labels: [("a".into(), "1".into())].into(), ..Spec::default() };
        let change = Change {
            labels: [("a".into(), None), ("b".into(), Some("2".into()))].into(),
            idle_timeout_seconds: Some(9),
            ..Change::default()
        };
        spec.apply(&change).unwrap();
        assert_eq!(spec.labels, [("b".to_owned(), "2".to_owned())].into());
        assert_eq!(spec.idle_timeout_seconds, Some(9));
        let wrong = Change { labels: [("ä".into(), Some("2".into()))].into(), ..Change::default() };
        assert!(spec.apply(&wrong).is_err());
        assert_eq!(spec.labels.len(), 1);
    }
}
