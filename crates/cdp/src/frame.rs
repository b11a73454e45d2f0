//! WebSocket frames (RFC 6455, section 5.2), as far as a relay has to know them: where one ends and the next begins.

/// Longest header in bytes: two, a 64-bit length and a mask.
const MAX_HEADER: usize = 14;

/// Largest payload of a control frame in bytes.
pub(crate) const MAX_CONTROL: u64 = 125;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;

/// Bytes that are no WebSocket, or one that was not agreed on; the text says what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What a frame's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) fin: bool,
    /// The three reserved bits.
    pub(crate) reserved: u8,
    pub(crate) opcode: u8,
    pub(crate) mask: Option<[u8; 4]>,
    /// Length of the payload in bytes.
    pub(crate) length: u64,
}

impl Header {
    pub(crate) fn is_control(&self) -> bool {
        self.opcode & 8 != 0
    }
}

/// Collects a header that comes in pieces.
#[derive(Debug, Default, Clone)]
pub(crate) struct HeaderReader {
    bytes: [u8; MAX_HEADER],
    have: usize,
}

impl HeaderReader {
    /// Takes what belongs to the header off the front of `input`; the header once it is whole, and its bytes.
    pub(crate) fn read(&mut self, input: &mut &[u8]) -> Result<Option<(Header, Raw)>, Malformed> {
        loop {
            let wanted = self.wanted();
            if self.have == wanted {
                let raw = Raw { bytes: self.bytes, length: self.have };
                self.have = 0;
                return parse(raw.as_slice()).map(|header| Some((header, raw)));
            }
            let take = input.len().min(wanted - self.have);
            if take == 0 {
                return Ok(None);
            }
            let (head, rest) = input.split_at(take);
            self.bytes[self.have..self.have + take].copy_from_slice(head);
            self.have += take;
            *input = rest;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.have == 0
    }

    fn wanted(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let length = match self.bytes[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + if self.bytes[1] & 0x80 == 0 { 0 } else { 4 }
    }
}

/// A header as it was on the wire.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Raw {
    bytes: [u8; MAX_HEADER],
    length: usize,
}

impl Raw {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn parse(raw: &[u8]) -> Result<Header, Malformed> {
    let (short, rest) = (raw[1] & 0x7f, &raw[2..]);
    let bytes = match short {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let length = match bytes {
        0 => u64::from(short),
        _ => rest[..bytes].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
    };
    if length > i64::MAX.unsigned_abs() {
        return Err(Malformed("a frame's length has its highest bit set"));
    }
    let mask = (raw[1] & 0x80 != 0).then(|| [rest[bytes], rest[bytes + 1], rest[bytes + 2], rest[bytes + 3]]);
    Ok(Header { fin: raw[0] & 0x80 != 0, reserved: raw[0] & 0x70, opcode: raw[0] & 0x0f, mask, length })
}

/// Follows a stream of frames without looking into them, and knows where something may be put in between.
#[derive(Debug, Default)]
pub(crate) struct Tracker {
    reader: HeaderReader,
    /// Bytes of the present frame still to come.
    left: u64,
    in_message: bool,
    is_closed: bool,
    is_lost: bool,
}

impl Tracker {
    /// Follows `bytes`. Returns how many of them come before the last place where a message can be put in, if there is
    /// such a place.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        self.follow_texts(bytes, |_| {})
    }

    /// The same, and shows the beginning of each text, as far as it is there.
    pub(crate) fn follow_texts(&mut self, bytes: &[u8], mut text: impl FnMut(&[u8])) -> Option<usize> {
        let mut rest = bytes;
        let mut place = self.is_between_messages().then_some(0);
        while !rest.is_empty() && !self.is_lost {
            if self.left == 0 {
                match self.reader.read(&mut rest) {
                    Ok(Some((header, _))) => {
                        self.left = header.length;
                        self.is_closed |= header.opcode == CLOSE;
                        if header.opcode == TEXT {
                            let there = usize::try_from(header.length).unwrap_or(usize::MAX).min(rest.len());
                            text(&rest[..there]);
                        }
                        if !header.is_control() {
                            self.in_message = !header.fin;
                        }
                    }
                    Ok(None) => break,
                    // What comes is passed on all the same; only nothing can be put in any more.
                    Err(Malformed(_)) => self.is_lost = true,
                }
            }
            let skip = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            rest = &rest[skip..];
            self.left -= skip as u64;
            if self.is_between_messages() {
                place = Some(bytes.len() - rest.len());
            }
        }
        place
    }

    /// Whether a message can be put in here.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.is_between_frames() && !self.in_message
    }

    /// Whether a control frame can be put in here.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.reader.is_empty() && !self.is_closed && !self.is_lost
    }

    /// Whether a Close frame has gone by.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }
}

/// Appends a whole frame as a server sends it.
pub(crate) fn put(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len(), 0);
    out.extend_from_slice(payload);
}

/// Appends a whole frame as a client sends it. A mask of zeros is as good as any between two ends on one machine.
pub(crate) fn put_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, payload.len(), 0x80);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn put_header(out: &mut Vec<u8>, opcode: u8, length: usize, mask: u8) {
    out.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if u64::from(short) <= MAX_CONTROL => out.push(mask | short),
        (_, Ok(medium)) => {
            out.push(mask | 126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A Close frame's payload; the reason is cut to what fits.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    // A limit below 125 - 2 on a character's first byte.
    let end = (0..=reason.len().min(123)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..end]);
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_in_pieces() {
        for length in [0_usize, 1, 125, 126, 65_535, 65_536] {
            let mut wire = Vec::new();
            put_masked(&mut wire, TEXT, &vec![7; length]);
            let mut reader = HeaderReader::default();
            let mut found = None;
            for byte in &wire {
                let mut one: &[u8] = std::slice::from_ref(byte);
                if let Some((header, raw)) = reader.read(&mut one).unwrap() {
                    found = Some((header, raw));
                    break;
                }
                assert!(one.is_empty());
            }
            let (header, raw) = found.unwrap();
            assert_eq!(header.length, length as u64);
            assert_eq!(raw.as_slice(), &wire[..wire.len() - length]);
        }
    }

    #[test]
    fn places_between_messages_are_found() {
        let mut wire = Vec::new();
        put(&mut wire, TEXT, b"one");
        let first = wire.len();
        // A message in two fragments with a ping in between.
        wire.extend_from_slice(&[0x01, 1, b'a', 0x89, 0, 0x80, 1, b'b']);
        let second = wire.len();
        put(&mut wire, TEXT, &[0; 300]);

        assert_eq!(Tracker::default().follow(&wire), Some(wire.len()));
        let mut tracker = Tracker::default();
        assert_eq!(tracker.follow(&wire[..first - 1]), Some(0));
        assert_eq!(tracker.follow(&wire[first - 1..first + 3]), Some(1));
        assert!(tracker.is_between_frames() && !tracker.is_between_messages());
        assert_eq!(tracker.follow(&wire[first + 3..second - 1]), None);
        assert_eq!(tracker.follow(&wire[second - 1..second + 9]), Some(1));
    }

    #[test]
    fn nothing_is_put_after_a_close_or_a_length_out_of_range() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.follow(&[0x88, 0]), Some(0));
        assert!(tracker.is_closed() && !tracker.is_between_frames());
        let mut tracker = Tracker::default();
        tracker.follow(&[0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3]);
        assert!(!tracker.is_between_frames());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let payload = close_payload(1012, &"é".repeat(100));
        assert!(payload.len() <= 125);
        assert!(std::str::from_utf8(&payload[2..]).is_ok());
    }
}
