//! Finds `id`, `method` and `sessionId` of a CDP message while it streams by, in constant memory.
//!
//! Stricter than Chromium's own reader, so that both see the same message: Chromium also takes comments, and what it
//! makes of a key twice, of escapes in a key or of bytes that are no UTF-8 is not ours to guess.

/// Deepest nesting; Chromium's own limit is 300.
const MAX_DEPTH: usize = 300;
/// Longest text of a key, a method, an id or a session id in bytes.
const MAX_TEXT: usize = 128;

/// A message that cannot be judged; the text says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unclear(pub(crate) &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Id,
    Method,
    Session,
    Params,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    /// After `{`: a key or the end.
    FirstKey,
    /// After a comma.
    NextKey,
    InKey,
    Colon,
    Value,
    /// In a string that is the value of a key of the outermost object.
    InText,
    /// In a number, `true`, `false` or `null` there.
    InScalar,
    AfterValue,
    /// In an inner object or array.
    Inner,
    /// In a string there.
    InnerText,
    Done,
}

/// Reads one message piece by piece.
#[derive(Debug)]
pub(crate) struct Scanner {
    at: At,
    key: Key,
    seen: [bool; 4],
    /// The key or value that is being read.
    text: Vec<u8>,
    is_escaped: bool,
    utf8: Utf8,
    /// Whether each open inner level is an object.
    levels: [bool; MAX_DEPTH],
    depth: usize,
    id: Option<Vec<u8>>,
    method: Option<Vec<u8>>,
    session: Option<Vec<u8>>,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            at: At::Start,
            key: Key::Other,
            seen: [false; 4],
            text: Vec::new(),
            is_escaped: false,
            utf8: Utf8::default(),
            levels: [false; MAX_DEPTH],
            depth: 0,
            id: None,
            method: None,
            session: None,
        }
    }
}

impl Scanner {
    /// Forgets everything, for the next message.
    pub(crate) fn reset(&mut self) {
        (self.at, self.seen, self.is_escaped, self.depth) = (At::Start, [false; 4], false, 0);
        (self.id, self.method, self.session) = (None, None, None);
        self.utf8 = Utf8::default();
        self.text.clear();
    }

    /// Reads the next piece.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Unclear> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.at == At::InnerText && !self.is_escaped && self.utf8.is_whole() {
                // Nearly all of a large message is such text.
                let plain = rest.iter().position(|byte| !matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=0x7f));
                let plain = plain.unwrap_or(rest.len());
                if plain > 0 {
                    rest = &rest[plain..];
                    continue;
                }
            }
            self.byte(byte)?;
            rest = after;
        }
        Ok(())
    }

    /// The method, as soon as it is known.
    pub(crate) fn method(&self) -> Option<&str> {
        self.method.as_deref().and_then(|text| std::str::from_utf8(text).ok())
    }

    /// The number that the answer will have, if it is one.
    pub(crate) fn id(&self) -> Option<i64> {
        self.id.as_deref().and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| text.parse().ok())
    }

    /// The session that the message is for.
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref().and_then(|text| std::str::from_utf8(text).ok())
    }

    /// Whether the message is whole.
    pub(crate) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    fn byte(&mut self, byte: u8) -> Result<(), Unclear> {
        match self.at {
            At::InKey | At::InText | At::InnerText => return self.in_string(byte),
            At::InScalar => {
                if !matches!(byte, b',' | b'}') && !is_space(byte) {
                    return match byte {
                        b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => self.keep(byte),
                        _ => Err(Unclear("it is no JSON")),
                    };
                }
                self.end_value();
            }
            _ => {}
        }
        if is_space(byte) {
            return Ok(());
        }
        self.at = match (self.at, byte) {
            (At::Start, b'{') => At::FirstKey,
            (At::FirstKey | At::NextKey, b'"') => {
                self.text.clear();
                At::InKey
            }
            (At::FirstKey, b'}') | (At::AfterValue, b'}') => At::Done,
            (At::Colon, b':') => At::Value,
            (At::AfterValue, b',') => At::NextKey,
            (At::Value, b'"') => {
                self.text.clear();
                At::InText
            }
            (At::Value, b'{' | b'[') => {
                if matches!(self.key, Key::Id | Key::Method | Key::Session) {
                    return Err(Unclear("its id, method or sessionId is an object"));
                }
                self.open(byte)?
            }
            (At::Value, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.text.clear();
                self.at = At::InScalar;
                return self.keep(byte);
            }
            (At::Inner, b'"') => At::InnerText,
            (At::Inner, b'{' | b'[') => self.open(byte)?,
            (At::Inner, b'}' | b']') => {
                if self.levels[self.depth - 1] != (byte == b'}') {
                    return Err(Unclear("it is no JSON"));
                }
                self.depth -= 1;
                if self.depth == 0 { At::AfterValue } else { At::Inner }
            }
            (
                At::Inner,
                b','
                | b':'
                | b'+'
                | b'-'
                | b'.'
                | b'0'..=b'9'
                | b'E'
                | b'a'
                | b'e'
                | b'f'
                | b'l'
                | b'n'
                | b'r'
                | b's'
                | b't'
                | b'u',
            ) => At::Inner,
            _ => return Err(Unclear("it is no JSON")),
        };
        Ok(())
    }

    fn open(&mut self, byte: u8) -> Result<At, Unclear> {
        let level = self.levels.get_mut(self.depth).ok_or(Unclear("it is nested too deep"))?;
        *level = byte == b'{';
        self.depth += 1;
        Ok(At::Inner)
    }

    fn in_string(&mut self, byte: u8) -> Result<(), Unclear> {
        self.utf8.take(byte)?;
        if byte < 0x20 {
            return Err(Unclear("it is no JSON"));
        }
        let matters = self.at == At::InKey || self.at == At::InText && matches!(self.key, Key::Method | Key::Session);
        if matters && byte == b'\\' {
            return Err(Unclear("a key, its method or its sessionId has an escape"));
        }
        if self.is_escaped {
            self.is_escaped = false;
            return Ok(());
        }
        match byte {
            b'\\' => self.is_escaped = true,
            b'"' => match self.at {
                At::InKey => self.end_key()?,
                At::InText => self.end_text()?,
                _ => self.at = At::Inner,
            },
            _ if matters => return self.keep(byte),
            _ => {}
        }
        Ok(())
    }

    fn keep(&mut self, byte: u8) -> Result<(), Unclear> {
        if self.text.len() >= MAX_TEXT {
            return Err(Unclear("a key, its id, its method or its sessionId is too long"));
        }
        self.text.push(byte);
        Ok(())
    }

    fn end_key(&mut self) -> Result<(), Unclear> {
        self.at = At::Colon;
        self.key = match self.text.as_slice() {
            b"id" => Key::Id,
            b"method" => Key::Method,
            b"sessionId" => Key::Session,
            b"params" => Key::Params,
            _ => Key::Other,
        };
        if let Some(seen) = self.seen.get_mut(self.key as usize)
            && std::mem::replace(seen, true)
        {
            return Err(Unclear("it has a key twice"));
        }
        Ok(())
    }

    fn end_text(&mut self) -> Result<(), Unclear> {
        self.at = At::AfterValue;
        match self.key {
            Key::Method => self.method = Some(std::mem::take(&mut self.text)),
            Key::Session => self.session = Some(std::mem::take(&mut self.text)),
            Key::Id => return Err(Unclear("its id is no number")),
            Key::Params | Key::Other => {}
        }
        Ok(())
    }

    fn end_value(&mut self) {
        self.at = At::AfterValue;
        if self.key == Key::Id {
            self.id = Some(std::mem::take(&mut self.text));
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Where in a character the bytes are (Unicode 15, table 3-7).
#[derive(Debug, Default, Clone, Copy)]
struct Utf8 {
    left: u8,
    low: u8,
    high: u8,
}

impl Utf8 {
    fn is_whole(self) -> bool {
        self.left == 0
    }

    fn take(&mut self, byte: u8) -> Result<(), Unclear> {
        const BAD: Unclear = Unclear("it is no UTF-8");
        if self.left > 0 {
            if !(self.low..=self.high).contains(&byte) {
                return Err(BAD);
            }
            (self.left, self.low, self.high) = (self.left - 1, 0x80, 0xbf);
            return Ok(());
        }
        (self.left, self.low, self.high) = match byte {
            0..=0x7f => (0, 0, 0),
            0xc2..=0xdf => (1, 0x80, 0xbf),
            0xe0 => (2, 0xa0, 0xbf),
            0xed => (2, 0x80, 0x9f),
            0xe1..=0xef => (2, 0x80, 0xbf),
            0xf0 => (3, 0x90, 0xbf),
            0xf1..=0xf3 => (3, 0x80, 0xbf),
            0xf4 => (3, 0x80, 0x8f),
            _ => return Err(BAD),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Scanner, Unclear> {
        let mut scanner = Scanner::default();
        for byte in bytes {
            scanner.feed(std::slice::from_ref(byte))?;
        }
        // Whole and in pieces must be the same.
        let mut whole = Scanner::default();
        whole.feed(bytes)?;
        assert_eq!((whole.at, whole.method(), whole.id()), (scanner.at, scanner.method(), scanner.id()));
        Ok(scanner)
    }

    #[test]
    fn finds_what_it_looks_for_in_any_order() {
        for text in [
            r#"{"id":7,"method":"Page.navigate","params":{"url":"a\"}"},"sessionId":"S1"}"#,
            r#" { "sessionId" : "S1" , "params" : [{"method":"No.no","id":[1]}, "}\\" ] , "method" : "Page.navigate" , "id" : 7 } "#,
            "{\"params\":\"\u{e9}\u{20ac}\u{1f600}\",\"id\":7,\"sessionId\":\"S1\",\"method\":\"Page.navigate\"}",
        ] {
            let scanner = scan(text.as_bytes()).unwrap();
            assert!(scanner.is_done(), "{text}");
            assert_eq!(scanner.method(), Some("Page.navigate"));
            assert_eq!(scanner.id(), Some(7));
            assert_eq!(scanner.session(), Some("S1"));
        }
    }

    #[test]
    fn the_method_is_known_before_the_end() {
        let mut scanner = Scanner::default();
        scanner.feed(br#"{"id":1,"method":"A.b","params":{"x":"#).unwrap();
        assert_eq!(scanner.method(), Some("A.b"));
        assert!(!scanner.is_done());
    }

    #[test]
    fn what_others_may_read_differently_is_unclear() {
        for bytes in [
            &br#"{"method":"A.b","method":"Browser.close"}"#[..],
            br#"{"m\u0065thod":"Browser.close"}"#,
            br#"{"method":"Browser.clos\u0065"}"#,
            br#"{/*"*/"method":"Browser.close"}"#,
            br#"{"params":{/*"*/},"method":"Browser.close"}"#,
            br#"{"params":[}],"method":"Browser.close"}"#,
            br#"{"id":{"a":1},"method":"Browser.close"}"#,
            br#"{"id":"1","method":"Browser.close"}"#,
            br#"{"method":"A.b"}}"#,
            br#"{"method":"A.b"}{"method":"Browser.close"}"#,
            b"[{}]",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xc0\",\"method\":\"A.b\"}",
            b"{\"a\":\"\xe0\x80\x80\",\"method\":\"A.b\"}",
            b"{\"a\":\"\xed\xa0\x80\",\"method\":\"A.b\"}",
            b"{\"a\":\"\n\",\"method\":\"A.b\"}",
            b"{'method':'A.b'}",
        ] {
            assert!(scan(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let deep = format!("{{\"params\":{}", "[".repeat(MAX_DEPTH + 1));
        assert!(scan(deep.as_bytes()).is_err());
        let long = format!("{{\"method\":\"{}\"}}", "a".repeat(MAX_TEXT + 1));
        assert!(scan(long.as_bytes()).is_err());
    }

    #[test]
    fn what_stops_early_is_not_done() {
        for text in ["", "{", r#"{"method":"A.b""#, r#"{"id":1"#, r#"{"params":{"#] {
            assert!(!scan(text.as_bytes()).unwrap().is_done(), "{text}");
        }
    }
}
