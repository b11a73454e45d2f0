//! Judges a client's messages while they stream by.
//!
//! What passes keeps its bytes, frames and masks included. A message is held back until its method is known, and then
//! flows on as it comes; what is strict is read to its end all the same, and a message that turns out to be unclear is
//! never finished towards the browser, which therefore never acts on it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::{
    frame::{self, BINARY, CONTINUATION, HeaderReader, MAX_CONTROL, Malformed, TEXT},
    policy::{Finding, Policy, Verdict},
    scan::Scanner,
};

/// Most bytes of a message that are held back. A client names the method first or among the first things.
pub(crate) const MAX_HELD: usize = 128 * 1024;

/// CDP's code for what the server will not do.
const SERVER_ERROR: i64 = -32_000;
const PARSE_ERROR: i64 = -32_700;

/// What goes back to the client in place of an answer of the browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// A CDP message.
    pub(crate) text: String,
    /// Whether the connection is closed after it.
    pub(crate) ends: bool,
}

/// What becomes of the message that is coming in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// It is held back.
    Open,
    /// It needs to be there as a whole.
    Inspect,
    /// It flows, and is read on.
    Watched,
    /// It flows.
    Passing,
    /// It is dropped, and answered with this code and text at its end.
    Refused(i64, String),
    /// It is dropped, answered as done, and the connection ends.
    EndsView,
}

/// A frame that is coming in.
#[derive(Debug)]
struct Frame {
    left: u64,
    mask: [u8; 4],
    /// How many bytes of the payload have gone by, modulo 4.
    phase: usize,
    fin: bool,
    is_control: bool,
}

/// The judge of one connection's messages.
#[derive(Debug)]
pub(crate) struct Filter {
    policy: Arc<Policy>,
    reader: HeaderReader,
    frame: Option<Frame>,
    /// A control frame, until it is whole; it may come between two fragments of a message that is held back.
    control: Vec<u8>,
    in_message: bool,
    fate: Fate,
    scanner: Scanner,
    is_unclear: bool,
    /// The message as it was on the wire, while it is held back.
    held: Vec<u8>,
    /// Its payload.
    payload: Vec<u8>,
}

impl Filter {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self {
            policy,
            reader: HeaderReader::default(),
            frame: None,
            control: Vec::new(),
            in_message: false,
            fate: Fate::Open,
            scanner: Scanner::default(),
            is_unclear: false,
            held: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Reads what a client has sent. Appends to `out` what the browser gets, and to `replies` what the client gets.
    ///
    /// After an error nothing of `out` may be passed on, and the connection has to end.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Malformed> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some((header, raw)) = self.reader.read(&mut input)? else { return Ok(()) };
                let frame = self.begin(header)?;
                if frame.is_control {
                    self.control.extend_from_slice(raw.as_slice());
                } else {
                    self.forward(raw.as_slice(), out);
                }
                self.frame = Some(frame);
                continue;
            };
            let take = usize::try_from(frame.left).unwrap_or(usize::MAX).min(input.len());
            let (chunk, rest) = input.split_at(take);
            input = rest;
            frame.left -= take as u64;
            if frame.is_control {
                self.control.extend_from_slice(chunk);
                if frame.left == 0 {
                    out.append(&mut self.control);
                    continue;
                }
            } else {
                self.read(chunk, &frame, out)?;
                frame.phase = (frame.phase + take) % 4;
                if frame.left == 0 {
                    if frame.fin {
                        self.end_message(out, replies)?;
                        if replies.last().is_some_and(|reply| reply.ends) {
                            return Ok(());
                        }
                    }
                    continue;
                }
            }
            self.frame = Some(frame);
            return Ok(());
        }
    }

    fn begin(&mut self, header: frame::Header) -> Result<Frame, Malformed> {
        let Some(mask) = header.mask else { return Err(Malformed("a client's frame is not masked")) };
        if header.reserved != 0 {
            return Err(Malformed("a frame uses an extension that was not agreed on"));
        }
        let is_control = header.is_control();
        match header.opcode {
            _ if is_control && (!header.fin || header.length > MAX_CONTROL || header.opcode > 10) => {
                return Err(Malformed("a control frame is fragmented, too long or unknown"));
            }
            _ if is_control => {}
            CONTINUATION if self.in_message => {}
            TEXT if !self.in_message => self.begin_message(),
            BINARY => return Err(Malformed("CDP messages are text")),
            _ => return Err(Malformed("a frame is out of order or unknown")),
        }
        Ok(Frame { left: header.length, mask, phase: 0, fin: header.fin, is_control })
    }

    fn begin_message(&mut self) {
        self.in_message = true;
        self.fate = Fate::Open;
        self.is_unclear = false;
        self.scanner.reset();
        self.held.clear();
        self.payload.clear();
    }

    /// Takes a piece of a message's wire bytes to where they belong by its fate.
    fn forward(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.fate {
            Fate::Open | Fate::Inspect => self.held.extend_from_slice(bytes),
            Fate::Watched | Fate::Passing => out.extend_from_slice(bytes),
            Fate::Refused(..) | Fate::EndsView => {}
        }
    }

    /// Takes a piece of a message's payload.
    fn read(&mut self, chunk: &[u8], frame: &Frame, out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.forward(chunk, out);
        if self.fate == Fate::Passing || self.is_unclear {
            return Ok(());
        }
        let before = match self.fate {
            Fate::Open | Fate::Inspect => self.payload.len(),
            _ => {
                self.payload.clear();
                0
            }
        };
        self.payload.extend_from_slice(chunk);
        let fresh = &mut self.payload[before..];
        unmask(fresh, frame.mask, frame.phase);
        if let Err(unclear) = self.scanner.feed(fresh) {
            return match self.fate {
                Fate::Watched => Err(Malformed(unclear.0)),
                // The browser's own reader says what is wrong with it.
                Fate::Open if !self.policy.is_strict() => {
                    self.release(Fate::Passing, out);
                    Ok(())
                }
                _ => {
                    self.is_unclear = true;
                    self.refuse(PARSE_ERROR, format!("the message was refused: {}", unclear.0));
                    Ok(())
                }
            };
        }
        match self.fate {
            Fate::Open => self.judge(out),
            Fate::Inspect if self.payload.len() > MAX_HELD => self.refuse_too_long(),
            _ => {}
        }
        Ok(())
    }

    /// Decides as soon as the method is known.
    fn judge(&mut self, out: &mut Vec<u8>) {
        let Some(method) = self.scanner.method() else {
            if self.payload.len() > MAX_HELD {
                if self.policy.is_strict() {
                    self.refuse(SERVER_ERROR, "the message was refused: write its method before its params".into());
                } else {
                    self.release(Fate::Passing, out);
                }
            }
            return;
        };
        match self.policy.judge(method) {
            Verdict::Pass if self.policy.is_strict() => self.release(Fate::Watched, out),
            Verdict::Pass => self.release(Fate::Passing, out),
            Verdict::Inspect => {
                self.fate = Fate::Inspect;
                if self.payload.len() > MAX_HELD {
                    self.refuse_too_long();
                }
            }
            Verdict::Refuse(why) => {
                let text = format!("{method} is not allowed: {why}");
                self.refuse(SERVER_ERROR, text);
            }
            Verdict::EndView => {
                self.held.clear();
                self.fate = Fate::EndsView;
            }
        }
    }

    fn release(&mut self, fate: Fate, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.fate = fate;
    }

    fn refuse(&mut self, code: i64, text: String) {
        self.held.clear();
        self.fate = Fate::Refused(code, text);
    }

    fn refuse_too_long(&mut self) {
        let method = self.scanner.method().unwrap_or_default();
        let text = format!("{method} is not allowed: its parameters have more than {MAX_HELD} bytes; send fewer");
        self.refuse(SERVER_ERROR, text);
    }

    fn end_message(&mut self, out: &mut Vec<u8>, replies: &mut Vec<Reply>) -> Result<(), Malformed> {
        self.in_message = false;
        match std::mem::replace(&mut self.fate, Fate::Open) {
            Fate::Passing => {}
            Fate::Watched if self.scanner.is_done() => {}
            Fate::Watched => return Err(Malformed("a message stops in the middle")),
            Fate::Open if !self.policy.is_strict() => self.release(Fate::Passing, out),
            Fate::Open => {
                let text = "the message was refused: it is not whole or has no method".to_owned();
                replies.push(self.error(PARSE_ERROR, &text));
            }
            Fate::Inspect => match self.policy.inspect(&self.payload) {
                Finding::Pass => self.release(Fate::Passing, out),
                Finding::Replace(message) => frame::put_masked(out, TEXT, &message),
                Finding::Refuse(why) => {
                    let method = self.scanner.method().unwrap_or_default();
                    let text = format!("{method} is not allowed: {why}");
                    replies.push(self.error(SERVER_ERROR, &text));
                }
            },
            Fate::Refused(code, text) => replies.push(self.error(code, &text)),
            Fate::EndsView => {
                let mut answer = json!({ "id": self.scanner.id(), "result": {} });
                self.add_session(&mut answer);
                replies.push(Reply { text: answer.to_string(), ends: true });
            }
        }
        Ok(())
    }

    /// An error as the browser itself would answer.
    fn error(&self, code: i64, message: &str) -> Reply {
        let mut answer = json!({ "error": { "code": code, "message": message } });
        if let (Some(id), Some(object)) = (self.scanner.id(), answer.as_object_mut()) {
            object.insert("id".into(), id.into());
        }
        self.add_session(&mut answer);
        Reply { text: answer.to_string(), ends: false }
    }

    fn add_session(&self, answer: &mut Value) {
        if let (Some(session), Some(object)) = (self.scanner.session(), answer.as_object_mut()) {
            object.insert("sessionId".into(), session.into());
        }
    }
}

/// Takes a mask off, or puts it on; `phase` is the place of the first byte in the payload, modulo 4.
fn unmask(bytes: &mut [u8], mut mask: [u8; 4], phase: usize) {
    mask.rotate_left(phase);
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests;
