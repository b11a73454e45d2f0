//! How much memory is left on this machine, or in our control group.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes that can still be used before somebody is killed; `None` when the machine does not tell.
pub(crate) fn available() -> Option<u64> {
    let machine = meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = directories(&groups).into_iter().filter_map(|(path, version)| left(&path, version));
    Some(limits.min().map_or(machine, |left| left.min(machine)))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// `MemAvailable` in bytes (proc_meminfo(5)).
fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// Our memory control groups and all that they are in, where they are usually mounted (cgroups(7)).
fn directories(groups: &str) -> Vec<(PathBuf, Version)> {
    let mut found = Vec::new();
    for line in groups.lines() {
        let Some((controllers, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
            continue;
        };
        let (root, version) = match controllers {
            "" => ("/sys/fs/cgroup", Version::Two),
            list if list.split(',').any(|one| one == "memory") => ("/sys/fs/cgroup/memory", Version::One),
            _ => continue,
        };
        // Within a container the path may be the host's; what is not there is skipped when it is read.
        let own = Path::new(root).join(path.trim_start_matches('/'));
        found.extend(
            own.ancestors().take_while(|path| path.starts_with(root)).map(|path| (path.to_path_buf(), version)),
        );
    }
    found
}

/// Bytes until the limit of a control group, without what the kernel can take back at once; `None` without a limit.
fn left(group: &Path, version: Version) -> Option<u64> {
    let (limit, usage, cache) = match version {
        Version::One => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        Version::Two => ("memory.max", "memory.current", "inactive_file"),
    };
    let number = |name: &str| fs::read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, usage) = (number(limit)?, number(usage)?);
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(cache)?.trim().parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells() {
        assert!(available().unwrap() > 1024 * 1024);
    }

    #[test]
    fn texts() {
        assert_eq!(meminfo("MemTotal: 5 kB\nMemAvailable:     23 kB\n"), Some(23 * 1024));
        assert_eq!(meminfo("MemTotal: 5 kB\n"), None);
        let groups = "3:cpu,memory:/a/b\n0::/c\n1:name=x:/\n";
        let expected = [
            ("/sys/fs/cgroup/memory/a/b", Version::One),
            ("/sys/fs/cgroup/memory/a", Version::One),
            ("/sys/fs/cgroup/memory", Version::One),
            ("/sys/fs/cgroup/c", Version::Two),
            ("/sys/fs/cgroup", Version::Two),
        ];
        assert_eq!(directories(groups), expected.map(|(path, version)| (PathBuf::from(path), version)));
    }

    #[test]
    fn a_group_with_a_limit() {
        let directory = std::env::temp_dir().join(format!("glasshouse-memory-{}", crate::secret::random(8)));
        fs::create_dir(&directory).unwrap();
        for (name, text) in
            [("memory.max", "1000\n"), ("memory.current", "700\n"), ("memory.stat", "anon 1\ninactive_file 100\n")]
        {
            fs::write(directory.join(name), text).unwrap();
        }
        assert_eq!(left(&directory, Version::Two), Some(400));
        fs::write(directory.join("memory.max"), "max\n").unwrap();
        assert_eq!(left(&directory, Version::Two), None);
        fs::remove_dir_all(&directory).unwrap();
    }
}
