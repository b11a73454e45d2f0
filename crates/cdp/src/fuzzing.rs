//! What the fuzz target of this crate calls; not for anybody else.

use std::sync::Arc;

use serde_json::Value;

use crate::{Policy, filter::Filter, frame::HeaderReader, policy::Verdict};

/// Feeds a client's bytes, in pieces, to the filter of a read-only token.
///
/// # Panics
///
/// When a message comes through whole that a strict reader understands as something that is not allowed, or
/// what comes through is no frames.
pub fn client(bytes: &[u8]) {
    let policy = Policy::read_only();
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let mut filter = Filter::new(Arc::new(policy.clone()));
    let (mut out, mut replies) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(usize::from(first).max(1)) {
        let before = out.len();
        if filter.feed(piece, &mut out, &mut replies).is_err() {
            // Nothing of this piece is passed on.
            out.truncate(before);
            break;
        }
        if replies.iter().any(|reply| reply.ends) {
            break;
        }
    }
    for reply in &replies {
        assert!(serde_json::from_str::<Value>(&reply.text).is_ok_and(|reply| reply.is_object()));
    }
    for message in messages(&out) {
        // What is no JSON inside of its parameters is the browser's to refuse.
        let Ok(message) = serde_json::from_slice::<Value>(&message) else { continue };
        let method = message["method"].as_str().expect("what passes has a method");
        assert!(matches!(policy.judge(method), Verdict::Pass | Verdict::Inspect), "{method} passed");
    }
}

/// The whole messages of a client in these bytes.
fn messages(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut reader, mut found, mut message) = (HeaderReader::default(), Vec::new(), Vec::new());
    while let Some((header, _)) = reader.read(&mut bytes).expect("what passes is frames") {
        let Some(length) = usize::try_from(header.length).ok().filter(|length| *length <= bytes.len()) else { break };
        let (payload, rest) = bytes.split_at(length);
        bytes = rest;
        if !header.is_control() {
            let mask = header.mask.expect("what passes is masked");
            message.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            if header.fin {
                found.push(std::mem::take(&mut message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{TEXT, put_masked};

    /// Mutations of messages from a fixed seed, so that the check runs in every test run.
    #[test]
    fn mutated_messages_never_pass_as_something_else() {
        let seeds = [
            r#"{"id":1,"method":"Page.enable","params":{"a":[1,{"b":"c\"}"}]},"sessionId":"S"}"#,
            r#"{"id":2,"params":{"method":"Page.enable"},"method":"Page.navigate"}"#,
            r#"{"method":"Target.setAutoAttach","params":{"waitForDebuggerOnStart":true},"id":3}"#,
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).unwrap()
        };
        for round in 0..20_000 {
            let mut text = seeds[round % seeds.len()].as_bytes().to_vec();
            for _ in 0..random(4) {
                let at = random(text.len());
                match random(3) {
                    0 => text[at] = b"{}[]\",:\\/*tu0 \n\xc3\xa9e"[random(18)],
                    1 => drop(text.remove(at)),
                    _ => text.insert(at, b"{}[]\",:\\/*tu0 \n\xc3\xa9e"[random(18)]),
                }
            }
            let mut wire = vec![u8::try_from(random(256)).unwrap()];
            put_masked(&mut wire, TEXT, &text);
            client(&wire);
        }
    }
}
