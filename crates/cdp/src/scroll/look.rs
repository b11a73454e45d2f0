//! Finding the page that a window shows.

use std::{
    io,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    link::Link,
    view::{Beneath, Said, View},
};

/// How long a page or the browser may take to answer one question.
const ANSWER: Duration = Duration::from_millis(500);
/// Pages that are looked at for one window.
const MAX_LOOKS: usize = 16;

/// Asked in a world of our own, in which nothing of the page's scripts can be seen or changed.
const LOOK: &str =
    "[innerWidth, innerHeight, devicePixelRatio, visualViewport.scale, document.visibilityState === 'visible' ? 1 : 0]";

/// A page that we can talk to.
#[derive(Debug, Clone)]
pub(super) struct Attached {
    pub(super) target: String,
    pub(super) session: String,
    /// Our own world in it.
    world: Option<i64>,
}

#[cfg(test)]
impl Attached {
    pub(super) fn of(target: &str, session: &str) -> Self {
        Self { target: target.into(), session: session.into(), world: None }
    }
}

/// Looks for pages, and stays attached to the one that was found last.
#[derive(Default)]
pub(super) struct Looker {
    attached: Option<Attached>,
}

/// What was found.
pub(super) enum Found {
    /// The page, with what is needed to talk to it.
    Page(Attached, View),
    /// There is none, or it cannot be told which.
    Nothing,
    /// A page that could be it has not answered in time.
    Late,
}

/// What a page turned out to be.
enum Checked {
    It(Attached, View),
    Other,
    Late,
}

impl Looker {
    /// Finds the page that is in a window. An error is the connection's.
    pub(super) async fn look(&mut self, link: &Link, beneath: &Beneath) -> io::Result<Found> {
        let pages = link.pages();
        let is_titled = |page: &&(String, String)| is_title_of(&page.1, &beneath.title);
        let titled: Vec<_> = pages.iter().filter(is_titled).collect();
        let mut is_late = false;
        if let [(target, _)] = titled[..] {
            match self.check(link, target, beneath).await? {
                Checked::It(attached, view) => return Ok(self.keep(link, attached, view).await),
                Checked::Late => return Ok(Found::Late),
                Checked::Other => {}
            }
        }
        let mut found = Vec::new();
        for (target, title) in pages.iter().take(MAX_LOOKS) {
            match self.check(link, target, beneath).await? {
                Checked::It(attached, view) => found.push((is_title_of(title, &beneath.title), attached, view)),
                Checked::Late => is_late = true,
                Checked::Other => {}
            }
        }
        // Those with the title last; of several that could be it, none is taken.
        found.sort_by_key(|(is_titled, ..)| *is_titled);
        let is_clear = match &found[..] {
            [_] => true,
            [.., (former, ..), (last, ..)] => *last && !*former,
            [] => false,
        };
        let one = if is_clear { found.pop() } else { None };
        for (_, other, _) in found {
            self.leave(link, &other).await;
        }
        match one {
            Some((_, attached, view)) => Ok(self.keep(link, attached, view).await),
            None if is_late => Ok(Found::Late),
            None => Ok(Found::Nothing),
        }
    }

    async fn keep(&mut self, link: &Link, found: Attached, view: View) -> Found {
        let former = self.attached.replace(found.clone()).filter(|former| former.session != found.session);
        if let Some(former) = former {
            self.leave(link, &former).await;
        }
        Found::Page(found, view)
    }

    async fn leave(&self, link: &Link, other: &Attached) {
        if self.attached.as_ref().is_none_or(|kept| kept.session != other.session) {
            // It may be gone already.
            let _ = ask(link, "Target.detachFromTarget", json!({ "sessionId": other.session }), None).await;
        }
    }

    /// Whether a page is in a window. An error is the connection's.
    async fn check(&mut self, link: &Link, target: &str, beneath: &Beneath) -> io::Result<Checked> {
        let asked = Instant::now();
        let window = ask(link, "Browser.getWindowForTarget", json!({ "targetId": target }), None);
        let known = self.attached.clone().filter(|attached| attached.target == target);
        let attach = async {
            match known {
                Some(known) => Ok(Some(known)),
                None => {
                    let params = json!({ "targetId": target, "flatten": true });
                    let answer = ask(link, "Target.attachToTarget", params, None).await?;
                    let session = answer.and_then(|answer| answer["sessionId"].as_str().map(str::to_owned));
                    Ok(session.map(|session| Attached { target: target.to_owned(), session, world: None }))
                }
            }
        };
        let (window, attached) = tokio::join!(window, attach);
        let (window, attached): (_, io::Result<_>) = (window?, attached);
        let Some(mut attached) = attached? else { return Ok(Checked::Other) };
        let said = match window {
            Some(window) => self.ask_page(link, &mut attached, &window["bounds"]).await?,
            None => None,
        };
        if let Some(view) = said.and_then(|said| View::of(&said, beneath)) {
            return Ok(Checked::It(attached, view));
        }
        let is_late = asked.elapsed() >= ANSWER;
        let is_kept = self.attached.as_ref().is_some_and(|kept| kept.session == attached.session);
        if is_kept && !is_late {
            // The session or our world in it may be the reason.
            self.attached = None;
        }
        self.leave(link, &attached).await;
        Ok(if is_late { Checked::Late } else { Checked::Other })
    }

    async fn ask_page(&self, link: &Link, page: &mut Attached, bounds: &Value) -> io::Result<Option<Said>> {
        let mut looked = None;
        if let Some(world) = page.world {
            looked = evaluate(link, page, world).await?;
        }
        if looked.is_none() {
            // The main frame of a page has the name of its target.
            let params = json!({ "frameId": page.target, "worldName": "glasshouse" });
            let made = ask(link, "Page.createIsolatedWorld", params, Some(&page.session)).await?;
            page.world = made.and_then(|made| made["executionContextId"].as_i64());
            if let Some(world) = page.world {
                looked = evaluate(link, page, world).await?;
            }
        }
        let Some(looked) = looked else { return Ok(None) };
        let numbers: Vec<_> =
            looked["result"]["value"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let [width, height, ratio, pinch, is_visible] = numbers[..] else { return Ok(None) };
        if is_visible == 0.0 {
            return Ok(None);
        }
        let bounds = ["left", "top", "width", "height"].map(|name| bounds[name].as_f64().unwrap_or_default());
        Ok(Some(Said { bounds, inner: (width, height), ratio, pinch }))
    }
}

async fn evaluate(link: &Link, page: &Attached, world: i64) -> io::Result<Option<Value>> {
    let params = json!({ "expression": LOOK, "contextId": world, "returnByValue": true });
    ask(link, "Runtime.evaluate", params, Some(&page.session)).await
}

/// An answer; none when it is an error of the method's own, or takes too long.
async fn ask(link: &Link, method: &str, params: Value, session: Option<&str>) -> io::Result<Option<Value>> {
    match tokio::time::timeout(ANSWER, link.call(method, params, session)).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(error)) if error.kind() != io::ErrorKind::InvalidData => Err(error),
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// Whether a window's title is that of a page, which the name of the browser follows.
pub(super) fn is_title_of(page: &str, window: &str) -> bool {
    !page.is_empty() && window.starts_with(page)
}
