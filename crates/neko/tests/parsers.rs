//! The two parsers of what clients send: the contract's examples, and a lot of nonsense.
#![allow(clippy::unwrap_used)]

use glasshouse_desktop::{Cursor, Fine, FineKind};
use glasshouse_neko::{
    events::{self, ClientEvent, ParseError},
    payload::{self, DecodeError, Message, TouchPhase},
};

fn hex(text: &str) -> Vec<u8> {
    text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn examples_of_the_contract() {
    for (bytes, message) in [
        ("01 00 04 02 80 01 68", Message::Move { x: 640, y: 360 }),
        ("02 00 05 00 00 ff ff 00", Message::Scroll { x: 0, y: -1, control: false }),
        ("02 00 04 00 00 ff ff", Message::Scroll { x: 0, y: -1, control: false }),
        ("03 00 04 00 00 ff e3", Message::KeyDown(0xffe3)),
        ("05 00 04 00 00 00 01", Message::ButtonDown(1)),
        ("07 00 08 00 00 01 8b cf e5 69 8b", Message::Ping { high: 0x18b, low: 0xcfe5_698b }),
        (
            "08 00 0d 00 00 00 00 00 00 02 80 00 00 01 68 80",
            Message::Touch { phase: TouchPhase::Begin, id: 0, x: 640, y: 360, pressure: 128 },
        ),
        // Ours.
        ("40 00 09 ff ff ff 00 00 00 01 80 00", Message::Fine(Fine { x: -256, y: 384, kind: FineKind::Scroll })),
        (
            "40 00 09 80 00 00 00 7f ff ff ff 02",
            Message::Fine(Fine { x: -Fine::MAX, y: Fine::MAX, kind: FineKind::Pinch }),
        ),
    ] {
        assert_eq!(payload::decode(&hex(bytes)), Ok(message), "{bytes}");
        let mut longer = hex(bytes);
        longer.push(0xee);
        assert_eq!(payload::decode(&longer), Ok(message), "what follows is ignored");
        let short = hex(bytes);
        assert_eq!(payload::decode(&short[..short.len() - 1]), Err(DecodeError::Short));
    }
    assert_eq!(payload::cursor_position(640, 360)[..], hex("01 00 07 02 80 01 68"));
    let now = 0x18b * u64::from(u32::MAX) + 0xcfe5_69b5;
    assert_eq!(
        payload::pong(0x18b, 0xcfe5_698b, now)[..],
        hex("03 00 13 00 00 01 8b cf e5 69 8b 00 00 01 8b cf e5 69 b5")
    );
    let cursor = Cursor { width: 24, height: 24, x_hot: 4, y_hot: 4, png: vec![7; 300] };
    let image = payload::cursor_image(&cursor);
    assert_eq!((&image[..11], image.len()), (&hex("02 01 37 00 18 00 18 00 04 00 04")[..], 311));
    assert_eq!(payload::decode(&[0x2a, 0, 0]), Err(DecodeError::Opcode(0x2a)));
    assert_eq!(payload::decode(&hex("40 00 09 00 00 00 00 00 00 00 00 03")), Err(DecodeError::Kind(3)));
    assert_eq!(payload::decode(&vec![1; payload::MAX_MESSAGE + 1]), Err(DecodeError::Long));
}

/// xorshift64*, so that every run sees the same nonsense.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}

#[test]
fn bytes_never_panic_and_decode_only_what_has_its_length() {
    let mut random = Random(1);
    for _ in 0..200_000 {
        let length = random.below(24);
        let bytes: Vec<u8> =
            (0..length).map(|i| (random.next() >> 8) as u8 & if i == 0 { 0x4f } else { 0xff }).collect();
        if payload::decode(&bytes).is_ok() {
            assert!(bytes.len() >= 7 && matches!(bytes[0], 1..=10 | 0x40), "{bytes:?}");
        }
    }
}

#[test]
fn mutated_messages_never_panic() {
    let seeds = [
        r#"{"event":"signal/request","payload":{"video":{"selector":{"type":"lower","id":"high","bitrate":5},"auto":true},"audio":{"disabled":null}}}"#,
        r#"{"event":"control/scroll","payload":{"delta_x":1,"delta_y":-2,"control_key":true,"x":1.5,"y":1e300}}"#,
        r#"{"event":"keyboard/modifiers","payload":{"shift":true,"super":null}}"#,
        r#"{"event":"send/unicast","payload":{"receiver":"x","subject":"\ud83d\ude00","body":[[[{}]]]}}"#,
        r#"{"event":"system/logs","payload":[{"level":"info","fields":{},"message":"m"}]}"#,
        r#"{"EVENT":"glasshouse/resize","PayLoad":{"width":1280,"height":720,"scale":100}}"#,
    ];
    let mut random = Random(2);
    let mut parsed = 0;
    for round in 0..60_000 {
        let mut bytes = seeds[round % seeds.len()].as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] = b"\"\\{}[],:0-9.eE\x00nul"[random.below(18)],
                1 => {
                    bytes.remove(at);
                }
                2 => bytes.insert(at, 32 + u8::try_from(random.below(95)).unwrap()),
                _ => bytes.truncate(at + 1),
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        let Ok(text) = String::from_utf8(bytes) else { continue };
        match events::parse(&text) {
            Ok(_) => parsed += 1,
            Err(error) => assert!(error.event().chars().count() <= 64 && error.to_string().len() < 300),
        }
    }
    assert!(parsed > 1000, "the mutations are not all nonsense: {parsed}");
}

#[test]
fn payloads_follow_go() {
    let parse = events::parse;
    assert_eq!(parse("{}"), Err(ParseError::Unknown(String::new())));
    assert_eq!(parse(r#"{"event":"control/request"}"#), Ok(ClientEvent::ControlRequest));
    assert_eq!(parse(r#"{"event":"clipboard/set","payload":null}"#), Ok(ClientEvent::ClipboardSet(String::new())));
    assert!(parse(r#"{"event":"clipboard/set"}"#).is_err(), "an absent payload is an error");
    assert!(parse(r#"{"event":"signal/video","payload":{"selector":{"type":"best"}}}"#).is_err());
    assert!(parse(&"[".repeat(100_000)).is_err());
}
