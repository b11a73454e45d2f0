//! The browser's pages, seen by a client of our own while programs are connected: their addresses, and where on the screen they are.
//!
//! A place is measured when a page is first seen, and again whenever it is used and older than a second: exact for a window that
//! has not moved since, at any zoom. Under a client's emulation of another screen it takes the browser's bar for as high as elsewhere.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::SinkExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::ClientRequestBuilder, protocol::WebSocketConfig},
};

use crate::{Gate, Stream, Upstream, Wheel, address, ask, first_page};

/// Pages that are known at most.
const MAX_PAGES: usize = 500;
/// Longest message in bytes; they are about one page each.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How long the browser may take to be there, and to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Before a browser that ended is looked for again.
const AGAIN: Duration = Duration::from_millis(500);
/// A place that is older is measured again when it is used.
const FRESH: Duration = Duration::from_secs(1);
/// A bar of a window that is lower than the usual by more than this many pixels is an emulated one. Chromium's line of
/// information, which comes and goes, is as high.
const BAR: f64 = 40.0;

/// Tells where a page's own pixels begin, and how large they are.
const LOOK: &str = "[outerWidth, innerWidth, innerHeight, devicePixelRatio]";

pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Where a page is, in pixels of the screen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    left: f64,
    top: f64,
    /// Pixels of the screen to one of the page.
    scale: f64,
}

#[derive(Debug, Default)]
struct Known {
    url: Option<String>,
    place: Option<Place>,
    measured: Option<Instant>,
}

#[derive(Default)]
struct State {
    pages: HashMap<String, Known>,
    /// Measured last, for pages that are not known.
    last: Option<Place>,
    /// Height of the browser's own controls above a page, in pixels of the screen.
    bar: Option<f64>,
    /// Those to be measured.
    wanted: Vec<String>,
    users: usize,
    /// Whether somebody follows the browser.
    is_followed: bool,
}

/// The browser's pages.
pub(crate) struct Pages {
    upstream: Upstream,
    wheel: Arc<dyn Wheel>,
    state: Mutex<State>,
    /// How often something was asked for, or the last user has gone.
    asked: watch::Sender<u64>,
}

/// Keeps the pages looked at.
pub struct Watching(Arc<Pages>);

impl Drop for Watching {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.users -= 1;
        if state.users == 0 {
            self.0.asked.send_modify(|asked| *asked += 1);
        }
    }
}

impl std::fmt::Debug for Watching {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watching")
    }
}

impl Gate {
    /// Has the addresses of pages [told](Wheel::visited) for as long as what is returned is kept. `None` without a wheel. To be
    /// called within a tokio runtime.
    #[must_use]
    pub fn watch_pages(&self) -> Option<Watching> {
        self.inner.pages.as_ref().map(Pages::watch)
    }
}

impl Pages {
    pub(crate) fn new(upstream: Upstream, wheel: Arc<dyn Wheel>) -> Arc<Self> {
        Arc::new(Self { upstream, wheel, state: Mutex::default(), asked: watch::Sender::new(0) })
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Watching {
        let mut state = self.state.lock();
        state.users += 1;
        if !std::mem::replace(&mut state.is_followed, true) {
            tokio::spawn(run(self.clone(), self.asked.subscribe()));
        }
        Watching(self.clone())
    }

    /// The place on the screen of a place in a page.
    pub(crate) fn on_screen(&self, target: Option<&str>, x: f64, y: f64) -> (i32, i32) {
        let mut state = self.state.lock();
        let known = target.and_then(|target| state.pages.get_mut(target).map(|known| (target, known)));
        let mut place = None;
        if let Some((target, known)) = known {
            place = known.place;
            if known.measured.is_none_or(|at| at.elapsed() > FRESH) {
                known.measured = Some(Instant::now());
                state.wanted.push(target.to_owned());
                self.asked.send_modify(|asked| *asked += 1);
            }
        }
        let place = place.or(state.last).unwrap_or(Place { left: 0.0, top: state.bar.unwrap_or(0.0), scale: 1.0 });
        // Casts of floats saturate.
        ((place.left + x * place.scale).round() as i32, (place.top + y * place.scale).round() as i32)
    }

    fn is_used(&self) -> bool {
        self.state.lock().users > 0
    }

    /// Forgets what was known of a browser; whether another is to be looked for.
    fn goes_on(&self) -> bool {
        let mut state = self.state.lock();
        state.pages.clear();
        state.wanted.clear();
        state.is_followed = state.users > 0;
        state.is_followed
    }
}

/// Watches until nobody wants it any more, through ends of the browser.
async fn run(pages: Arc<Pages>, mut asked: watch::Receiver<u64>) {
    loop {
        if let Err(error) = follow(&pages, &mut asked).await {
            tracing::debug!(%error, "the browser's pages are not seen");
        }
        if !pages.goes_on() {
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Opens the browser's own WebSocket.
pub(crate) async fn connect(upstream: &Upstream) -> io::Result<Socket> {
    let stream = upstream.connect().await?;
    let body = ask::ask(stream, "GET", "/json/version", &[]).await?.body(MAX_MESSAGE).await?;
    let version = serde_json::from_slice::<Value>(&body)?;
    let path = version["webSocketDebuggerUrl"].as_str().and_then(address::path_of);
    let path = path.ok_or_else(|| io::Error::other("the browser has no address"))?;
    let stream = upstream.connect().await?;
    let request = format!("ws://{}{path}", ask::HOST).parse().map_err(io::Error::other)?;
    let limits = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let opened = client_async_with_config(ClientRequestBuilder::new(request), stream, Some(limits)).await;
    opened.map(|(socket, _)| socket).map_err(io::Error::other)
}

/// Follows one browser until it ends, or nobody wants to know any more.
async fn follow(pages: &Arc<Pages>, asked: &mut watch::Receiver<u64>) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let socket = tokio::time::timeout(ANSWER, connect(&pages.upstream)).await.map_err(late)??;
    let mut client = Client { pages, socket, next: 0 };
    let discover = json!({ "discover": true, "filter": [{ "type": "page" }] });
    client.call("Target.setDiscoverTargets", discover, None).await?;
    loop {
        while let Some(target) = next_wanted(pages) {
            match client.measure(&target).await {
                Ok(()) => {}
                // A page that is gone, or that does not answer.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
                Err(error) => return Err(error),
            }
        }
        tokio::select! {
            message = first_page::read(&mut client.socket) => client.take(&message?),
            _ = asked.changed() => if !pages.is_used() { return Ok(()) },
        }
    }
}

fn next_wanted(pages: &Pages) -> Option<String> {
    pages.state.lock().wanted.pop()
}

struct Client<'a> {
    pages: &'a Pages,
    socket: Socket,
    next: u64,
}

impl Client<'_> {
    /// Calls a method and waits for its answer. An error of kind `InvalidData` is the method's own.
    async fn call(&mut self, method: &str, params: Value, session: Option<&str>) -> io::Result<Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.socket.send(Message::text(message.to_string())).await.map_err(io::Error::other)?;
        let answered = async {
            loop {
                let mut message = first_page::read(&mut self.socket).await?;
                if message["id"] == id {
                    return match message.get("error") {
                        Some(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
                        None => Ok(message["result"].take()),
                    };
                }
                take(self.pages, &message);
            }
        };
        // A page can be busy for ever.
        let late = |_| io::Error::new(io::ErrorKind::InvalidData, "no answer in time");
        tokio::time::timeout(ANSWER, answered).await.map_err(late)?
    }

    fn take(&mut self, message: &Value) {
        take(self.pages, message);
    }

    async fn measure(&mut self, target: &str) -> io::Result<()> {
        let window = self.call("Browser.getWindowForTarget", json!({ "targetId": target }), None).await?;
        let attach = json!({ "targetId": target, "flatten": true });
        let attached = self.call("Target.attachToTarget", attach, None).await?;
        let session = attached["sessionId"].as_str().unwrap_or_default().to_owned();
        let look = json!({ "expression": LOOK, "returnByValue": true });
        let looked = self.call("Runtime.evaluate", look, Some(&session)).await;
        // Whether or not it answered.
        let _ = self.call("Target.detachFromTarget", json!({ "sessionId": session }), None).await;
        let looked = looked?;
        let numbers: Vec<_> =
            looked["result"]["value"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        let [outer_width, width, height, ratio] = numbers[..] else { return Ok(()) };
        let bounds = |name: &str| window["bounds"][name].as_f64().unwrap_or_default();
        let window = Window {
            left: bounds("left"),
            top: bounds("top"),
            width: bounds("width"),
            height: bounds("height"),
            is_own: (outer_width - bounds("width")).abs() <= 1.0,
            inner: (width, height),
            ratio,
        };
        let mut state = self.pages.state.lock();
        let (place, bar) = window.place(state.bar);
        state.bar = bar;
        state.last = Some(place);
        if let Some(known) = state.pages.get_mut(target) {
            known.place = Some(place);
            known.measured = Some(Instant::now());
        }
        Ok(())
    }
}

/// A browser's window, in its own pixels, and the page in it.
struct Window {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
    /// Whether the page knows the window's true width.
    is_own: bool,
    /// Size of what shows the page, in the page's pixels.
    inner: (f64, f64),
    /// Pixels of the screen to one of the page's.
    ratio: f64,
}

impl Window {
    /// Where the page is, and how high the bar above it is usually.
    fn place(&self, usual: Option<f64>) -> (Place, Option<f64>) {
        // Windows have no borders at their sides, so the widths tell the scale of the screen.
        let scale = if self.is_own && self.width > 0.0 { self.inner.0 * self.ratio / self.width } else { 1.0 };
        let scale = if (0.5..=4.5).contains(&scale) { scale } else { 1.0 };
        let bar = self.height * scale - self.inner.1 * self.ratio;
        let is_high_enough = usual.is_none_or(|usual| bar >= usual - BAR * scale);
        let is_plain = self.is_own && (-1.0..=400.0 * scale).contains(&bar) && is_high_enough;
        let (left, top) = (self.left * scale, self.top * scale);
        if is_plain {
            let bar = bar.max(0.0);
            return (
                Place { left, top: top + bar, scale: self.ratio },
                Some(usual.map_or(bar, |usual| usual.min(bar))),
            );
        }
        (Place { left, top: top + usual.unwrap_or(0.0), scale }, usual)
    }
}

fn take(pages: &Pages, message: &Value) {
    let (info, params) = (&message["params"]["targetInfo"], &message["params"]);
    match message["method"].as_str() {
        Some("Target.targetCreated" | "Target.targetInfoChanged") if info["type"] == "page" => {
            let (Some(id), Some(url)) = (info["targetId"].as_str(), info["url"].as_str()) else { return };
            let is_news = {
                let mut state = pages.state.lock();
                if state.pages.len() >= MAX_PAGES && !state.pages.contains_key(id) {
                    return;
                }
                let is_new = !state.pages.contains_key(id);
                if is_new {
                    state.wanted.push(id.to_owned());
                }
                let known = state.pages.entry(id.to_owned()).or_default();
                if is_new {
                    known.measured = Some(Instant::now());
                }
                // A page that has not been anywhere has no address.
                !url.is_empty() && known.url.replace(url.to_owned()).as_deref() != Some(url)
            };
            if is_news {
                pages.wheel.visited(id, url);
            }
        }
        Some("Target.targetDestroyed") => {
            if let Some(id) = params["targetId"].as_str() {
                pages.state.lock().pages.remove(id);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let (left, top, width, height) = (10.0, 20.0, 1280.0, 720.0);
        Window { left, top, width, height, is_own: true, inner: (1280.0, 633.0), ratio: 1.0 }
    }

    #[test]
    fn places() {
        let (place, bar) = window().place(None);
        assert_eq!((place, bar), (Place { left: 10.0, top: 107.0, scale: 1.0 }, Some(87.0)));
        // Zoomed to 150 %.
        let zoomed = Window { inner: (1280.0 / 1.5, 422.0), ratio: 1.5, ..window() };
        assert_eq!(zoomed.place(bar), (Place { left: 10.0, top: 107.0, scale: 1.5 }, bar));
        // On a screen of 200 %.
        let fine = Window { ratio: 2.0, ..window() }.place(None);
        assert_eq!(fine, (Place { left: 20.0, top: 214.0, scale: 2.0 }, Some(174.0)));
        // With a line of information above the page, and afterwards.
        let informed = Window { inner: (1280.0, 593.0), ..window() };
        assert_eq!(informed.place(bar), (Place { left: 10.0, top: 147.0, scale: 1.0 }, bar));
        assert_eq!(window().place(Some(127.0)).1, Some(87.0));
        // Emulated: as large as the window itself, or something else.
        let emulated = Window { inner: (1280.0, 720.0), ..window() };
        assert_eq!(emulated.place(bar).0, Place { left: 10.0, top: 107.0, scale: 1.0 });
        let phone = Window { is_own: false, inner: (390.0, 844.0), ratio: 3.0, ..window() };
        assert_eq!(phone.place(bar).0, Place { left: 10.0, top: 107.0, scale: 1.0 });
    }
}
