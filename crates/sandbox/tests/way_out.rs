//! A session's programs reach the outside through the proxy on listeners made inside, and in no other way.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail and print as tests do")]

mod common;
mod web;

use std::process::Stdio;

use common::{Killed, Place, modes, text};
use web::Server;

#[tokio::test(flavor = "multi_thread")]
async fn programs_inside_use_the_proxy() {
    let place = Place::new();
    let server = Server::start("127.0.0.1").await;
    let url = format!("http://127.0.0.1:{}/", server.port);
    for mode in modes() {
        let (place, url) = (&place, url.as_str());
        let fetch = |rules: &'static str, proxy: &'static str| {
            let command = ["/opt/walls", "attack", "fetch", proxy, url];
            tokio::task::block_in_place(|| place.inside(*mode, &["--proxy-allow", rules], &command))
        };
        let allowed = fetch("127.0.0.1/32", "127.0.0.1:3128");
        assert!(text(&allowed).contains("hello"), "{mode:?}: {}", text(&allowed));
        let allowed = fetch("127.0.0.1/32", "[::1]:3128");
        assert!(text(&allowed).contains("hello"), "{mode:?}: {}", text(&allowed));
        let refused = fetch("", "127.0.0.1:3128");
        assert!(text(&refused).contains("403 Forbidden"), "{mode:?}: {}", text(&refused));
        let around = format!("127.0.0.1:{}", server.port);
        let tried = tokio::task::block_in_place(|| {
            place.inside(*mode, &["--proxy-allow", "*"], &["/opt/walls", "attack", "tcp", &around])
        });
        assert!(text(&tried).contains("refused"), "{mode:?}: {}", text(&tried));
    }
    assert_eq!(server.requests(), 2 * modes().len());
}

/// A page that tries everything a page has, and leaves in its title what it reached.
const HOSTILE_PAGE: &str = r#"<!doctype html><title>trying</title><script>
const port = location.port, got = [];
const fetches = HOSTS.map(host => fetch(`http://${host}:${port}/hello`, {mode: "no-cors"})
    .then(() => got.push(host), () => {}));
const images = HOSTS.map(host => new Promise(done => {
    const image = new Image(); image.onload = image.onerror = done; image.src = `http://${host}:${port}/hello`;
}));
const sockets = HOSTS.map(host => new Promise(done => {
    try {
        const socket = new WebSocket(`ws://${host}:${port}/hello`);
        socket.onopen = () => { got.push("ws " + host); done(); }; socket.onerror = done;
    } catch { done(); }
}));
const candidates = new Promise(done => {
    const peer = new RTCPeerConnection({iceServers: [{urls: `stun:127.0.0.1:${port}`}]});
    peer.createDataChannel("x");
    peer.onicecandidate = event => {
        if (!event.candidate) return done();
        if (/ (srflx|relay) /.test(event.candidate.candidate)) got.push("candidate");
    };
    peer.createOffer().then(offer => peer.setLocalDescription(offer));
});
// What is neither reached nor refused by then has had its chance.
const chance = new Promise(done => setTimeout(done, 5000));
Promise.race([chance, Promise.all([...fetches, ...images, ...sockets, candidates])]).then(() => {
    fetch("/done?" + encodeURIComponent(got.join(",") || "nothing"));
});
</script>"#;

/// Starts the browser on a page, with the proxy as its only way out.
const SCRIPT: &str = r#"
Xvnc :7 -SecurityTypes None -geometry 800x600 -rfbport -1 -nolisten tcp >/tmp/x.log 2>&1 &
while [ ! -S /tmp/.X11-unix/X7 ]; do kill -0 $! || exit 3; sleep 0.02; done
DISPLAY=:7 exec /usr/lib/chromium/chromium --user-data-dir=/home/user/p --no-first-run --password-store=basic \
    --proxy-server=http://127.0.0.1:3128 --proxy-bypass-list='<-loopback>' --disable-background-networking \
    --force-webrtc-ip-handling-policy=disable_non_proxied_udp "$0" >/tmp/c.log 2>&1
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_page_reaches_its_own_server_only() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let place = Place::new();
    // The page's own server stands for the internet; the victim has the same port at other addresses.
    let [own, victim] = web::same_port(["127.0.0.9", "127.0.0.1"]).await;
    let (port, victim) = (own.local_addr().unwrap().port(), Server::serve(victim));
    let hosts = [
        "127.0.0.1",
        "localhost",
        "0x7f000001",
        "2130706433",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::1]",
        "169.254.169.254",
    ];
    let page = HOSTILE_PAGE.replace("HOSTS", &serde_json::to_string(&hosts).unwrap());
    // Last, as a control, where everything is allowed.
    let open = [(modes()[0], "127.0.0.0/8,::1/128")];
    for (mode, rules) in modes().iter().map(|mode| (*mode, "127.0.0.9/32")).chain(open) {
        let mut command = place.launch(
            mode,
            &["--proxy-allow", rules],
            &["/bin/sh", "-c", SCRIPT, &format!("http://127.0.0.9:{port}/")],
        );
        let browser = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let reached = async {
            loop {
                let (mut stream, _) = own.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                if let Some((_, rest)) = head.split_once("/done?") {
                    return rest.split(' ').next().unwrap_or("").to_owned();
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}",
                    page.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        };
        let reached = tokio::time::timeout(std::time::Duration::from_secs(90), reached).await.unwrap();
        if rules != "127.0.0.9/32" {
            assert!(victim.requests() > 0, "the page does try: {reached}");
            continue;
        }
        // A refusal is a page like any other to a fetch that may not look at what it got; what counts is who was asked.
        assert!(!reached.contains("ws") && !reached.contains("candidate"), "{mode:?}: reached {reached}");
        assert_eq!(victim.requests(), 0, "{mode:?}");
        drop(browser);
    }
}
