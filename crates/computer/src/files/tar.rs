//! Reads tar archives as they come: POSIX.1-2001 (pax) and GNU's long names. Ordinary files and folders only.

use std::borrow::Cow;

/// Bytes of a block.
pub(crate) const BLOCK: usize = 512;
/// Most bytes of a long name, and of pax records.
const MAX_NAME: u64 = 4_096;
const MAX_RECORDS: u64 = 64 * 1024;

/// What follows a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A file of `size` bytes.
    File {
        name: String,
        size: u64,
        mode: u32,
    },
    Folder {
        name: String,
    },
    /// This many bytes belong to the next header: to be given to [`Reader::extra`].
    Extra {
        size: u64,
    },
    /// This many bytes are of no use.
    Skip {
        size: u64,
    },
    End,
}

/// What extra data is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extra {
    LongName,
    Records,
}

/// Reads headers; whoever uses it reads what is between them, which is padded to whole blocks.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    extra: Option<Extra>,
    name: Option<String>,
    size: Option<u64>,
}

impl Reader {
    /// The next header.
    pub(crate) fn header(&mut self, block: &[u8; BLOCK]) -> Result<Entry, Cow<'static, str>> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(Entry::End);
        }
        let (before, after) = (&block[..148], &block[156..]);
        let sum: u64 = before.iter().chain(after).map(|byte| u64::from(*byte)).sum::<u64>() + 8 * 32;
        if number(&block[148..156]) != Some(sum) {
            return Err("this is no tar archive, or it is damaged".into());
        }
        let size = number(&block[124..136]).ok_or("a size is no number")?;
        let kind = block[156];
        match kind {
            b'L' | b'x' => {
                let (extra, most) =
                    if kind == b'L' { (Extra::LongName, MAX_NAME) } else { (Extra::Records, MAX_RECORDS) };
                if size > most {
                    return Err(format!("a name or its records have {size} bytes: the limit is {most}").into());
                }
                self.extra = Some(extra);
                return Ok(Entry::Extra { size });
            }
            b'g' if size > MAX_RECORDS => return Err("the archive's records are too long".into()),
            b'g' => return Ok(Entry::Skip { size }),
            _ => {}
        }
        let name = match self.name.take() {
            Some(name) => name,
            None => short_name(block)?,
        };
        let size = self.size.take().unwrap_or(size);
        match kind {
            b'0' | 0 | b'7' if name.ends_with('/') => Ok(Entry::Folder { name }),
            b'0' | 0 | b'7' => {
                let mode = number(&block[100..108]).unwrap_or(0o644);
                // Nobody else's rights, and no bits that change who runs it.
                let mode = u32::try_from(mode & 0o755).unwrap_or(0) | 0o600;
                Ok(Entry::File { name, size, mode })
            }
            b'5' => Ok(Entry::Folder { name }),
            b'1' | b'2' => Err(format!("{name} is a link: only files and directories are taken").into()),
            b'S' => Err(format!("{name} is a sparse file: make the archive without --sparse").into()),
            _ => Err(format!("{name} is no ordinary file: only files and directories are taken").into()),
        }
    }

    /// Takes what [`Entry::Extra`] announced.
    pub(crate) fn extra(&mut self, data: &[u8]) -> Result<(), Cow<'static, str>> {
        match self.extra.take() {
            Some(Extra::LongName) => {
                let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
                self.name = Some(text(&data[..end])?);
            }
            Some(Extra::Records) => self.records(data)?,
            None => {}
        }
        Ok(())
    }

    /// `LENGTH KEY=VALUE\n`, where the length is that of the whole record.
    fn records(&mut self, mut data: &[u8]) -> Result<(), Cow<'static, str>> {
        let wrong = || Cow::Borrowed("the records of a name are damaged");
        while !data.is_empty() {
            let space = data.iter().take(8).position(|byte| *byte == b' ').ok_or_else(wrong)?;
            let length: usize =
                std::str::from_utf8(&data[..space]).ok().and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
            if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
                return Err(wrong());
            }
            let record = &data[space + 1..length - 1];
            data = &data[length..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" if value.len() as u64 > MAX_NAME => return Err("a name is too long".into()),
                b"path" => self.name = Some(text(value)?),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or_else(wrong)?);
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err("there is a sparse file: make the archive without --sparse".into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<String, Cow<'static, str>> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name is no UTF-8".into())
}

fn short_name(block: &[u8; BLOCK]) -> Result<String, Cow<'static, str>> {
    let field = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        text(&bytes[..end])
    };
    let name = field(&block[..100])?;
    // GNU's own format has times there.
    let prefix = if &block[257..263] == b"ustar\0" { field(&block[345..500])? } else { String::new() };
    Ok(if prefix.is_empty() { name } else { format!("{prefix}/{name}") })
}

/// Octal digits, or with the highest bit set a number in base 256.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let (first, rest) = field.split_first()?;
        // Negative numbers have all bits of the first byte set, and none of ours are.
        return rest.iter().try_fold(u64::from(first & 0x7f), |value, byte| {
            value.checked_mul(256).map(|value| value | u64::from(*byte))
        });
    }
    let digits = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn header(name: &str, kind: u8, size: u64) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..107].copy_from_slice(b"0104755");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[156] = kind;
        block[257..263].copy_from_slice(b"ustar\0");
        seal(&mut block);
        block
    }

    fn seal(block: &mut [u8; BLOCK]) {
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }

    fn file(name: &str, size: u64) -> Entry {
        Entry::File { name: name.into(), size, mode: 0o755 }
    }

    #[test]
    fn files_and_folders() {
        let mut reader = Reader::default();
        assert_eq!(reader.header(&header("a/b", b'0', 10)), Ok(file("a/b", 10)));
        assert_eq!(reader.header(&header("a/", b'5', 0)), Ok(Entry::Folder { name: "a/".into() }));
        assert_eq!(reader.header(&[0; BLOCK]), Ok(Entry::End));
        let mut long = header("name", b'0', 1);
        long[345..350].copy_from_slice(b"x/y/z");
        seal(&mut long);
        assert_eq!(reader.header(&long), Ok(file("x/y/z/name", 1)));
    }

    #[test]
    fn links_devices_and_damage_are_refused() {
        for kind in *b"123456SKVM" {
            if kind != b'5' {
                assert!(Reader::default().header(&header("a", kind, 0)).is_err(), "{}", char::from(kind));
            }
        }
        let mut broken = header("a", b'0', 1);
        broken[0] = b'b';
        assert!(Reader::default().header(&broken).is_err());
        assert!(Reader::default().header(&[b'x'; BLOCK]).is_err());
    }

    #[test]
    fn long_names_and_records() {
        let mut reader = Reader::default();
        assert_eq!(reader.header(&header("././@LongLink", b'L', 5)), Ok(Entry::Extra { size: 5 }));
        reader.extra(b"long\0").unwrap();
        assert_eq!(reader.header(&header("short", b'0', 3)), Ok(file("long", 3)));
        assert_eq!(reader.header(&header("short", b'0', 3)), Ok(file("short", 3)));

        assert_eq!(reader.header(&header("pax", b'x', 31)), Ok(Entry::Extra { size: 31 }));
        reader.extra("17 path=\u{fc}nder/x\n14 size=12345\n".as_bytes()).unwrap();
        assert_eq!(reader.header(&header("short", b'0', 3)), Ok(file("\u{fc}nder/x", 12_345)));
        assert!(reader.header(&header("huge", b'L', 1 << 30)).is_err());
        assert!(reader.header(&header("huge", b'x', 1 << 30)).is_err());
        for wrong in ["8 path=x\n", "x", "3 =\n ", "5 a\n\n", "0 path=x\n", "99999999 a=b\n", "20 GNU.sparse.map=1\n"] {
            reader.header(&header("pax", b'x', 1)).unwrap();
            assert!(reader.extra(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]), Some(258));
        assert_eq!(number(&[0xff; 12]), None);
        assert_eq!(number(b"abc"), None);
    }
}
