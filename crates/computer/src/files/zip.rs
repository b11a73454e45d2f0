//! Zip archives: read with bounds on everything, written as a stream. Without encryption, without Zip64, stored or deflated.
//!
//! The format is PKWARE's APPNOTE.TXT 6.3; numbers in comments are its sections.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::FileExt,
};

use flate2::{Compression, Crc, read::DeflateDecoder, write::DeflateEncoder};

/// Most files and folders of an archive that is read; of one that is written, what fits without Zip64.
const MAX_ENTRIES: usize = 10_000;
const MAX_WRITTEN: usize = 65_534;
/// Most bytes of the directory of an archive that is read.
const MAX_DIRECTORY: u64 = 8 * 1024 * 1024;
/// Longest name, in bytes.
const MAX_NAME: usize = 4_096;
/// Bytes of the end record without its comment (4.3.16), of a directory entry (4.3.12) and of a local header (4.3.7).
const END: usize = 22;
const ENTRY: usize = 46;
const LOCAL: usize = 30;
/// Kinds of file in the upper half of the external attributes, as `stat(2)` has them.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// Bits of the flags (4.4.4): encrypted, sizes after the data, names in UTF-8.
const ENCRYPTED: u16 = 1;
const SIZES_LATER: u16 = 1 << 3;
const UTF8: u16 = 1 << 11;

type Wrong = Cow<'static, str>;

/// Bytes that can be read anywhere.
pub(crate) trait Bytes {
    fn length(&self) -> io::Result<u64>;
    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Bytes for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, to, at)
    }
}

impl Bytes for [u8] {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, to: &mut [u8], at: u64) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let length = rest.len().min(to.len());
        to[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

fn read_exact<B: Bytes + ?Sized>(source: &B, to: &mut [u8], at: u64) -> Result<(), Wrong> {
    let mut filled = 0;
    while filled < to.len() {
        match source.read_at(&mut to[filled..], at.saturating_add(filled as u64)) {
            Ok(0) => return Err("the zip archive ends early".into()),
            Ok(read) => filled += read,
            Err(error) => return Err(format!("the zip archive cannot be read: {error}").into()),
        }
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A file or folder of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) is_folder: bool,
    /// Bytes of the content.
    pub(crate) size: u64,
    /// Rights, without those that change who runs it.
    pub(crate) mode: u32,
    packed: u64,
    is_deflated: bool,
    crc: u32,
    header_at: u64,
}

/// The files and folders of an archive.
pub(crate) fn read<B: Bytes + ?Sized>(source: &B) -> Result<Vec<Entry>, Wrong> {
    let none = || Wrong::Borrowed("this is no zip archive");
    let length = source.length().map_err(|_| none())?;
    let tail_length = length.min(END as u64 + u64::from(u16::MAX));
    let mut tail = vec![0; usize::try_from(tail_length).map_err(|_| none())?];
    let tail_at = length - tail_length;
    read_exact(source, &mut tail, tail_at)?;
    // The last one whose comment reaches the end.
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06") && *at + END + usize::from(u16_at(&tail, at + 20)) == tail.len()
    };
    let end = tail.len().checked_sub(END).and_then(|last| (0..=last).rev().find(is_end)).ok_or_else(none)?;
    let record = &tail[end..];
    let (count, size, at) = (u16_at(record, 10), u32_at(record, 12), u32_at(record, 16));
    if u16_at(record, 4) != 0 || u16_at(record, 8) != count || count == u16::MAX || at == u32::MAX {
        return Err("the zip archive has several parts, or is of the large kind (Zip64)".into());
    }
    if usize::from(count) > MAX_ENTRIES || u64::from(size) > MAX_DIRECTORY {
        return Err(format!("the zip archive has more than {MAX_ENTRIES} entries").into());
    }
    if u64::from(at) + u64::from(size) > tail_at + end as u64 {
        return Err("the zip archive is damaged".into());
    }
    let mut directory = vec![0; size as usize];
    read_exact(source, &mut directory, at.into())?;
    let mut entries = Vec::with_capacity(count.into());
    let mut rest = &directory[..];
    for _ in 0..count {
        let (entry, used) = entry(rest)?;
        rest = &rest[used..];
        entries.push(entry);
    }
    Ok(entries)
}

/// An entry of the directory, and its length.
fn entry(bytes: &[u8]) -> Result<(Entry, usize), Wrong> {
    let damaged = || Wrong::Borrowed("the zip archive's directory is damaged");
    if bytes.len() < ENTRY || !bytes.starts_with(b"PK\x01\x02") {
        return Err(damaged());
    }
    let lengths = [28, 30, 32].map(|at| usize::from(u16_at(bytes, at)));
    let used = ENTRY + lengths.iter().sum::<usize>();
    let name = bytes.get(ENTRY..ENTRY + lengths[0]).ok_or_else(damaged)?;
    if used > bytes.len() || name.len() > MAX_NAME {
        return Err(damaged());
    }
    let name = String::from_utf8(name.to_vec()).map_err(|_| Wrong::Borrowed("a name is no UTF-8"))?;
    let (flags, method) = (u16_at(bytes, 8), u16_at(bytes, 10));
    if flags & ENCRYPTED != 0 {
        return Err(format!("{name} is encrypted: make the archive without a password").into());
    }
    if method != 0 && method != 8 {
        return Err(format!("{name} is compressed by a method that is not known here: use deflate").into());
    }
    let sizes = [20, 24].map(|at| u32_at(bytes, at));
    if sizes.contains(&u32::MAX) || u32_at(bytes, 42) == u32::MAX {
        return Err(format!("{name} is of the large kind (Zip64)").into());
    }
    // Only Unix says rights (4.4.2).
    let mode = if bytes[5] == 3 { u32_at(bytes, 38) >> 16 } else { 0 };
    let is_folder = name.ends_with('/') || mode & KIND == FOLDER;
    if !is_folder && ![0, REGULAR].contains(&(mode & KIND)) {
        return Err(format!("{name} is a link or a device: only files and directories are taken").into());
    }
    let rights = if mode & 0o777 == 0 { 0o644 } else { mode & 0o755 | 0o600 };
    let entry = Entry {
        name,
        is_folder,
        size: if is_folder { 0 } else { sizes[1].into() },
        mode: rights,
        packed: sizes[0].into(),
        is_deflated: method == 8,
        crc: u32_at(bytes, 16),
        header_at: u32_at(bytes, 42).into(),
    };
    Ok((entry, used))
}

/// The content of an entry: exactly as many bytes as its size says, or an error.
pub(crate) struct Content<'a, B: Bytes + ?Sized> {
    packed: Packed<'a, B>,
    crc: Crc,
    wanted: u32,
    left: u64,
}

enum Packed<'a, B: Bytes + ?Sized> {
    Stored(Part<'a, B>),
    Deflated(Box<DeflateDecoder<Part<'a, B>>>),
}

/// Some bytes of the archive.
struct Part<'a, B: Bytes + ?Sized> {
    source: &'a B,
    at: u64,
    left: u64,
}

impl<B: Bytes + ?Sized> Read for Part<'_, B> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.source.read_at(&mut to[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl<'a, B: Bytes + ?Sized> Content<'a, B> {
    pub(crate) fn of(source: &'a B, entry: &Entry) -> Result<Self, Wrong> {
        let mut header = [0; LOCAL];
        read_exact(source, &mut header, entry.header_at)?;
        if !header.starts_with(b"PK\x03\x04") {
            return Err(format!("{} is not where the zip archive says", entry.name).into());
        }
        let skipped = LOCAL as u64 + u64::from(u16_at(&header, 26)) + u64::from(u16_at(&header, 28));
        let part = Part { source, at: entry.header_at + skipped, left: entry.packed };
        let packed = if entry.is_deflated {
            Packed::Deflated(Box::new(DeflateDecoder::new(part)))
        } else {
            Packed::Stored(part)
        };
        Ok(Self { packed, crc: Crc::new(), wanted: entry.crc, left: entry.size })
    }
}

impl<B: Bytes + ?Sized> Read for Content<'_, B> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let to = &mut to[..most];
        let read = match &mut self.packed {
            Packed::Stored(part) => part.read(to)?,
            Packed::Deflated(decoder) => decoder.read(to)?,
        };
        self.crc.update(&to[..read]);
        self.left -= read as u64;
        if self.left == 0 && read > 0 && self.crc.sum() != self.wanted {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a checksum is wrong"));
        }
        Ok(read)
    }
}

/// Writes an archive as a stream: sizes come after the data they are of.
pub(crate) struct Writer<W: Write> {
    out: W,
    at: u64,
    directory: Vec<u8>,
    count: usize,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, at: 0, directory: Vec::new(), count: 0 }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    pub(crate) fn folder(&mut self, name: &str, mode: u32) -> io::Result<()> {
        let name = format!("{name}/");
        self.entry(&name, FOLDER | mode & 0o777, None)
    }

    pub(crate) fn file(&mut self, name: &str, mode: u32, content: &mut dyn Read) -> io::Result<()> {
        self.entry(name, REGULAR | mode & 0o777, Some(content))
    }

    fn entry(&mut self, name: &str, mode: u32, content: Option<&mut dyn Read>) -> io::Result<()> {
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, "too much for a zip archive: use tar.zst");
        let header_at = u32::try_from(self.at).map_err(|_| too_large())?;
        let length = u16::try_from(name.len()).map_err(|_| too_large())?;
        if self.count >= MAX_WRITTEN {
            return Err(too_large());
        }
        let (flags, method) = if content.is_some() { (SIZES_LATER | UTF8, 8_u16) } else { (UTF8, 0) };
        // Version, flags, method, and 1980-01-01 as the time, which programs inside may set to anything.
        let mut common = Vec::with_capacity(26);
        for word in [20, flags, method, 0, 0x21] {
            common.extend(word.to_le_bytes());
        }
        let mut header = b"PK\x03\x04".to_vec();
        header.extend(&common);
        header.extend([0; 12]);
        header.extend(length.to_le_bytes());
        header.extend([0; 2]);
        header.extend(name.as_bytes());
        self.put(&header)?;
        let (mut crc, mut size, data_at) = (Crc::new(), 0_u64, self.at);
        if let Some(content) = content {
            let mut encoder = DeflateEncoder::new(Tee { writer: self }, Compression::new(6));
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let read = content.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                crc.update(&buffer[..read]);
                size += read as u64;
                encoder.write_all(&buffer[..read])?;
            }
            encoder.finish()?;
        }
        let packed = u32::try_from(self.at - data_at).map_err(|_| too_large())?;
        let size = u32::try_from(size).map_err(|_| too_large())?;
        let mut sums = Vec::with_capacity(12);
        for word in [crc.sum(), packed, size] {
            sums.extend(word.to_le_bytes());
        }
        if method == 8 {
            self.put(b"PK\x07\x08")?;
            self.put(&sums)?;
        }
        self.directory.extend(b"PK\x01\x02\x14\x03");
        self.directory.extend(&common);
        self.directory.extend(&sums);
        self.directory.extend(length.to_le_bytes());
        self.directory.extend([0; 8]);
        self.directory.extend((mode << 16).to_le_bytes());
        self.directory.extend(header_at.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.count += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<W> {
        let too_large = |_| io::Error::new(io::ErrorKind::FileTooLarge, "too much for a zip archive: use tar.zst");
        let at = u32::try_from(self.at).map_err(too_large)?;
        let size = u32::try_from(self.directory.len()).map_err(too_large)?;
        let count = u16::try_from(self.count).map_err(too_large)?;
        let mut end = std::mem::take(&mut self.directory);
        end.extend(b"PK\x05\x06\0\0\0\0");
        end.extend(count.to_le_bytes());
        end.extend(count.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(at.to_le_bytes());
        end.extend([0; 2]);
        self.put(&end)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Counts what an encoder writes.
struct Tee<'a, W: Write> {
    writer: &'a mut Writer<W>,
}

impl<W: Write> Write for Tee<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.put(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, mode, content) in files {
            if let Some(name) = name.strip_suffix('/') {
                writer.folder(name, *mode).unwrap();
            } else {
                writer.file(name, *mode, &mut &content[..]).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    fn content(bytes: &[u8], entry: &Entry) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        Content::of(bytes, entry).map_err(io::Error::other)?.read_to_end(&mut all)?;
        Ok(all)
    }

    #[test]
    fn what_is_written_is_read() {
        let long = vec![7; 300_000];
        let bytes = archive(&[("a/", 0o755, b""), ("a/ü", 0o4755, &long), ("empty", 0o640, b"")]);
        assert!(bytes.len() < 2_000);
        let entries = read(&bytes[..]).unwrap();
        let names: Vec<_> = entries.iter().map(|entry| (&*entry.name, entry.is_folder, entry.mode)).collect();
        assert_eq!(names, [("a/", true, 0o755), ("a/ü", false, 0o755), ("empty", false, 0o640)]);
        assert_eq!(content(&bytes, &entries[1]).unwrap(), long);
        assert_eq!(content(&bytes, &entries[2]).unwrap(), b"");
    }

    #[test]
    fn damage_is_an_error() {
        let good = archive(&[("name", 0o644, b"content content content")]);
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "{length}");
        }
        let entry = &read(&good[..]).unwrap()[0];
        let mut wrong = entry.clone();
        wrong.crc ^= 1;
        assert!(content(&good, &wrong).is_err());
        wrong = entry.clone();
        wrong.header_at = 5;
        assert!(content(&good, &wrong).is_err());
        // What says that it is small is no larger.
        wrong = entry.clone();
        wrong.size = 3;
        assert!(content(&good, &wrong).is_err());
    }

    #[test]
    fn links_and_passwords_are_refused() {
        let good = archive(&[("name", 0o644, b"x")]);
        let directory = good.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[directory + at] = value;
            read(&bytes[..])
        };
        assert!(changed(41, 0o120_000_u32.to_le_bytes()[1]).unwrap_err().contains("link"));
        assert!(changed(8, 1).unwrap_err().contains("encrypted"));
        assert!(changed(10, 99).unwrap_err().contains("method"));
        for at in [20, 24, 42] {
            let mut bytes = good.clone();
            bytes[directory + at..directory + at + 4].fill(0xff);
            assert!(read(&bytes[..]).unwrap_err().contains("large"), "{at}");
        }
    }
}
