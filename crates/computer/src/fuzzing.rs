//! What the fuzz targets of this crate call; not for anybody else.

use std::io::Read;

use crate::files::{
    place::Place,
    tar::{BLOCK, Entry, Reader},
    zip,
};

/// Most bytes that are unpacked of one entry.
const MAX_CONTENT: u64 = 1024 * 1024;

/// Reads archives as uploads are read, without writing anything.
///
/// # Panics
///
/// When a name leads out of the folder that it is unpacked into, or more comes out than an entry says.
pub fn archive(bytes: &[u8]) {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let home = std::path::Path::new("/home/user");
    let Ok(into) = Place::parse("in", home) else { return };
    let check = |name: &str| {
        if let Ok(place) = into.join(name, home) {
            assert!(place.below.starts_with("in"), "{name:?} leads out");
            assert!(place.below.components().all(|part| matches!(part, std::path::Component::Normal(_))), "{name:?}");
        }
    };
    if first & 1 == 0 {
        tar(bytes, check);
        return;
    }
    let Ok(entries) = zip::read(bytes) else { return };
    for entry in &entries {
        check(&entry.name);
        assert_eq!(entry.mode & !0o777, 0);
        let Ok(content) = zip::Content::of(bytes, entry) else { continue };
        let mut all = Vec::new();
        if content.take(MAX_CONTENT).read_to_end(&mut all).is_ok() {
            assert!(all.len() as u64 <= entry.size);
        }
    }
}

fn tar(mut bytes: &[u8], check: impl Fn(&str)) {
    let mut reader = Reader::default();
    let take = |bytes: &mut &[u8], size: u64| {
        let size = usize::try_from(size).ok().filter(|size| *size <= bytes.len())?;
        let (taken, rest) = bytes.split_at(size);
        *bytes = rest;
        Some(taken.to_vec())
    };
    while let Some(block) = take(&mut bytes, BLOCK as u64) {
        let Ok(mut block) = <[u8; BLOCK]>::try_from(block) else { return };
        // So that changes of a header are not all lost to its sum.
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let skipped = match reader.header(&block) {
            Err(_) | Ok(Entry::End) => return,
            Ok(Entry::Skip { size }) => size,
            Ok(Entry::File { name, size, mode }) => {
                check(&name);
                assert_eq!(mode & !0o755, 0);
                size
            }
            Ok(Entry::Folder { name }) => {
                check(&name);
                0
            }
            Ok(Entry::Extra { size }) => {
                let Some(data) = take(&mut bytes, size) else { return };
                if reader.extra(&data).is_err() {
                    return;
                }
                0
            }
        };
        if take(&mut bytes, skipped.saturating_add(skipped.wrapping_neg() % BLOCK as u64)).is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    /// The target itself runs with every test run, on what it begins with.
    #[test]
    fn the_corpus_is_read() {
        let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/archive");
        let mut count = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            super::archive(&std::fs::read(entry.unwrap().path()).unwrap());
            count += 1;
        }
        assert!(count >= 4);
    }
}
