//! What programs play comes out of the FIFO, and silence costs nothing.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod harness;

use std::{fs::OpenOptions, io::Read, os::unix::fs::OpenOptionsExt};

use harness::{command, config, eventually, start_with};

/// Samples other than zero among what the FIFO holds.
fn loud(fifo: &mut std::fs::File) -> usize {
    let mut buffer = vec![0; 65_536];
    match fifo.read(&mut buffer) {
        Ok(read) => buffer[..read].chunks_exact(2).filter(|sample| *sample != [0, 0]).count(),
        Err(_) => 0,
    }
}

#[tokio::test]
async fn what_is_played_comes_out() {
    // Bytes that are no silence, for ever, as raw sound.
    let play = "exec paplay --raw --rate=48000 --channels=2 --format=s16le /dev/urandom";
    let mut config = config(command(&["sh", "-c", play]));
    config.sound = true;
    let (desktop, _) = start_with(config).await;
    let mut fifo =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(desktop.sound_fifo().unwrap()).unwrap();
    let mut samples = 0;
    eventually("a second of sound", || {
        samples += loud(&mut fifo);
        (samples > 90_000).then_some(())
    })
    .await;
    desktop.stop().await;
}

#[tokio::test]
async fn silence_is_not_written() {
    let mut config = config(glasshouse_desktop::App::None);
    config.sound = true;
    let (desktop, _) = start_with(config).await;
    let mut fifo =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(desktop.sound_fifo().unwrap()).unwrap();
    let mut empty_reads = 0;
    eventually("the sink is suspended", || {
        let mut buffer = [0; 65_536];
        empty_reads = if fifo.read(&mut buffer).is_ok_and(|read| read > 0) { 0 } else { empty_reads + 1 };
        // A sink that runs writes every 50 ms at the least; this is more than a second of looks.
        (empty_reads > 200).then_some(())
    })
    .await;
    desktop.stop().await;
}
