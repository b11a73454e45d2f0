//! A directory as tar.zst, and back: what comes from outside can write nowhere but into its own new directory, and only so much.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink},
    path::{Component, Path, PathBuf},
};

use tar::{Archive, Builder, EntryType, Header};

/// Bytes that an archive may unpack to.
pub(crate) const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Files, directories and links that it may have.
const MAX_ENTRIES: usize = 200_000;
/// Longest path in bytes, and directories within each other.
const MAX_PATH: usize = 1_024;
const MAX_DEPTH: usize = 64;
/// Memory for unpacking: 2 to the power of this, in bytes.
const WINDOW: u32 = 25;
/// How hard it is packed.
const LEVEL: i32 = 3;

/// What Chromium makes again by itself, in the profile or in one of its folders.
const CACHES: [&str; 9] = [
    "Cache",
    "Code Cache",
    "GPUCache",
    "ShaderCache",
    "GrShaderCache",
    "GraphiteDawnCache",
    "DawnGraphiteCache",
    "DawnWebGPUCache",
    "component_crx_cache",
];

/// Packs a directory that nobody changes meanwhile. Links that lead out of it, sockets and the like are left out.
pub(crate) fn write(directory: &Path, out: &mut dyn Write) -> io::Result<()> {
    let mut tar = Builder::new(zstd::Encoder::new(out, LEVEL)?);
    let mut left = vec![PathBuf::new()];
    while let Some(folder) = left.pop() {
        let mut entries: Vec<_> = fs::read_dir(directory.join(&folder))?.collect::<Result<_, _>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, meta) = (folder.join(entry.file_name()), entry.metadata()?);
            let is_cache = folder.components().count() < 2 && CACHES.iter().any(|name| entry.file_name() == *name);
            let mut header = Header::new_gnu();
            header.set_mode(meta.permissions().mode() & 0o700);
            header.set_mtime(0);
            if meta.is_dir() && !is_cache {
                header.set_entry_type(EntryType::Directory);
                header.set_size(0);
                tar.append_data(&mut header, &path, io::empty())?;
                left.push(path);
            } else if meta.is_file() {
                header.set_entry_type(EntryType::Regular);
                header.set_size(meta.len());
                // Should it have become shorter, the archive would be broken.
                let content = fs::File::open(entry.path())?.chain(io::repeat(0)).take(meta.len());
                tar.append_data(&mut header, &path, content)?;
            } else if meta.is_symlink() {
                let target = fs::read_link(entry.path())?;
                if stays_inside(&path, &target) {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, &path, &target)?;
                }
            }
        }
    }
    tar.into_inner()?.finish()?.flush()
}

/// Whether a link at a path within a directory leads to something within it: up no further than to that, and then only down,
/// since `..` behind a name that is a link itself can lead anywhere.
fn stays_inside(path: &Path, target: &Path) -> bool {
    let depth = path.components().count().saturating_sub(1);
    let is_up = |part: &Component<'_>| *part == Component::ParentDir;
    let is_down = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let ups = target.components().take_while(is_up).count();
    ups <= depth && target.components().skip(ups).all(is_down)
}

fn refused(what: &str) -> io::Error {
    io::Error::other(format!("the archive cannot be taken: {what}"))
}

/// A path as plain names.
fn plain(path: &Path) -> io::Result<PathBuf> {
    let mut names = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(refused("it has paths that begin with / or have ..")),
        }
    }
    if names.as_os_str().len() > MAX_PATH || names.components().count() > MAX_DEPTH {
        return Err(refused("it has too long a path"));
    }
    Ok(names)
}

/// Unpacks an archive into a new directory. What is there after an error is for the caller to remove.
pub(crate) fn read(from: impl Read, directory: &Path) -> io::Result<()> {
    unpack(from, directory, MAX_BYTES)
}

fn unpack(from: impl Read, directory: &Path, most: u64) -> io::Result<()> {
    let broken = |error: io::Error| refused(&format!("it is no tar.zst, or broken ({error})"));
    let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    make(directory)?;
    let mut zstd = zstd::Decoder::new(from).map_err(broken)?;
    zstd.window_log_max(WINDOW)?;
    // Headers count as well: an archive of nothing but names has an end, too.
    let mut tar = Archive::new(zstd.take(most + MAX_ENTRIES as u64 * 1_024));
    let (mut bytes, mut links) = (0_u64, Vec::new());
    for (count, entry) in tar.entries().map_err(broken)?.enumerate() {
        let mut entry = entry.map_err(broken)?;
        if count >= MAX_ENTRIES {
            return Err(refused(&format!("it has more than {MAX_ENTRIES} files")));
        }
        let name = plain(&entry.path().map_err(broken)?)?;
        let path = directory.join(&name);
        let kind = entry.header().entry_type();
        if name.as_os_str().is_empty() && kind != EntryType::Directory {
            return Err(refused("it has a file without a name"));
        }
        match kind {
            EntryType::Directory => make(&path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                bytes = bytes.saturating_add(entry.size());
                if bytes > most {
                    return Err(refused(&format!("it unpacks to more than {} MiB", most >> 20)));
                }
                // There are no links in it yet that a path could go through.
                make(path.parent().unwrap_or(directory))?;
                let mode = if entry.header().mode().unwrap_or(0) & 0o100 == 0 { 0o600 } else { 0o700 };
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
                io::copy(&mut entry, &mut file).map_err(broken)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name().map_err(broken)?.unwrap_or_default().into_owned();
                if target.as_os_str().len() > MAX_PATH || !stays_inside(&name, &target) {
                    return Err(refused("it has a link that leads out of it"));
                }
                links.push((path, target));
            }
            EntryType::XGlobalHeader => {}
            _ => return Err(refused("it has something else than files, directories and symbolic links")),
        }
    }
    // All folders before the first link, so that none is made through one.
    for (path, _) in &links {
        make(path.parent().unwrap_or(directory))?;
    }
    for (path, target) in links {
        symlink(target, &path).map_err(|_| refused("it has a link in the place of something else"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("glasshouse-archive-{}", secret::random(8)));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn there_and_back() {
        let folder = Folder::new();
        let (from, to) = (folder.0.join("from"), folder.0.join("to"));
        fs::create_dir_all(from.join("Default/Cache")).unwrap();
        fs::create_dir_all(from.join("Default/Storage/Cache")).unwrap();
        fs::write(from.join("Default/Cache/x"), "gone").unwrap();
        fs::write(from.join("Default/Storage/Cache/x"), "kept").unwrap();
        fs::write(from.join("Default/Cookies"), vec![7; 300_000]).unwrap();
        symlink("Default/Cookies", from.join("inside")).unwrap();
        symlink("/etc/passwd", from.join("outside")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let mut packed = Vec::new();
        write(&from, &mut packed).unwrap();
        unpack(&packed[..], &to, 1 << 20).unwrap();
        assert_eq!(fs::read(to.join("inside")).unwrap(), vec![7; 300_000]);
        assert_eq!(fs::read(to.join("Default/Storage/Cache/x")).unwrap(), b"kept");
        for gone in ["outside", "socket", "Default/Cache"] {
            assert!(fs::symlink_metadata(to.join(gone)).is_err(), "{gone}");
        }
        let error = unpack(&packed[..], &folder.0.join("small"), 299_999).unwrap_err().to_string();
        assert!(error.contains("unpacks to more"), "{error}");
        for junk in [&b""[..], b"junk", &packed[..packed.len() / 2]] {
            assert!(unpack(junk, &folder.0.join(secret::random(4)), 1 << 20).is_err(), "{} bytes", junk.len());
        }
    }

    /// An archive of one entry, whose path and target are what they are.
    fn single(kind: EntryType, path: &str, target: &str) -> Vec<u8> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o644);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        let mut tar = Builder::new(zstd::Encoder::new(Vec::new(), LEVEL).unwrap());
        tar.append(&header, io::empty()).unwrap();
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn nothing_leaves() {
        let folder = Folder::new();
        for (kind, path, target) in [
            (EntryType::Regular, "/etc/evil", ""),
            (EntryType::Regular, "../evil", ""),
            (EntryType::Regular, "a/../../evil", ""),
            (EntryType::Directory, "../evil", ""),
            (EntryType::Symlink, "a", "/etc/passwd"),
            (EntryType::Symlink, "a/b", "../../x"),
            (EntryType::Symlink, "a/b", "c/../x"),
            (EntryType::Symlink, "../evil", "x"),
            (EntryType::Link, "a", "b"),
            (EntryType::Char, "a", ""),
            (EntryType::Block, "a", ""),
            (EntryType::Fifo, "a", ""),
        ] {
            let to = folder.0.join("to");
            let error = unpack(&single(kind, path, target)[..], &to, 1 << 20).unwrap_err().to_string();
            assert!(error.contains("cannot be taken"), "{path} {target}: {error}");
            assert!(!folder.0.join("evil").exists());
            fs::remove_dir_all(&to).unwrap();
        }
        unpack(&single(EntryType::Symlink, "a/b", "../c")[..], &folder.0.join("to"), 1 << 20).unwrap();
    }

    #[test]
    fn no_file_goes_through_a_link() {
        let folder = Folder::new();
        let mut tar = Builder::new(zstd::Encoder::new(Vec::new(), LEVEL).unwrap());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "a", ".").unwrap();
        let mut header = Header::new_gnu();
        header.set_size(1);
        tar.append_data(&mut header, "a/b", &b"x"[..]).unwrap();
        let packed = tar.into_inner().unwrap().finish().unwrap();
        assert!(unpack(&packed[..], &folder.0.join("to"), 1 << 20).is_err());
        assert!(!folder.0.join("to/b").exists());
    }
}
