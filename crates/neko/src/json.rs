//! JSON as Go writes and reads it.

use serde::Serialize;
use serde_json::Value;

/// Serialises with `<`, `>`, `&`, U+2028 and U+2029 escaped and one newline at the end, as Go's encoder does.
pub(crate) fn to_text(value: &impl Serialize) -> String {
    // Values of this crate have string keys only, and their serialisers do not fail.
    let mut text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    if text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        // Outside of strings these characters do not occur in JSON.
        text = text
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
            .replace('\u{2028}', "\\u2028")
            .replace('\u{2029}', "\\u2029");
    }
    text.push('\n');
    text
}

/// Why a body is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// There is nothing in it.
    Empty,
    /// It cannot be parsed.
    Malformed,
}

/// The first JSON value of a body; what follows it is ignored.
pub(crate) fn first_value(body: &[u8]) -> Result<Value, BodyError> {
    match serde_json::Deserializer::from_slice(body).into_iter::<Value>().next() {
        None => Err(BodyError::Empty),
        Some(Ok(value)) => Ok(value),
        Some(Err(_)) => Err(BodyError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_like_go_and_ends_with_a_newline() {
        assert_eq!(to_text(&"<a&b>\u{2028}\u{2029}é"), "\"\\u003ca\\u0026b\\u003e\\u2028\\u2029é\"\n");
    }

    #[test]
    fn only_the_first_value_counts() {
        assert_eq!(first_value(b"{\"a\":1} junk"), Ok(serde_json::json!({"a": 1})));
        assert_eq!(first_value(b"  \n"), Err(BodyError::Empty));
        assert_eq!(first_value(b"{\"a\""), Err(BodyError::Malformed));
        let deep = "[".repeat(100_000);
        assert_eq!(first_value(deep.as_bytes()), Err(BodyError::Malformed));
    }
}
