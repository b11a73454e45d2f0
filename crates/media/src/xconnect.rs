//! Connecting to an X server with a cookie file of our choice; the environment is never consulted.

use std::path::Path;

use x11rb::reexports::x11rb_protocol::parse_display::parse_display;
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::Error;

/// Opens the display; returns the connection and the screen's number.
///
/// # Errors
/// The name is malformed, nobody listens, or the cookie is refused.
pub fn connect(display: &str, xauthority: Option<&Path>) -> Result<(RustConnection, usize), Error> {
    let fail = |reason: String| Error::Display { display: display.to_owned(), reason };
    let parsed = parse_display(Some(display)).map_err(|error| fail(error.to_string()))?;
    // The port of a display is its number plus 6000, and x11rb panics where that is no port.
    if parsed.display > u16::MAX - 6000 {
        return Err(fail("no such display: numbers end at 59535".into()));
    }
    let (name, data) = match xauthority {
        Some(path) => {
            let file = std::fs::read(path).map_err(|error| fail(format!("cookie file {}: {error}", path.display())))?;
            find_cookie(&file, parsed.display).unwrap_or_default()
        }
        None => Default::default(),
    };
    let mut reason = "no address to connect to".to_owned();
    for address in parsed.connect_instruction() {
        match DefaultStream::connect(&address) {
            Ok((stream, _)) => {
                let screen = usize::from(parsed.screen);
                let connection = RustConnection::connect_to_stream_with_auth_info(stream, screen, name, data)
                    .map_err(|error| fail(error.to_string()))?;
                return Ok((connection, screen));
            }
            Err(error) => reason = format!("no X server answers: {error}"),
        }
    }
    Err(fail(reason))
}

/// The first MIT-MAGIC-COOKIE-1 of a display in an Xauthority file (`man Xsecurity`: big-endian counted strings).
///
/// The host name is not compared: a sandboxed session has a host name of its own, and the file is the session's own.
fn find_cookie(mut file: &[u8], display: u16) -> Option<(Vec<u8>, Vec<u8>)> {
    fn string<'a>(file: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = file.split_first_chunk::<2>()?;
        let (string, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *file = rest;
        Some(string)
    }
    while file.len() >= 2 {
        file = &file[2..];
        let _host = string(&mut file)?;
        let number = string(&mut file)?;
        let name = string(&mut file)?;
        let data = string(&mut file)?;
        let wanted = number.is_empty() || number == display.to_string().as_bytes();
        if wanted && name == b"MIT-MAGIC-COOKIE-1" {
            return Some((name.to_vec(), data.to_vec()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: &str, name: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = 256u16.to_be_bytes().to_vec();
        for field in [b"host".as_slice(), number.as_bytes(), name.as_bytes(), data] {
            bytes.extend((field.len() as u16).to_be_bytes());
            bytes.extend(field);
        }
        bytes
    }

    #[test]
    fn the_cookie_of_the_display_is_found_and_junk_is_not() {
        let mut file = entry("3", "MIT-MAGIC-COOKIE-1", b"three");
        file.extend(entry("4", "XDM-AUTHORIZATION-1", b"other"));
        file.extend(entry("4", "MIT-MAGIC-COOKIE-1", b"four"));
        assert_eq!(find_cookie(&file, 4).expect("a cookie").1, b"four");
        assert!(find_cookie(&file, 5).is_none());
        assert!(find_cookie(&file[..file.len() - 1], 4).is_none());
        assert!(find_cookie(&[1], 4).is_none());
    }

    #[test]
    fn a_missing_server_is_one_clear_line() {
        let error = connect(":59123", None).map(|_| ()).expect_err("nobody there").to_string();
        assert!(error.starts_with("display :59123: no X server answers: "), "{error}");
        for junk in ["", "nonsense", ":", ":-1", ":65535", ":99999", "/"] {
            assert!(connect(junk, None).is_err(), "{junk}");
        }
    }
}
