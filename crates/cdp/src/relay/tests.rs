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
    rig_of(policy, None)
}

fn rig_of(policy: Policy, rider: Option<Arc<Rider>>) -> Rig {
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
        relay(near, Box::new(far), b"", (Arc::new(policy), rider), Silence::BrowserEnded, || {}, end).await;
    });
    Rig { client, browser, end, task }
}

/// A program whose turn comes when the test says so.
struct Patient {
    may: tokio::sync::watch::Sender<bool>,
    told: parking_lot::Mutex<Vec<String>>,
}

impl crate::Seat for Patient {
    fn may_act(&self) -> crate::Turn {
        if *self.may.borrow() { crate::Turn::Go } else { crate::Turn::Wait }
    }
    fn turn(&self) -> crate::Pending<'_, Result<(), String>> {
        Box::pin(async {
            let mut may = self.may.subscribe();
            let come = tokio::time::timeout(Duration::from_secs(30), may.wait_for(|may| *may)).await;
            come.map(|_| ()).map_err(|_| "Ann has control".to_owned())
        })
    }
    fn removed(&self) -> crate::Pending<'_, &'static str> {
        Box::pin(std::future::pending())
    }
    fn is_watched(&self) -> bool {
        true
    }
    fn acted(&self, act: crate::Act) {
        self.told.lock().push(format!("{act:?}"));
    }
    fn called(&self, call: &crate::Call<'_>) {
        let target = call.target.unwrap_or("-");
        self.told.lock().push(format!("{} {target} {} {}", call.method, call.count, call.is_refused));
    }
}

struct Nobody;

impl crate::Wheel for Nobody {
    fn join(&self, _: crate::Client) -> Result<Arc<dyn crate::Seat>, String> {
        Err(String::new())
    }
    fn visited(&self, _: &str, _: &str) {}
}

fn patient() -> (Rig, Arc<Patient>) {
    let seat = Arc::new(Patient { may: tokio::sync::watch::Sender::new(false), told: Default::default() });
    let upstream = crate::Upstream::new(|| async { Err(std::io::ErrorKind::NotFound.into()) });
    let pages = crate::pages::Pages::new(upstream, Arc::new(Nobody));
    let rider = Rider::new(seat.clone(), pages, None);
    (rig_of(Policy::full(), Some(Arc::new(rider))), seat)
}

const CLICK: &str =
    r#"{"id":1,"method":"Input.dispatchMouseEvent","params":{"type":"mousePressed","x":3,"y":4},"sessionId":"S"}"#;
const READ: &str = r#"{"id":2,"method":"Runtime.evaluate","params":{"expression":"1"},"sessionId":"S"}"#;

async fn expect(stream: &mut DuplexStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted));
}

#[tokio::test(start_paused = true)]
async fn what_acts_waits_for_its_turn_and_what_comes_after_with_it() {
    let (mut rig, seat) = patient();
    // In pieces, so that the wait begins in the middle of a frame.
    let wire = [client_text(READ), client_text(CLICK), client_text(READ)].concat();
    let first = client_text(READ).len();
    for piece in wire.chunks(50) {
        rig.client.write_all(piece).await.unwrap();
    }
    expect(&mut rig.browser, &wire[..first]).await;
    let more = tokio::time::timeout(Duration::from_secs(29), rig.browser.read_u8()).await;
    assert!(more.is_err(), "nothing passes");
    seat.may.send_replace(true);
    expect(&mut rig.browser, &wire[first..]).await;
    // Counted, and told after a while without another message.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = seat.told.lock().clone();
    assert!(told.contains(&"Click(3, 4)".to_owned()), "{told:?}");
    assert!(told.contains(&"Runtime.evaluate S 2 false".to_owned()), "{told:?}");
    assert!(told.contains(&"Input.dispatchMouseEvent S 1 false".to_owned()), "{told:?}");
    drop(rig.client);
    rig.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waited_in_vain_is_told_and_goes_on() {
    let (mut rig, seat) = patient();
    let wire = [client_text(CLICK), client_text(READ)].concat();
    rig.client.write_all(&wire).await.unwrap();
    expect(&mut rig.browser, &client_text(READ)).await;
    let text = r#"{"error":{"code":-32000,"message":"Input.dispatchMouseEvent is not possible now: Ann has control"},"id":1,"sessionId":"S"}"#;
    expect(&mut rig.client, &server_text(text.as_bytes())).await;
    drop(rig.client);
    rig.task.await.unwrap();
    assert!(seat.told.lock().contains(&"Input.dispatchMouseEvent S 1 true".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_its_client_and_reads_no_further_than_a_buffer() {
    let (mut rig, _seat) = patient();
    rig.client.write_all(&client_text(CLICK)).await.unwrap();
    let junk = vec![0_u8; 1024 * 1024];
    let sent = tokio::time::timeout(Duration::from_secs(1), async {
        let mut sent = 0;
        while let Ok(count) = rig.client.write(&junk[sent..]).await {
            sent += count;
            assert!(sent <= BUFFER + 4 * PIPE, "{sent}");
        }
    });
    assert!(sent.await.is_err(), "the client is held up");
    drop(rig.browser);
    drop(rig.client);
    rig.task.await.unwrap();

    let (mut rig, seat) = patient();
    rig.client.write_all(&client_text(CLICK)).await.unwrap();
    drop(rig.client);
    rig.task.await.unwrap();
    assert!(all(&mut rig.browser).await.is_empty(), "nothing of it reaches the browser");
    assert!(!*seat.may.borrow());
}

#[tokio::test(start_paused = true)]
async fn targets_are_overheard() {
    let (mut rig, seat) = patient();
    let attached = r#"{"method":"Target.attachedToTarget","params":{"sessionId":"S","targetInfo":{"targetId":"T","type":"page"}}}"#;
    rig.browser.write_all(&server_text(attached.as_bytes())).await.unwrap();
    expect(&mut rig.client, &server_text(attached.as_bytes())).await;
    rig.client.write_all(&client_text(READ)).await.unwrap();
    expect(&mut rig.browser, &client_text(READ)).await;
    drop(rig.client);
    rig.task.await.unwrap();
    assert_eq!(*seat.told.lock(), ["Runtime.evaluate T 1 false"]);
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
