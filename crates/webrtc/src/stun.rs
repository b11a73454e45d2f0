//! Reads the user name of a STUN binding request, so that a datagram of unknown origin finds its viewer in one look-up.

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const USERNAME: u16 = 0x0006;
const HEADER: usize = 20;

/// Whether a datagram is STUN rather than DTLS or SRTP (RFC 7983 §7).
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= HEADER && datagram[0] < 4
}

/// The receiver's part of the user name of a binding request (RFC 8445 §7.1.2): what stands before the colon.
pub(crate) fn local_ufrag(datagram: &[u8]) -> Option<&str> {
    if datagram.len() < HEADER || datagram[..2] != BINDING_REQUEST || datagram[4..8] != COOKIE {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([datagram[2], datagram[3]]));
    let mut rest = datagram.get(HEADER..HEADER + length)?;
    while rest.len() >= 4 {
        let kind = u16::from_be_bytes([rest[0], rest[1]]);
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let value = rest.get(4..4 + length)?;
        if kind == USERNAME {
            return std::str::from_utf8(value).ok()?.split_once(':').map(|(local, _)| local);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
    None
}

/// What stands between the tag of an engine and the rest of a user name: an ice-char (RFC 8839 §5.4) that no tag has.
const TAG_END: char = '+';

/// The user name of an engine with this tag, whose own part is `rest`.
pub(crate) fn tagged(tag: &str, rest: &str) -> String {
    format!("{tag}{TAG_END}{rest}")
}

/// The tag of the engine that a user name belongs to.
pub(crate) fn tag(ufrag: &str) -> Option<&str> {
    ufrag.split_once(TAG_END).map(|(tag, _)| tag)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A binding request with this user name, and nothing that proves it.
    pub(crate) fn request(username: &[u8]) -> Vec<u8> {
        let mut attributes = vec![0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        attributes.extend([0, 6, 0, u8::try_from(username.len()).unwrap()]);
        attributes.extend(username);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
        let mut datagram = vec![0, 1, 0, u8::try_from(attributes.len()).unwrap()];
        datagram.extend(COOKIE);
        datagram.extend([7; 12]);
        datagram.extend(attributes);
        datagram
    }

    #[test]
    fn username_after_another_attribute_is_found() {
        assert_eq!(local_ufrag(&request(b"abcd:efgh")), Some("abcd"));
    }

    #[test]
    fn a_tag_is_found_again() {
        assert_eq!(tag(&tagged("abc", "d+e")), Some("abc"));
        assert_eq!(tag("abc"), None);
    }

    #[test]
    fn damaged_requests_are_refused() {
        let whole = request(b"abcd:efgh");
        for length in 0..whole.len() {
            assert_eq!(local_ufrag(&whole[..length]), None, "cut at {length}");
        }
        assert_eq!(local_ufrag(&request(b"no colon")), None);
        assert_eq!(local_ufrag(&request(&[0xff, b':'])), None);
        let mut lying = whole.clone();
        lying[31] = 0xff;
        assert_eq!(local_ufrag(&lying), None);
        let mut response = whole;
        response[0] = 1;
        assert_eq!(local_ufrag(&response), None);
    }
}
