//! Text, HTML and pictures pass both ways, whole.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod harness;

use glasshouse_desktop::Event;
use harness::{eventually, session_dir, start, window::TestWindow};
use std::{
    io::Write,
    process::{Command, Stdio},
};

/// 1 MB of every kind of character.
fn long_text() -> String {
    let mut text = String::new();
    while text.len() < 1_000_000 {
        text.push_str("plain, ümläute, 漢字, \u{1f600} and a line end\r\n\t");
    }
    text
}

fn xclip(desktop: &glasshouse_desktop::Desktop, args: &[&str]) -> Command {
    let mut command = Command::new("xclip");
    command.args(["-selection", "clipboard"]).args(args);
    command.env("DISPLAY", desktop.display()).env("XAUTHORITY", desktop.xauthority().unwrap());
    command
}

#[tokio::test]
async fn long_text_goes_out() {
    let (desktop, recorder) = start().await;
    let text = long_text();
    desktop.set_clipboard(Some(text.clone()), None).await.unwrap();
    let output = xclip(&desktop, &["-o", "-target", "UTF8_STRING"]).output().unwrap();
    assert!(output.stdout == text.as_bytes(), "{} of {} bytes arrived", output.stdout.len(), text.len());
    assert_eq!(desktop.clipboard_text().await.unwrap(), text);
    eventually("our own ownership is reported", || {
        recorder
            .all()
            .iter()
            .any(|e| matches!(e, Event::Clipboard { text: true, html: false, image: false }))
            .then_some(())
    })
    .await;
    let mut targets = xclip(&desktop, &["-o", "-target", "STRING"]).output().unwrap().stdout;
    targets.truncate(26);
    assert_eq!(targets, b"plain, \xfcml\xe4ute, ??, ? and ");
    desktop.stop().await;
}

#[tokio::test]
async fn a_program_is_answered_while_we_look_ourselves() {
    let (desktop, _recorder) = start().await;
    for round in 0..150 {
        let text = format!("round {round}");
        desktop.set_clipboard(Some(text.clone()), None).await.unwrap();
        let mut reader = xclip(&desktop, &["-o"]).stdout(Stdio::piped()).spawn().unwrap();
        // Its request arrives while we wait for an answer of the server, in some of the rounds.
        for _ in 0..round {
            desktop.clipboard_text().await.unwrap();
        }
        eventually("the program has its answer", || reader.try_wait().unwrap()).await;
        assert_eq!(reader.wait_with_output().unwrap().stdout, text.as_bytes());
    }
    desktop.stop().await;
}

#[tokio::test]
async fn long_text_comes_in() {
    let (desktop, recorder) = start().await;
    let text = long_text();
    // -quiet keeps it in the foreground, so that it can be ended by its id.
    let mut owner = xclip(&desktop, &["-i", "-quiet"]).stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    owner.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    eventually("the new owner is reported", || {
        recorder.all().iter().any(|e| matches!(e, Event::Clipboard { text: true, .. })).then_some(())
    })
    .await;
    assert!(desktop.clipboard_text().await.unwrap() == text);
    assert_eq!(desktop.clipboard_html().await.unwrap(), "");
    assert_eq!(desktop.clipboard_png().await.unwrap(), None);
    owner.kill().unwrap();
    owner.wait().unwrap();
    eventually("the empty clipboard is reported", || {
        let empty = Event::Clipboard { text: false, html: false, image: false };
        recorder.all().last().filter(|last| format!("{last:?}") == format!("{empty:?}")).map(drop)
    })
    .await;
    assert_eq!(desktop.clipboard_text().await.unwrap(), "");
    desktop.stop().await;
}

#[tokio::test]
async fn the_primary_selection_is_another_one() {
    let (desktop, recorder) = start().await;
    desktop.set_clipboard(Some("clipboard".into()), None).await.unwrap();
    assert_eq!(desktop.primary_text().await.unwrap(), "");
    let text = long_text();
    desktop.set_primary(Some(text.clone())).await.unwrap();
    let reads = |selection: &str| {
        let output = xclip(&desktop, &["-selection", selection, "-o", "-target", "UTF8_STRING"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(reads("primary") == text && reads("clipboard") == "clipboard");
    assert!(desktop.primary_text().await.unwrap() == text);
    let mut owner = xclip(&desktop, &["-selection", "primary", "-i", "-quiet"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    owner.stdin.take().unwrap().write_all("märked".as_bytes()).unwrap();
    // Asking is all there is: changes are not told.
    let deadline = std::time::Instant::now() + harness::PATIENCE;
    while desktop.primary_text().await.unwrap() != "märked" {
        assert!(std::time::Instant::now() < deadline, "the new owner is not asked");
    }
    assert_eq!(desktop.clipboard_text().await.unwrap(), "clipboard");
    assert!(!recorder.all().iter().any(|event| matches!(event, Event::Clipboard { text: false, .. })));
    desktop.set_primary(None).await.unwrap();
    assert_eq!(desktop.primary_text().await.unwrap(), "");
    owner.kill().unwrap();
    owner.wait().unwrap();
    desktop.stop().await;
}

#[tokio::test]
async fn html_goes_out_beside_text() {
    let (desktop, _) = start().await;
    let html = "<b>bold ä</b>".to_owned();
    desktop.set_clipboard(Some("bold".into()), Some(html.clone())).await.unwrap();
    let output = xclip(&desktop, &["-o", "-target", "text/html"]).output().unwrap();
    assert_eq!(output.stdout, html.as_bytes());
    assert_eq!(desktop.clipboard_html().await.unwrap(), html);
    assert_eq!(desktop.clipboard_text().await.unwrap(), "bold");
    desktop.set_clipboard(None, None).await.unwrap();
    assert_eq!(desktop.clipboard_text().await.unwrap(), "");
    desktop.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_comes_in_pieces() {
    let (desktop, recorder) = start().await;
    let window = TestWindow::open(&desktop);
    let png: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    window.own_clipboard();
    let sent = png.clone();
    let owner = std::thread::spawn(move || {
        window.offer(&["TARGETS", "image/png"], "image/png", &sent, Some(100_000));
        window
    });
    // First, while the owner still answers: the two are asked for in the order in which they are heard of.
    eventually("the new owner is reported", || {
        let is_it = |e: &Event| matches!(e, Event::Clipboard { text: false, html: false, image: true });
        recorder.all().iter().any(is_it).then_some(())
    })
    .await;
    assert!(desktop.clipboard_png().await.unwrap().unwrap() == png);
    drop(owner.join().unwrap());
    desktop.stop().await;
}

#[tokio::test]
async fn an_owner_that_does_not_answer_is_given_up() {
    let (desktop, _) = start().await;
    let window = TestWindow::open(&desktop);
    window.own_clipboard();
    let error = desktop.clipboard_text().await.unwrap_err();
    assert!(error.to_string().contains("does not answer"), "{error}");
    // It is not in the way of the next one.
    desktop.set_clipboard(Some("next".into()), None).await.unwrap();
    assert_eq!(desktop.clipboard_text().await.unwrap(), "next");
    assert!(desktop.set_clipboard(Some("x".repeat(17 << 20)), None).await.is_err());
    assert!(session_dir(&desktop).exists());
    desktop.stop().await;
}
