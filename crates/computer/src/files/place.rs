//! Names of files, as clients write them.

use std::path::{Component, Path, PathBuf};

use crate::problem::Problem;

/// Longest path, and longest name in it, in bytes.
const MAX_PATH: usize = 4_096;
const MAX_NAME: usize = 255;

/// Where the programs have `/tmp`.
const TEMPORARY: &str = "/tmp";

/// A folder that places are below of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    Home,
    /// The `/tmp` of the session.
    Temporary,
}

impl Base {
    /// Its path as the programs see it.
    fn seen(self, home: &Path) -> &Path {
        match self {
            Self::Home => home,
            Self::Temporary => Path::new(TEMPORARY),
        }
    }
}

/// A place below HOME or `/tmp`: names that are no `..`, without links until proven otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) base: Base,
    /// Relative to its base; empty for that itself.
    pub(crate) below: PathBuf,
    /// As the programs see it.
    pub(crate) shown: String,
}

impl Place {
    /// Absolute paths are those that the programs see, others begin at HOME.
    pub(crate) fn parse(text: &str, home: &Path) -> Result<Self, Problem> {
        if text.len() > MAX_PATH || text.contains('\0') {
            return Err(Problem::invalid("path is too long, or has a zero byte"));
        }
        if text.is_empty() {
            return Err(Problem::invalid("path must not be empty"));
        }
        let given = Path::new(text);
        let in_base = |base: Base| given.strip_prefix(base.seen(home)).ok().map(|below| (base, below));
        let (base, below) = match in_base(Base::Home).or_else(|| in_base(Base::Temporary)) {
            Some(found) => found,
            None if given.is_absolute() => {
                let text = format!("only files below {} and {TEMPORARY} can be used: use a path in it", home.display());
                return Err(Problem::denied(text));
            }
            None => (Base::Home, given),
        };
        let mut names = PathBuf::new();
        for part in below.components() {
            match part {
                Component::Normal(name) if name.len() <= MAX_NAME => names.push(name),
                Component::CurDir => {}
                Component::Normal(_) => return Err(Problem::invalid("path has a name of more than 255 bytes")),
                _ => return Err(Problem::denied("path must not have ..")),
            }
        }
        Ok(Self::below(base, names, home))
    }

    /// HOME itself.
    pub(crate) fn home(home: &Path) -> Self {
        Self::below(Base::Home, PathBuf::new(), home)
    }

    fn below(base: Base, below: PathBuf, home: &Path) -> Self {
        let seen = base.seen(home);
        let shown = if below.as_os_str().is_empty() { seen.to_path_buf() } else { seen.join(&below) };
        Self { base, below, shown: shown.to_string_lossy().into_owned() }
    }

    /// A place below this one, by a relative path.
    pub(crate) fn join(&self, text: &str, home: &Path) -> Result<Self, Problem> {
        if Path::new(text).is_absolute() {
            return Err(Problem::denied("names in an archive must be relative"));
        }
        let inner = Self::parse(if text.is_empty() { "." } else { text }, home)?;
        let mut below = self.below.clone();
        below.extend(&inner.below);
        if below.as_os_str().len() > MAX_PATH {
            return Err(Problem::invalid("path is too long"));
        }
        Ok(Self::below(self.base, below, home))
    }

    /// The folder that it is in, and its name; none for HOME and `/tmp` themselves.
    pub(crate) fn split(&self) -> Result<(&Path, &str), Problem> {
        let folder = self.below.parent();
        let name = self.below.file_name().and_then(|name| name.to_str());
        folder
            .zip(name)
            .ok_or_else(|| Problem::invalid(format!("{} itself stays as it is: name something in it", self.shown)))
    }

    /// Whether one of both is in the other, or they are the same.
    pub(crate) fn is_along(&self, other: &Self) -> bool {
        self.base == other.base && (self.below.starts_with(&other.below) || other.below.starts_with(&self.below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn below(text: &str) -> Option<String> {
        let place = Place::parse(text, Path::new("/home/user")).ok()?;
        Some(place.below.to_str().unwrap().to_owned())
    }

    #[test]
    fn places_are_below_home_or_nowhere() {
        for (text, wanted) in [
            (".", ""),
            ("a/b", "a/b"),
            ("./a//b/./c/", "a/b/c"),
            ("/home/user", ""),
            ("/home/user/", ""),
            ("/home//user/./a", "a"),
            ("a..b/..c", "a..b/..c"),
        ] {
            assert_eq!(below(text).as_deref(), Some(wanted), "{text}");
        }
        for text in [
            "",
            "..",
            "a/..",
            "a/../../b",
            "/",
            "/etc/passwd",
            "/home",
            "/home/user2",
            "/home/user/../user2/x",
            "/proc/self/root/etc/passwd",
            "a\0b",
            "//etc/passwd",
        ] {
            assert_eq!(below(text), None, "{text}");
        }
        assert_eq!(below(&"a/".repeat(3_000)), None);
        assert_eq!(below(&"a".repeat(256)), None);
    }

    #[test]
    fn places_in_tmp_are_told_from_those_in_home() {
        let home = Path::new("/home/user");
        let place = |text: &str| Place::parse(text, home).unwrap();
        assert_eq!((place("/tmp").base, place("/tmp/").below.as_os_str().len()), (Base::Temporary, 0));
        assert_eq!((place("/tmp/a/b").shown.as_str(), place("/tmp/./a//b").below), ("/tmp/a/b", PathBuf::from("a/b")));
        assert_eq!(place("tmp/a").base, Base::Home);
        assert_eq!(place("/tmp/a").join("b", home).unwrap(), place("/tmp/a/b"));
        assert!(!place("/tmp/a").is_along(&place("a")));
        assert!(place("/tmp").split().is_err());
        for text in ["/tmp/..", "/tmp/../etc/passwd", "/tmpx", "/var/tmp/a"] {
            assert!(Place::parse(text, home).is_err(), "{text}");
        }
        // A HOME in there is HOME.
        assert_eq!(Place::parse("/tmp/h/a", Path::new("/tmp/h")).unwrap().base, Base::Home);
    }

    #[test]
    fn names_in_archives_are_relative() {
        let home = Path::new("/home/user");
        let folder = Place::parse("in", home).unwrap();
        assert_eq!(folder.join("./a/b", home).unwrap().shown, "/home/user/in/a/b");
        assert_eq!(folder.join("./", home).unwrap().shown, "/home/user/in");
        for text in ["/home/user/x", "/x", "../x", "a/../../x"] {
            assert!(folder.join(text, home).is_err(), "{text}");
        }
    }

    #[test]
    fn places_along_one_path() {
        let place = |text: &str| Place::parse(text, Path::new("/h")).unwrap();
        assert!(place("a/b").is_along(&place("a")));
        assert!(place("a").is_along(&place("a/b")));
        assert!(place(".").is_along(&place("a")));
        assert!(!place("a/b").is_along(&place("a/bc")));
    }
}
