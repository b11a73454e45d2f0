//! Judges a client's messages while they stream by.
//!
//! What passes keeps its bytes, frames and masks included. A message is held back until its method is known, and then
//! flows on as it comes; what is strict is read to its end all the same, and a message that turns out to be unclear is
//! never finished towards the browser, which therefore never acts on it.

use std::{fmt, sync::Arc};

use serde_json::{Value, json};

use crate::{
    frame::{self, BINARY, CONTINUATION, HeaderReader, MAX_CONTROL, Malformed, TEXT},
    policy::{Finding, Policy, Verdict},
    rider::{Rider, Tally},
    scan::Scanner,
    wheel::{self, Call, Kind, Turn},
};

/// Most bytes of a message that are held back. A client names the method first or among the first things.
pub(crate) const MAX_HELD: usize = 128 * 1024;

/// Longest message that is noted where contents are asked for, in bytes.
const MAX_NOTED: usize = 4 * 1024;

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
    /// It passes, and is looked at when it is whole, for those who watch.
    Look,
    /// It is held back until it is its program's turn.
    Held,
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
pub(crate) struct Filter {
    policy: Arc<Policy>,
    rider: Option<Arc<Rider>>,
    /// What it called.
    tally: Tally,
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

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("policy", &self.policy).field("fate", &self.fate).finish_non_exhaustive()
    }
}

impl Filter {
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self::with_rider(policy, None)
    }

    /// The judge of a program that shares the wheel.
    pub(crate) fn with_rider(policy: Arc<Policy>, rider: Option<Arc<Rider>>) -> Self {
        Self {
            policy,
            rider,
            tally: Tally::default(),
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
    /// Returns how many bytes are left: none, unless a message has to [wait](Filter::waits). After an error nothing of `out` may
    /// be passed on, and the connection has to end.
    pub(crate) fn feed(
        &mut self,
        mut input: &[u8],
        out: &mut Vec<u8>,
        replies: &mut Vec<Reply>,
    ) -> Result<usize, Malformed> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let Some((header, raw)) = self.reader.read(&mut input)? else { return Ok(0) };
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
                if self.waits() {
                    self.frame = Some(frame);
                    return Ok(input.len());
                }
                if frame.left == 0 {
                    if frame.fin {
                        self.end_message(out, replies)?;
                        if replies.last().is_some_and(|reply| reply.ends) {
                            return Ok(0);
                        }
                    }
                    continue;
                }
            }
            self.frame = Some(frame);
            return Ok(0);
        }
    }

    /// Whether a message waits for its program's turn; nothing may be fed before it is [decided](Filter::decide).
    pub(crate) fn waits(&self) -> bool {
        self.fate == Fate::Held
    }

    /// Lets the message that waits go on, or refuses it with a reason. Has to be followed by [`Filter::feed`] of what was
    /// left, even of nothing.
    pub(crate) fn decide(&mut self, turn: Result<(), String>, out: &mut Vec<u8>) {
        self.fate = Fate::Open;
        match turn {
            Ok(()) => self.go_on(out),
            Err(why) => self.hold_off(&why),
        }
    }

    /// Whether there is something that [`Filter::tell`] has to tell.
    pub(crate) fn has_notes(&self) -> bool {
        !self.tally.is_empty()
    }

    /// Tells what was called since the last time.
    pub(crate) fn tell(&mut self) {
        if let Some(rider) = &self.rider {
            self.tally.tell(rider);
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
            Fate::Open | Fate::Inspect | Fate::Look | Fate::Held => self.held.extend_from_slice(bytes),
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
            Fate::Open | Fate::Inspect | Fate::Look | Fate::Held => self.payload.len(),
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
                Fate::Open | Fate::Look if !self.policy.is_strict() => {
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
            Fate::Look if self.payload.len() > MAX_HELD => self.release(self.flowing(), out),
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
        let verdict = self.policy.judge(method);
        let Some(rider) = &self.rider else { return self.apply(verdict, out) };
        let turn = match verdict {
            Verdict::Pass | Verdict::Inspect if wheel::kind_of(method) != Kind::Other => rider.seat.may_act(),
            _ => Turn::Go,
        };
        match turn {
            Turn::Go => self.go_on(out),
            Turn::Wait => self.fate = Fate::Held,
            Turn::Refused(why) => self.hold_off(&why),
        }
    }

    /// It is the program's turn, if it needs one.
    fn go_on(&mut self, out: &mut Vec<u8>) {
        let (Some(method), Some(rider)) = (self.scanner.method(), &self.rider) else { return };
        let verdict = self.policy.judge(method);
        let kind = wheel::kind_of(method);
        let (passes, wants_contents) = (verdict == Verdict::Pass, rider.seat.wants_contents());
        let is_refused = matches!(verdict, Verdict::Refuse(_));
        if kind == Kind::Navigation && !is_refused {
            rider.shows(method, kind, None, &[]);
        }
        if passes && wants_contents {
            // Told when it is whole.
            self.fate = Fate::Look;
            return;
        }
        self.tally.note(rider, method, self.scanner.session(), is_refused);
        if passes && kind == Kind::Input && rider.seat.is_watched() {
            self.fate = Fate::Look;
            return;
        }
        self.apply(verdict, out);
    }

    /// It is not the program's turn, and will not be in time.
    fn hold_off(&mut self, why: &str) {
        let Some(method) = self.scanner.method().map(str::to_owned) else { return };
        if let Some(rider) = &self.rider {
            self.tally.note(rider, &method, self.scanner.session(), true);
        }
        self.refuse(SERVER_ERROR, format!("{method} is not possible now: {why}"));
    }

    /// How a message flows that passes.
    fn flowing(&self) -> Fate {
        if self.policy.is_strict() { Fate::Watched } else { Fate::Passing }
    }

    fn apply(&mut self, verdict: Verdict, out: &mut Vec<u8>) {
        match verdict {
            Verdict::Pass => self.release(self.flowing(), out),
            Verdict::Inspect => {
                self.fate = Fate::Inspect;
                if self.payload.len() > MAX_HELD {
                    self.refuse_too_long();
                }
            }
            Verdict::Refuse(why) => {
                let method = self.scanner.method().unwrap_or_default();
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
            Fate::Look if self.scanner.is_done() => {
                self.look();
                self.release(Fate::Passing, out);
            }
            Fate::Open | Fate::Look if !self.policy.is_strict() => self.release(Fate::Passing, out),
            Fate::Open | Fate::Look | Fate::Held => {
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

    /// Shows and notes a message that is whole.
    fn look(&mut self) {
        let (Some(rider), Some(method)) = (&self.rider, self.scanner.method()) else { return };
        let (kind, session) = (wheel::kind_of(method), self.scanner.session());
        if kind == Kind::Input && rider.seat.is_watched() {
            rider.shows(method, kind, session, &self.payload);
        }
        if rider.seat.wants_contents() {
            let target = rider.target_of(session);
            let message = std::str::from_utf8(&self.payload).ok().filter(|text| text.len() <= MAX_NOTED);
            let call = Call { method, target: target.as_deref(), count: 1, is_refused: false, message };
            rider.seat.called(&call);
        }
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

impl Drop for Filter {
    fn drop(&mut self) {
        self.tell();
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
