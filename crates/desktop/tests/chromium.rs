//! A real Chromium: sandboxed, quiet, filling the screen, following scale and keyboard.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod harness;

use glasshouse_desktop::{App, Desktop, Input, Size};
use harness::{config, connect, eventually, processes_with, session_dir, start_with};
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _};

/// The page says in its title what it sees.
const PAGE: &str = "data:text/html,<body style='margin:0'><textarea autofocus id=t></textarea><script>\
    t.focus();setInterval(()=>{document.title=['P',devicePixelRatio,innerWidth,\
    [...t.value].map(c=>c.codePointAt(0).toString(16)).join('.')].join('|')},20)</script>";

struct Browser {
    conn: x11rb::rust_connection::RustConnection,
    root: u32,
}

impl Browser {
    fn property(&self, window: u32, name: &str) -> Option<Vec<u8>> {
        let atom = self.conn.intern_atom(false, name.as_bytes()).ok()?.reply().ok()?.atom;
        let reply = self.conn.get_property(false, window, atom, AtomEnum::ANY, 0, 4096).ok()?.reply().ok()?;
        (!reply.value.is_empty()).then_some(reply.value)
    }

    /// The one window that the window manager knows, and the parts of its title.
    fn window(&self) -> Option<(u32, Vec<String>)> {
        let list = self.property(self.root, "_NET_CLIENT_LIST")?;
        assert_eq!(list.len(), 4, "one window, no questions and no second one");
        let window = u32::from_ne_bytes(list.try_into().ok()?);
        let title = String::from_utf8(self.property(window, "_NET_WM_NAME")?).ok()?;
        let title = title.strip_suffix(" - Chromium").unwrap_or(&title).to_owned();
        title.starts_with("P|").then(|| (window, title.split('|').map(str::to_owned).collect()))
    }
}

async fn start() -> (Desktop, Browser) {
    let mut config = config(App::Chromium { url: Some(PAGE.into()), flags: Vec::new(), only_given_flags: false });
    config.window_manager = true;
    config.display = glasshouse_desktop::Display::Own(Size { width: 1000, height: 700 });
    let (desktop, _) = start_with(config).await;
    let (conn, root) = connect(&desktop);
    (desktop, Browser { conn, root })
}

#[tokio::test]
async fn it_is_sandboxed_and_fills_the_screen() {
    let (desktop, browser) = start().await;
    let (window, _) = eventually("the page runs", || browser.window()).await;
    let ours = format!("user-data-dir={}", session_dir(&desktop).display());
    let cmdline = |pid: i32| {
        let raw = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&raw).replace('\0', " ")
    };
    assert!(processes_with(&ours).iter().all(|pid| !cmdline(*pid).contains("--no-sandbox")));
    // Other browsers on this machine may well have none. A renderer, and at any time another may start, gets its filter a moment
    // after its start.
    eventually("every renderer has its filter", || {
        let renderers: Vec<String> = processes_with(&ours)
            .into_iter()
            .filter(|pid| cmdline(*pid).contains("--type=renderer"))
            .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok())
            .collect();
        let all = renderers.iter().all(|status| status.contains("Seccomp:\t2\n"));
        (all && !renderers.is_empty()).then_some(())
    })
    .await;
    for size in [Size { width: 1000, height: 700 }, Size { width: 1281, height: 719 }, Size { width: 640, height: 480 }]
    {
        desktop.resize(size, 100).await.unwrap();
        eventually("the window fills the screen, without a frame", || {
            let geometry = browser.conn.get_geometry(window).ok()?.reply().ok()?;
            let at = browser.conn.translate_coordinates(window, browser.root, 0, 0).ok()?.reply().ok()?;
            let fits = (at.dst_x, at.dst_y, geometry.width, geometry.height) == (0, 0, size.width, size.height);
            fits.then_some(())
        })
        .await;
    }
    desktop.stop().await;
}

#[tokio::test]
async fn it_gets_any_text_and_follows_the_scale() {
    let (desktop, browser) = start().await;
    eventually("the page runs", || browser.window()).await;
    // The keyboard is the page's when the pointer has clicked into it.
    desktop.input(Input::Move { x: 60, y: 110 });
    desktop.input(Input::ButtonDown(1));
    desktop.input(Input::ButtonUp(1));
    let text = "aB@ ä漢字かな交じり文を打つとどうなるか試してみよう😀👍🚀é";
    for c in text.chars() {
        let keysym = if u32::from(c) < 0x100 { u32::from(c) } else { u32::from(c) + 0x0100_0000 };
        desktop.input(Input::KeyDown(keysym));
        desktop.input(Input::KeyUp(keysym));
    }
    let expected = text.chars().map(|c| format!("{:x}", u32::from(c))).collect::<Vec<_>>().join(".");
    let mut last = String::new();
    eventually("the text arrives", || {
        let (_, title) = browser.window()?;
        last.clone_from(&title[3]);
        (title[3].len() >= expected.len()).then_some(())
    })
    .await;
    assert_eq!(last, expected);
    desktop.resize(Size { width: 1000, height: 700 }, 200).await.unwrap();
    eventually("the page is drawn at twice the size", || (browser.window()?.1[1] == "2").then_some(())).await;
    desktop.resize(Size { width: 1000, height: 700 }, 150).await.unwrap();
    eventually("the page is drawn at 1.5 times the size", || (browser.window()?.1[1] == "1.5").then_some(())).await;
    desktop.stop().await;
}
