//! The binary messages of neko v3's data channel: `u8` opcode, `u16` length, body; big endian.
//!
//! Fine scrolling is a message of our own beside them. From the client the length is that of the body, from the server it is
//! that of the whole message.

use bytes::{BufMut, Bytes, BytesMut};
use glasshouse_desktop::{Cursor, Fine, FineKind};

/// Largest message taken from a client, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// Opcode of fine scrolling: `i32` x and y in 256ths of a pixel, positive being right and down, and `u8` kind: 0 scrolls by
/// device-independent pixels, 1 by pixels of the screen, 2 pinches. Far from those of neko, so that they do not meet.
const FINE: u8 = 0x40;

/// What a touch does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchPhase {
    /// A finger came down.
    Begin,
    /// It moved.
    Update,
    /// It went up.
    End,
}

/// A message from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The pointer is at this place, in screen pixels.
    Move {
        /// From the left.
        x: u16,
        /// From the top.
        y: u16,
    },
    /// Wheel clicks; positive y is up, positive x is left.
    Scroll {
        /// Horizontal.
        x: i16,
        /// Vertical.
        y: i16,
        /// With Control held.
        control: bool,
    },
    /// Fine scrolling, which is ours and not neko's; at most [`Fine::MAX`] on each axis.
    Fine(Fine),
    /// X keysym down.
    KeyDown(u32),
    /// X keysym up.
    KeyUp(u32),
    /// X button down.
    ButtonDown(u32),
    /// X button up.
    ButtonUp(u32),
    /// Asks for a PONG; the two halves of the client's time come back as they are.
    Ping {
        /// Upper half.
        high: u32,
        /// Lower half.
        low: u32,
    },
    /// A finger on a touch screen.
    Touch {
        /// What it does.
        phase: TouchPhase,
        /// Which finger.
        id: u32,
        /// From the left in pixels.
        x: i32,
        /// From the top in pixels.
        y: i32,
        /// 0–255.
        pressure: u8,
    },
}

/// Why a message cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It ends too early.
    #[error("message is too short")]
    Short,
    /// It is larger than [`MAX_MESSAGE`].
    #[error("message is larger than 64 KiB")]
    Long,
    /// No message has this opcode.
    #[error("unknown opcode {0:#04x}")]
    Opcode(u8),
    /// There is no such kind of fine scrolling.
    #[error("unknown kind of scrolling {0:#04x}")]
    Kind(u8),
}

/// Decodes one message of a client. Bytes after the body are ignored, and so is the length, except that SCROLL has an
/// old form of length 4.
///
/// # Errors
/// The bytes are no message.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MAX_MESSAGE {
        return Err(DecodeError::Long);
    }
    let (header, body) = bytes.split_at_checked(3).ok_or(DecodeError::Short)?;
    let length = u16::from_be_bytes([header[1], header[2]]);
    let mut body = Reader(body);
    Ok(match header[0] {
        0x01 => Message::Move { x: u16::from_be_bytes(body.take()?), y: u16::from_be_bytes(body.take()?) },
        0x02 => {
            let (x, y) = (i16::from_be_bytes(body.take()?), i16::from_be_bytes(body.take()?));
            let control = length != 4 && u8::from_be_bytes(body.take()?) != 0;
            Message::Scroll { x, y, control }
        }
        0x03 => Message::KeyDown(u32::from_be_bytes(body.take()?)),
        0x04 => Message::KeyUp(u32::from_be_bytes(body.take()?)),
        0x05 => Message::ButtonDown(u32::from_be_bytes(body.take()?)),
        0x06 => Message::ButtonUp(u32::from_be_bytes(body.take()?)),
        0x07 => Message::Ping { high: u32::from_be_bytes(body.take()?), low: u32::from_be_bytes(body.take()?) },
        opcode @ 0x08..=0x0a => Message::Touch {
            phase: match opcode {
                0x08 => TouchPhase::Begin,
                0x09 => TouchPhase::Update,
                _ => TouchPhase::End,
            },
            id: u32::from_be_bytes(body.take()?),
            x: i32::from_be_bytes(body.take()?),
            y: i32::from_be_bytes(body.take()?),
            pressure: u8::from_be_bytes(body.take()?),
        },
        FINE => {
            let (x, y) = (i32::from_be_bytes(body.take()?), i32::from_be_bytes(body.take()?));
            let kind = match u8::from_be_bytes(body.take()?) {
                0 => FineKind::Scroll,
                1 => FineKind::Drag,
                2 => FineKind::Pinch,
                kind => return Err(DecodeError::Kind(kind)),
            };
            let bound = |distance: i32| distance.clamp(-Fine::MAX, Fine::MAX);
            Message::Fine(Fine { x: bound(x), y: bound(y), kind })
        }
        opcode => return Err(DecodeError::Opcode(opcode)),
    })
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (first, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*first)
    }
}

/// CURSOR_POSITION: where the host's pointer is, in screen pixels.
pub fn cursor_position(x: u16, y: u16) -> Bytes {
    let mut message = BytesMut::with_capacity(7);
    message.put_u8(0x01);
    message.put_u16(7);
    message.put_u16(x);
    message.put_u16(y);
    message.freeze()
}

/// CURSOR_IMAGE: what the pointer looks like. The length wraps at 65,536, as neko's does.
pub fn cursor_image(cursor: &Cursor) -> Bytes {
    let length = 11 + cursor.png.len();
    let mut message = BytesMut::with_capacity(length);
    message.put_u8(0x02);
    message.put_slice(&(length as u64).to_be_bytes()[6..]);
    for value in [cursor.width, cursor.height, cursor.x_hot, cursor.y_hot] {
        message.put_u16(value);
    }
    message.put_slice(&cursor.png);
    message.freeze()
}

/// PONG: the client's time back, and ours in milliseconds since 1970, split by 2³²−1 (not 2³²).
pub fn pong(high: u32, low: u32, now_ms: u64) -> Bytes {
    let split = u64::from(u32::MAX);
    let mut message = BytesMut::with_capacity(19);
    message.put_u8(0x03);
    message.put_u16(19);
    message.put_u32(high);
    message.put_u32(low);
    // Both halves fit: the quotient for as long as time is below 2⁶³ ms, the remainder always.
    message.put_u32(u32::try_from(now_ms / split).unwrap_or(u32::MAX));
    message.put_u32(u32::try_from(now_ms % split).unwrap_or(u32::MAX));
    message.freeze()
}
