use tokio::io::DuplexStream;

use super::*;

const PIPE: usize = 4 * 1024;

/// A running relay between two pipes.
struct Rig {
    client: DuplexStream,
    browser: DuplexStream,
    end: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn rig(policy: Policy) -> Rig {
    let (client, near) = tokio::io::duplex(PIPE);
    let (browser, far) = tokio::io::duplex(PIPE);
    let end = tokio::sync::watch::Sender::new(false);
    let ends = end.subscribe();
    let task = tokio::spawn(async move {
        let end = || {
            let mut ends = ends.clone();
            async move {
                if ends.wait_for(|is_over| *is_over).await.is_err() {
                    std::future::pending::<()>().await;
                }
                (1001, "over")
            }
        };
        relay(near, Box::new(far), b"", (Arc::new(policy), None), Silence::BrowserEnded, || {}, end).await;
    });
    Rig { client, browser, end, task }
}

fn server_text(payload: &[u8]) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::put(&mut wire, TEXT, payload);
    wire
}

fn client_text(payload: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::put_masked(&mut wire, TEXT, payload.as_bytes());
    wire
}

async fn all(stream: &mut DuplexStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

fn closing(code: u16, reason: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    frame::put(&mut wire, CLOSE, &frame::close_payload(code, reason));
    wire
}

fn everything() -> Policy {
    Policy { browser_close: true, ..Policy::full() }
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_ends_is_a_close_with_a_reason() {
    for policy in [everything(), Policy::full()] {
        let mut rig = rig(policy);
        rig.browser.write_all(&server_text(b"one")).await.unwrap();
        drop(rig.browser);
        assert_eq!(
            all(&mut rig.client).await,
            [server_text(b"one"), closing(1012, Silence::BrowserEnded.close().1)].concat()
        );
        drop(rig.client);
        rig.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_put_into_a_frame_that_is_half_there() {
    let mut rig = rig(Policy::full());
    let wire = server_text(b"half of it");
    rig.browser.write_all(&wire[..5]).await.unwrap();
    drop(rig.browser);
    assert_eq!(all(&mut rig.client).await, wire[..5]);
}

#[tokio::test(start_paused = true)]
async fn the_browsers_own_close_is_the_last_word() {
    let mut rig = rig(Policy::full());
    rig.browser.write_all(&closing(1000, "bye")).await.unwrap();
    drop(rig.browser);
    assert_eq!(all(&mut rig.client).await, closing(1000, "bye"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_goodbye_gets_one() {
    for policy in [everything(), Policy::full()] {
        let mut rig = rig(policy);
        let mut wire = Vec::new();
        frame::put_masked(&mut wire, CLOSE, &frame::close_payload(1000, ""));
        rig.client.write_all(&wire).await.unwrap();
        let mut got = vec![0; wire.len()];
        rig.browser.read_exact(&mut got).await.unwrap();
        assert_eq!(got, wire);
        drop(rig.browser);
        assert_eq!(all(&mut rig.client).await, closing(1000, ""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_waits_for_the_end_of_the_browsers_message() {
    let mut rig = rig(Policy::read_only());
    let wire = server_text(b"a long message");
    rig.browser.write_all(&wire[..6]).await.unwrap();
    let mut got = vec![0; 6];
    rig.client.read_exact(&mut got).await.unwrap();
    rig.client.write_all(&client_text(r#"{"id":1,"method":"Page.navigate"}"#)).await.unwrap();
    // Something that passes shows that the one before has been judged.
    let passes = client_text(r#"{"id":2,"method":"Page.enable"}"#);
    rig.client.write_all(&passes).await.unwrap();
    let mut seen = vec![0; passes.len()];
    rig.browser.read_exact(&mut seen).await.unwrap();
    assert_eq!(seen, passes);
    rig.browser.write_all(&[&wire[6..], &server_text(b"next")].concat()).await.unwrap();
    drop(rig.browser);
    let got = [got, all(&mut rig.client).await].concat();
    let refusal = got.windows(8).position(|window| window == br#""error":"#).unwrap();
    assert!(got.starts_with(&wire) && refusal > wire.len());
    let text = String::from_utf8_lossy(&got);
    assert!(text.contains("next") && text.contains("not allowed") && text.ends_with(Silence::BrowserEnded.close().1));
}

#[tokio::test(start_paused = true)]
async fn closing_the_browser_closes_the_connection_only() {
    let mut rig = rig(Policy::full());
    rig.client.write_all(&client_text(r#"{"id":3,"method":"Browser.close"}"#)).await.unwrap();
    let got = all(&mut rig.client).await;
    assert_eq!(got, [server_text(br#"{"id":3,"result":{}}"#), closing(1000, "")].concat());
    assert_eq!(all(&mut rig.browser).await, b"");
}

#[tokio::test(start_paused = true)]
async fn junk_closes_the_connection_and_reaches_nobody() {
    let mut rig = rig(Policy::full());
    rig.client.write_all(b"\xff\xff junk that is no frame").await.unwrap();
    let got = all(&mut rig.client).await;
    assert_eq!(&got[2..4], &1002_u16.to_be_bytes());
    assert_eq!(all(&mut rig.browser).await, b"");
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_between_frames() {
    for policy in [everything(), Policy::full()] {
        let mut rig = rig(policy);
        rig.browser.write_all(&server_text(b"one")).await.unwrap();
        let mut one = vec![0; 5];
        rig.client.read_exact(&mut one).await.unwrap();
        rig.end.send_replace(true);
        assert_eq!(all(&mut rig.client).await, closing(1001, "over"));
        drop(rig.client);
        rig.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_stops_the_browser_and_holds_up_no_end() {
    let mut rig = rig(Policy::full());
    let large = server_text(&vec![b'x'; 1024 * 1024]);
    let (mut from, mut to) = tokio::io::split(rig.browser);
    let sent = tokio::time::timeout(Duration::from_secs(3_600), to.write_all(&large)).await;
    assert!(sent.is_err(), "a client that does not read must stop the browser");
    rig.end.send_replace(true);
    rig.task.await.unwrap();
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).await.unwrap();
    assert!(all(&mut rig.client).await.len() <= PIPE);
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_does_not_read_stops_the_client() {
    for policy in [everything(), Policy::read_only()] {
        let mut rig = rig(policy);
        let large = client_text(&format!(r#"{{"method":"Page.enable","x":"{}"}}"#, "x".repeat(1024 * 1024)));
        let sent = tokio::time::timeout(Duration::from_secs(3_600), rig.client.write_all(&large)).await;
        assert!(sent.is_err(), "a browser that does not read must stop the client");
        drop(rig.client);
        drop(rig.browser);
        rig.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_frees_the_browser() {
    let mut rig = rig(Policy::full());
    drop(rig.client);
    assert_eq!(all(&mut rig.browser).await, b"");
    rig.task.await.unwrap();
}
