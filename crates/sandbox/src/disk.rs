//! How much a session has written into directories of the host.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Bytes on disk of a directory and all that is in it; links are not followed. A file with several names counts once
/// for each. What vanishes meanwhile is not counted.
///
/// # Errors
///
/// When a directory cannot be read, one of too long a path among them: what cannot be counted is over any limit.
pub fn disk_usage(directory: &Path) -> io::Result<u64> {
    let mut total = 0;
    // Paths and not open directories, of which a session could make more than we may have descriptors.
    let mut left = vec![directory.to_path_buf()];
    while let Some(next) = left.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound && next != directory => continue,
            Err(error) => return Err(error),
        };
        for entry in entries.flatten() {
            // Of the entry itself, not of what it may link to.
            let Ok(meta) = entry.metadata() else { continue };
            // `st_blocks` counts 512 bytes whatever the file system's block size is (stat(2)).
            total += meta.blocks() * 512;
            if meta.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_files_and_not_what_links_lead_to() {
        let dir = std::env::temp_dir().join(format!("glasshouse-disk-{}", std::process::id()));
        fs::create_dir_all(dir.join("below")).unwrap();
        fs::write(dir.join("below/file"), vec![1; 300_000]).unwrap();
        std::os::unix::fs::symlink("/usr", dir.join("link")).unwrap();
        let used = disk_usage(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert!((300_000..600_000).contains(&used), "{used}");
        assert!(disk_usage(&dir).is_err());
    }
}
