//! What a client says (RFC 6143, sections 7.1 to 7.5, and the extensions that Xvnc knows), taken apart as it comes.

use thiserror::Error;

/// Largest clipboard in bytes that is passed on: Xvnc's own limit. More is read over.
pub const MAX_CUT_TEXT: usize = 256 * 1024;
/// Most encodings in one list; clients know some thirty.
pub(crate) const MAX_ENCODINGS: usize = 256;
/// Longest payload of a fence (rfbproto, "Fence").
const MAX_FENCE: usize = 64;

/// Length of a protocol version.
const VERSION: usize = 12;
/// Security type without a password.
const NO_PASSWORD: u8 = 1;

/// Why a client cannot be understood. Its connection is over then: where the next message begins is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// No version that there is.
    #[error("this is not RFB 3.3, 3.7 or 3.8")]
    Version,
    /// It chose what was not offered.
    #[error("security type {0} was not offered: the token is in the address")]
    Security(u8),
    /// Nobody here knows such messages.
    #[error("messages of type {0} are not known here")]
    Unknown(u8),
    /// A list or text in it is too long.
    #[error("a message of type {0} is too long")]
    TooLong(u8),
}

/// What kind of message it is, as far as it matters who may send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Part of the handshake.
    Handshake,
    /// The end of the handshake.
    Init,
    /// How the picture is wanted, and when.
    Picture,
    /// Encodings that the client knows.
    Encodings,
    /// A key, by X keysym and, if the client knows it, code.
    Key {
        /// Down, or up.
        down: bool,
    },
    /// The pointer.
    Pointer {
        /// Buttons that are down: bit 0 is the left one.
        buttons: u8,
        /// From the left, in pixels.
        x: u16,
        /// From the top, in pixels.
        y: u16,
    },
    /// What is in the client's clipboard, or about it.
    CutText,
    /// Another size of the screen is wanted.
    Resize {
        /// In pixels.
        width: u16,
        /// In pixels.
        height: u16,
    },
    /// The machine is to be switched off or restarted.
    Power,
}

/// A message, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it came.
    pub bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Version,
    Security,
    Init,
    Messages,
}

/// Takes apart what a client says. Holds one message that is not whole yet, and what was pushed since.
#[derive(Debug)]
pub struct Parser {
    phase: Phase,
    buffer: Vec<u8>,
    /// What of the buffer is done with.
    done: usize,
    /// Bytes of a clipboard that is too large.
    skip: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self { phase: Phase::Version, buffer: Vec::new(), done: 0, skip: 0 }
    }
}

/// What stands at the beginning of the buffer.
enum Head {
    /// More bytes are needed to say.
    Short,
    Whole(Kind, usize),
    /// Bytes that nobody wants, which may not have come yet.
    Skip(u64),
}

impl Parser {
    /// Adds what came. Everything whole is to be taken with [`Parser::next`] before more is added.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.done);
        self.done = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next message, when it is whole.
    ///
    /// # Errors
    /// It cannot be understood. It is never to be asked again then.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Message<'_>>, Error> {
        loop {
            let rest = &self.buffer[self.done..];
            if self.skip > 0 {
                let here = self.skip.min(rest.len() as u64);
                self.skip -= here;
                // No more than the buffer's length.
                self.done += here as usize;
                if self.skip > 0 {
                    return Ok(None);
                }
                continue;
            }
            let (kind, length) = match self.head(rest)? {
                Head::Whole(kind, length) if rest.len() >= length => (kind, length),
                Head::Short | Head::Whole(..) => return Ok(None),
                Head::Skip(length) => {
                    self.skip = length;
                    continue;
                }
            };
            let start = self.done;
            self.done += length;
            let bytes = &self.buffer[start..start + length];
            self.phase = after(self.phase, bytes)?;
            return Ok(Some(Message { kind, bytes }));
        }
    }

    fn head(&self, rest: &[u8]) -> Result<Head, Error> {
        match self.phase {
            Phase::Version => Ok(Head::Whole(Kind::Handshake, VERSION)),
            Phase::Security => Ok(Head::Whole(Kind::Handshake, 1)),
            Phase::Init => Ok(Head::Whole(Kind::Init, 1)),
            Phase::Messages => message(rest),
        }
    }
}

/// What follows a part of the handshake.
fn after(phase: Phase, bytes: &[u8]) -> Result<Phase, Error> {
    Ok(match phase {
        Phase::Version => match bytes {
            // The server names the security type, and the client has no say.
            b"RFB 003.003\n" => Phase::Init,
            b"RFB 003.007\n" | b"RFB 003.008\n" => Phase::Security,
            _ => return Err(Error::Version),
        },
        Phase::Security => match bytes {
            [NO_PASSWORD] => Phase::Init,
            _ => return Err(Error::Security(bytes.first().copied().unwrap_or(0))),
        },
        Phase::Init | Phase::Messages => Phase::Messages,
    })
}

fn message(rest: &[u8]) -> Result<Head, Error> {
    let Some(&number) = rest.first() else { return Ok(Head::Short) };
    let u16_at = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?));
    let byte = |at: usize| rest.get(at).copied();
    let whole = |kind, length| Ok(Head::Whole(kind, length));
    // A field that has not come yet makes its message short.
    let head = (|| -> Option<Result<Head, Error>> {
        Some(match number {
            // SetPixelFormat, FramebufferUpdateRequest, EnableContinuousUpdates.
            0 => whole(Kind::Picture, 20),
            3 | 150 => whole(Kind::Picture, 10),
            // SetEncodings.
            2 => match usize::from(u16_at(2)?) {
                count if count <= MAX_ENCODINGS => whole(Kind::Encodings, 4 + 4 * count),
                _ => Err(Error::TooLong(number)),
            },
            4 => whole(Kind::Key { down: byte(1)? != 0 }, 8),
            5 => whole(Kind::Pointer { buttons: byte(1)?, x: u16_at(2)?, y: u16_at(4)? }, 6),
            // ClientCutText; a length below zero is one of the extended clipboard.
            6 => {
                let length = u32_at(4)?.cast_signed().unsigned_abs();
                match usize::try_from(length) {
                    Ok(length) if length <= MAX_CUT_TEXT => whole(Kind::CutText, 8 + length),
                    _ => Ok(Head::Skip(8 + u64::from(length))),
                }
            }
            // Fence.
            248 => match usize::from(byte(8)?) {
                length if length <= MAX_FENCE => whole(Kind::Picture, 9 + length),
                _ => Err(Error::TooLong(number)),
            },
            // xvp.
            250 => whole(Kind::Power, 4),
            // SetDesktopSize.
            251 => {
                let screens = usize::from(byte(6)?);
                whole(Kind::Resize { width: u16_at(2)?, height: u16_at(4)? }, 8 + 16 * screens)
            }
            // QEMU: 0 is a key; the other one is sound, which no client is told that it can have.
            255 => match byte(1)? {
                0 => whole(Kind::Key { down: u16_at(2)? != 0 }, 12),
                _ => Err(Error::Unknown(number)),
            },
            _ => Err(Error::Unknown(number)),
        })
    })();
    head.unwrap_or(Ok(Head::Short))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"RFB 003.008\n\x01\x01";

    /// Kinds and lengths of what a client says, given in pieces of a size.
    fn read(bytes: &[u8], size: usize) -> Result<Vec<(Kind, usize)>, Error> {
        let mut parser = Parser::default();
        let mut seen = Vec::new();
        for piece in bytes.chunks(size) {
            parser.push(piece);
            while let Some(message) = parser.next()? {
                seen.push((message.kind, message.bytes.len()));
            }
        }
        Ok(seen)
    }

    fn session() -> Vec<u8> {
        let mut bytes = HELLO.to_vec();
        bytes.extend([0; 20]);
        bytes.extend([2, 0, 0, 2, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0x21]);
        bytes.extend([3, 1, 0, 0, 0, 0, 5, 0, 2, 0xd0]);
        bytes.extend([4, 1, 0, 0, 0, 0, 0, 0x61]);
        bytes.extend([5, 1, 1, 2, 3, 4]);
        bytes.extend(b"\x06\0\0\0\0\0\0\x02hi");
        bytes.extend([6, 0, 0, 0, 0xff, 0xff, 0xff, 0xfc, 1, 0, 0, 1]);
        bytes.extend([150, 1, 0, 0, 0, 0, 5, 0, 2, 0xd0]);
        bytes.extend([248, 0, 0, 0, 0x80, 0, 0, 1, 3, b'a', b'b', b'c']);
        bytes.extend([250, 0, 1, 2]);
        bytes.extend([251, 0, 5, 0, 2, 0xd0, 1, 0]);
        bytes.extend([0; 16]);
        bytes.extend([255, 0, 0, 0, 0, 0, 0, 0x61, 0, 0, 0, 30]);
        bytes
    }

    #[test]
    fn every_message_in_pieces_of_any_size() {
        let expected = vec![
            (Kind::Handshake, 12),
            (Kind::Handshake, 1),
            (Kind::Init, 1),
            (Kind::Picture, 20),
            (Kind::Encodings, 12),
            (Kind::Picture, 10),
            (Kind::Key { down: true }, 8),
            (Kind::Pointer { buttons: 1, x: 0x102, y: 0x304 }, 6),
            (Kind::CutText, 10),
            (Kind::CutText, 12),
            (Kind::Picture, 10),
            (Kind::Picture, 12),
            (Kind::Power, 4),
            (Kind::Resize { width: 1280, height: 720 }, 24),
            (Kind::Key { down: false }, 12),
        ];
        let bytes = session();
        for size in [1, 2, 3, 7, 64, bytes.len()] {
            assert_eq!(read(&bytes, size).unwrap(), expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_old_client_chooses_no_security_type() {
        let seen = read(b"RFB 003.003\n\x01\x05\x00\0\0\0\0", 5).unwrap();
        assert_eq!(seen.last(), Some(&(Kind::Pointer { buttons: 0, x: 0, y: 0 }, 6)));
        assert_eq!(read(b"RFB 003.889\n", 99), Err(Error::Version));
        assert_eq!(read(b"GET / HTTP/1.1\r\n", 99), Err(Error::Version));
        assert_eq!(read(b"RFB 003.008\n\x02", 99), Err(Error::Security(2)));
    }

    #[test]
    fn what_is_not_known_or_too_long_ends_it() {
        let with = |message: &[u8]| [HELLO, message].concat();
        for number in [1, 7, 127, 249, 252, 253, 254] {
            assert_eq!(read(&with(&[number]), 99), Err(Error::Unknown(number)));
        }
        assert_eq!(read(&with(&[255, 1, 0, 0]), 99), Err(Error::Unknown(255)));
        assert_eq!(read(&with(&[2, 0, 1, 1]), 99), Err(Error::TooLong(2)));
        assert_eq!(read(&with(&[248, 0, 0, 0, 0, 0, 0, 0, 65]), 99), Err(Error::TooLong(248)));
    }

    #[test]
    fn a_clipboard_that_is_too_large_is_read_over_and_not_kept() {
        for length in [300_000_i32, -300_000] {
            let mut parser = Parser::default();
            parser.push(HELLO);
            while parser.next().unwrap().is_some() {}
            let mut bytes = vec![6, 0, 0, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend(vec![6; 300_000]);
            bytes.extend([3, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
            let mut seen = Vec::new();
            for piece in bytes.chunks(1_000) {
                parser.push(piece);
                while let Some(message) = parser.next().unwrap() {
                    seen.push(message.kind);
                }
                assert!(parser.buffer.len() <= 2_000, "{}", parser.buffer.len());
            }
            assert_eq!(seen, [Kind::Picture]);
        }
    }
}
