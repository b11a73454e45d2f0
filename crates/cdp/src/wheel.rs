//! The seam to whoever shares the browser between people and programs, and keeps a trail of them.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

/// Longest time that input may be asked to wait for a person.
pub const MAX_PATIENCE: Duration = Duration::from_secs(600);
/// How long input waits, if nothing else is asked for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A future that a trait object can return.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Public name of its token; never the token.
    pub token: String,
    /// What it calls itself, by `?name=`.
    pub name: Option<String>,
    /// Its `User-Agent`.
    pub agent: Option<String>,
    /// How long its input and its navigation wait for a person; zero fails at once.
    pub patience: Duration,
}

/// Something that a program does, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The pointer goes to this place of the screen in pixels.
    Move(i32, i32),
    /// A button goes down there.
    Click(i32, i32),
    /// Keys are pressed.
    Type,
    /// A page is led somewhere, made, shown or closed.
    Navigate,
}

/// A method that was called, or several calls of it in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<'a> {
    /// The CDP method.
    pub method: &'a str,
    /// The target it was for, or the DevTools session where that is not known; none for the browser itself.
    pub target: Option<&'a str>,
    /// How often.
    pub count: u32,
    /// Whether it was refused.
    pub is_refused: bool,
    /// The whole message, where that [is wanted](Seat::wants_contents) and it is not long.
    pub message: Option<&'a str>,
}

/// Whether a program may act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It may.
    Go,
    /// Not now: [`Seat::turn`] says when.
    Wait,
    /// It may not; one line that says why.
    Refused(String),
}

/// Shares the browser.
pub trait Wheel: Send + Sync + 'static {
    /// A program connects; it is there for as long as what is returned.
    ///
    /// # Errors
    /// It may not now; one line that says why.
    fn join(&self, client: Client) -> Result<Arc<dyn Seat>, String>;

    /// A page has another address. Must not block.
    fn visited(&self, target: &str, url: &str);
}

/// A program that is connected. Nothing but what returns a future may block.
pub trait Seat: Send + Sync + 'static {
    /// Whether input and navigation may happen now.
    fn may_act(&self) -> Turn;

    /// Waits until they may, as long as the client's patience lasts.
    fn turn(&self) -> Pending<'_, Result<(), String>>;

    /// Waits until somebody removes the program; says so in a few words.
    fn removed(&self) -> Pending<'_, &'static str>;

    /// Whether anybody sees what it does.
    fn is_watched(&self) -> bool;

    /// It acts.
    fn acted(&self, act: Act);

    /// It called a method.
    fn called(&self, call: &Call<'_>);

    /// Whether whole messages are to be noted.
    fn wants_contents(&self) -> bool {
        false
    }
}

impl fmt::Debug for dyn Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seat")
    }
}

/// What a method does to what people see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Mouse, touch and keyboard.
    Input,
    /// Leads a page somewhere, makes, shows or closes one.
    Navigation,
    /// Anything else.
    Other,
}

/// Methods of other domains than `Input` that act.
const NAVIGATION: [&str; 16] = [
    "Page.navigate",
    "Page.navigateToHistoryEntry",
    "Page.reload",
    "Page.close",
    "Page.crash",
    "Page.bringToFront",
    "Page.handleJavaScriptDialog",
    "Page.setDocumentContent",
    "Page.stopLoading",
    "Target.activateTarget",
    "Target.closeTarget",
    "Target.createTarget",
    "Target.disposeBrowserContext",
    "Browser.setWindowBounds",
    "Browser.setContentsSize",
    "DOM.setFileInputFiles",
];

pub(crate) fn kind_of(method: &str) -> Kind {
    match method.as_bytes().first() {
        Some(b'I') if method.starts_with("Input.") => Kind::Input,
        Some(b'P' | b'T' | b'B' | b'D') if NAVIGATION.contains(&method) => Kind::Navigation,
        _ => Kind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts() {
        for (method, kind) in [
            ("Input.dispatchMouseEvent", Kind::Input),
            ("Input.insertText", Kind::Input),
            ("Page.navigate", Kind::Navigation),
            ("Target.createTarget", Kind::Navigation),
            ("Page.captureScreenshot", Kind::Other),
            ("Runtime.evaluate", Kind::Other),
            ("Inputs.x", Kind::Other),
            ("", Kind::Other),
        ] {
            assert_eq!(kind_of(method), kind, "{method}");
        }
    }
}
