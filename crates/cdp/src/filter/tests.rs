use super::*;
use crate::frame::CLOSE;

/// A client's frame with a mask that is not zero.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x5a, 0x01, 0xff, 0x80];
    let mut wire = Vec::new();
    frame::put_masked(&mut wire, 0, payload);
    wire[0] = first;
    let start = wire.len() - payload.len();
    wire[start - 4..start].copy_from_slice(&mask);
    unmask(&mut wire[start..], mask, 0);
    wire
}

fn text(payload: &str) -> Vec<u8> {
    client_frame(0x81, payload.as_bytes())
}

struct Ran {
    out: Vec<u8>,
    replies: Vec<Value>,
    ended: bool,
}

/// Feeds bytes in pieces of this size.
fn run(policy: &Policy, wire: &[u8], piece: usize) -> Result<Ran, Malformed> {
    let mut filter = Filter::new(Arc::new(policy.clone()));
    let (mut out, mut replies) = (Vec::new(), Vec::new());
    for piece in wire.chunks(piece) {
        filter.feed(piece, &mut out, &mut replies)?;
        if replies.iter().any(|reply| reply.ends) {
            break;
        }
        assert!(filter.held.len() + filter.payload.len() <= 2 * MAX_HELD + 2 * piece.len() + 64);
    }
    let ended = replies.iter().any(|reply| reply.ends);
    let replies = replies.iter().map(|reply| serde_json::from_str(&reply.text).unwrap()).collect();
    Ok(Ran { out, replies, ended })
}

fn run_all(policy: &Policy, wire: &[u8]) -> Ran {
    let whole = run(policy, wire, usize::MAX).unwrap();
    for piece in [1, 2, 3, 7, 100] {
        let pieces = run(policy, wire, piece).unwrap();
        assert_eq!((pieces.out == whole.out, &pieces.replies, pieces.ended), (true, &whole.replies, whole.ended));
    }
    whole
}

const NAVIGATE: &str = r#"{"id":4,"method":"Page.navigate","params":{"url":"x"},"sessionId":"S"}"#;
const SHOT: &str = r#"{"id":5,"method":"Page.captureScreenshot"}"#;

#[test]
fn what_passes_keeps_its_bytes() {
    let mut wire = text(SHOT);
    // In three fragments, the second empty, with a ping in between.
    let (head, tail) = SHOT.as_bytes().split_at(20);
    wire.extend(client_frame(0x01, head));
    wire.extend(client_frame(0x00, b""));
    wire.extend(client_frame(0x80, tail));
    wire.extend(client_frame(0x89, b"ping"));
    wire.extend(text(SHOT));
    wire.extend(client_frame(0x80 | CLOSE, &1000_u16.to_be_bytes()));
    for policy in [Policy::read_only(), Policy::full()] {
        let ran = run_all(&policy, &wire);
        assert!(ran.out == wire && ran.replies.is_empty());
    }
}

#[test]
fn what_is_refused_is_answered_with_its_id_and_session() {
    let mut wire = text(SHOT);
    wire.extend(text(NAVIGATE));
    wire.extend(text(SHOT));
    let ran = run_all(&Policy::read_only(), &wire);
    assert_eq!(ran.out, [text(SHOT), text(SHOT)].concat());
    assert_eq!(ran.replies.len(), 1);
    assert_eq!((&ran.replies[0]["id"], &ran.replies[0]["sessionId"]), (&json!(4), &json!("S")));
    assert_eq!(ran.replies[0]["error"]["code"], SERVER_ERROR);
    let message = ran.replies[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("Page.navigate") && message.contains("read-only"), "{message}");
}

#[test]
fn a_ping_within_a_refused_message_arrives() {
    let (head, tail) = NAVIGATE.as_bytes().split_at(9);
    let ping = client_frame(0x89, b"ping");
    let wire = [client_frame(0x01, head), ping.clone(), client_frame(0x80, tail)].concat();
    let ran = run_all(&Policy::read_only(), &wire);
    assert_eq!((ran.out, ran.replies.len()), (ping, 1));
}

#[test]
fn large_messages_flow() {
    let large =
        format!(r#"{{"id":1,"method":"Page.captureScreenshot","params":{{"x":"{}"}}}}"#, "é".repeat(MAX_HELD * 8));
    let (wire, denying) = (text(&large), Policy { deny: vec!["A.b".into()], ..Policy::full() });
    for policy in [Policy::read_only(), denying, Policy::full()] {
        let ran = run(&policy, &wire, 64 * 1024).unwrap();
        assert!(ran.out == wire && ran.replies.is_empty());
        let mut filter = Filter::new(Arc::new(policy));
        let (mut out, mut replies) = (Vec::new(), Vec::new());
        filter.feed(&wire[..100_000], &mut out, &mut replies).unwrap();
        assert_eq!(out.len(), 100_000, "nothing is held back once the method is known");
    }
    let late =
        format!(r#"{{"params":{{"x":"{}"}},"id":7,"method":"Page.captureScreenshot"}}"#, "x".repeat(MAX_HELD * 8));
    let ran = run(&Policy::read_only(), &text(&late), 64 * 1024).unwrap();
    assert!(ran.out.is_empty());
    assert_eq!(ran.replies[0]["id"], 7);
    let ran = run(&Policy::full(), &text(&late), 64 * 1024).unwrap();
    assert!(ran.out == text(&late) && ran.replies.is_empty());
}

#[test]
fn closing_the_browser_ends_the_view() {
    let wire = [text(r#"{"id":9,"method":"Browser.close"}"#), text(SHOT)].concat();
    for policy in [Policy::full(), Policy::read_only()] {
        let ran = run_all(&policy, &wire);
        assert!(ran.out.is_empty() && ran.ended);
        assert_eq!(ran.replies, [json!({ "id": 9, "result": {} })]);
    }
    let may = Policy { browser_close: true, folder: Some("/d".into()), ..Policy::full() };
    let ran = run_all(&may, &wire);
    assert!(ran.out == wire && !ran.ended);
}

#[test]
fn parameters_decide_where_they_must() {
    let wire = text(r#"{"id":1,"method":"Target.setAutoAttach","params":{"waitForDebuggerOnStart":true}}"#);
    let ran = run_all(&Policy::read_only(), &wire);
    assert!(ran.replies.is_empty());
    let sent: Value = serde_json::from_slice(&ran.out[6..]).unwrap();
    assert_eq!(sent["params"]["waitForDebuggerOnStart"], false);
    let wire = text(r#"{"id":1,"method":"Target.setAutoAttach","params":{"waitForDebuggerOnStart":false}}"#);
    let ran = run_all(&Policy::read_only(), &wire);
    assert!(ran.out == wire && ran.replies.is_empty());

    let folder = Policy { folder: Some("/d".into()), ..Policy::full() };
    let wire =
        text(r#"{"id":1,"method":"Browser.setDownloadBehavior","params":{"behavior":"allow","downloadPath":"/x"}}"#);
    let ran = run_all(&folder, &wire);
    let sent: Value = serde_json::from_slice(&ran.out[6..]).unwrap();
    assert_eq!(sent["params"]["downloadPath"], "/d");

    let long =
        format!(r#"{{"id":1,"method":"DOM.setFileInputFiles","params":{{"files":["{}"]}}}}"#, "x".repeat(MAX_HELD * 2));
    let ran = run(&folder, &text(&long), 1_000).unwrap();
    assert!(ran.out.is_empty() && ran.replies.len() == 1);
}

#[test]
fn what_is_unclear_never_reaches_the_browser_whole() {
    for message in [
        "",
        "{}",
        r#"{"id":1}"#,
        "[]",
        r#"{"m\u0065thod":"Page.navigate","method":"Page.captureScreenshot"}"#,
        r#"{"id":1,"params":{/*}*/},"method":"Page.captureScreenshot"}"#,
    ] {
        let ran = run_all(&Policy::read_only(), &text(message));
        assert!(ran.out.is_empty(), "{message}");
        assert_eq!(ran.replies.len(), 1, "{message}");
    }
    for message in [
        r#"{"id":1,"method":"Page.captureScreenshot","method":"Page.navigate"}"#,
        r#"{"id":1,"method":"Page.captureScreenshot","params":{}"#,
        r#"{"id":1,"method":"Page.captureScreenshot"}{"id":2,"method":"Page.navigate"}"#,
    ] {
        for piece in [1, 5, usize::MAX] {
            // In one piece it can still be answered; in several its beginning is on its way.
            if let Ok(ran) = run(&Policy::read_only(), &text(message), piece) {
                assert!(ran.out.is_empty() && ran.replies.len() == 1, "{message}");
            }
        }
    }
    // Who may do everything gets the browser's own opinion.
    let ran = run_all(&Policy::full(), &text("junk"));
    assert!(ran.out == text("junk") && ran.replies.is_empty());
}

#[test]
fn malformed_frames_end_the_connection() {
    let mut unmasked = Vec::new();
    frame::put(&mut unmasked, TEXT, b"{}");
    for wire in [
        unmasked,
        client_frame(0xc1, b"{}"),
        client_frame(0x82, b"{}"),
        client_frame(0x83, b"{}"),
        client_frame(0x80, b"{}"),
        client_frame(0x09, b""),
        client_frame(0x8b, b""),
        client_frame(0x89, &[0; 126]),
        [client_frame(0x01, b"{"), client_frame(0x81, b"{}")].concat(),
        vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        for piece in [1, usize::MAX] {
            assert!(run(&Policy::full(), &wire, piece).is_err(), "{wire:x?}");
        }
    }
}

#[test]
fn masks_go_on_and_off_at_any_place() {
    let plain: Vec<u8> = (0..100).collect();
    let mut whole = plain.clone();
    unmask(&mut whole, [1, 2, 3, 4], 0);
    for cut in 0..20 {
        let mut pieces = plain.clone();
        let (head, tail) = pieces.split_at_mut(cut);
        unmask(head, [1, 2, 3, 4], 0);
        unmask(tail, [1, 2, 3, 4], cut % 4);
        assert_eq!(pieces, whole);
    }
}
