//! Which cgroup hierarchies this host has, and where we are in them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The controllers we use of version 1.
pub(super) const V1: [&str; 5] = ["memory", "pids", "cpu", "cpuacct", "freezer"];

/// Where the server itself goes when its own cgroup must be empty for limits to be handed down (the "no internal
/// processes" rule of version 2).
pub(super) const HOST_LEAF: &str = "glasshouse.host";

/// Directories of our own process's cgroups.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// In the version 2 hierarchy.
    pub(super) v2: Option<PathBuf>,
    /// In the version 1 hierarchies, by controller.
    pub(super) v1: BTreeMap<&'static str, PathBuf>,
}

impl Layout {
    pub(super) fn detect() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// From the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)) and `/proc/self/cgroup` (cgroups(7)).
    pub(super) fn parse(mountinfo: &str, cgroups: &str) -> Self {
        let mut layout = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, kind)) = line.split_once(" - ") else { continue };
            let mut kind = kind.split_ascii_whitespace();
            let (file_system, options) = (kind.next().unwrap_or(""), kind.nth(1).unwrap_or(""));
            let mut fields = mount.split_ascii_whitespace().skip(3);
            let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
            let at = |path: &str| -> Option<PathBuf> {
                let below = Path::new(path).strip_prefix(root).or_else(|_| Path::new(path).strip_prefix("/")).ok()?;
                Some(Path::new(point).join(below))
            };
            match file_system {
                "cgroup2" => {
                    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
                    let own = path.and_then(at);
                    layout.v2 = own.map(|own| match own.parent() {
                        Some(parent) if own.ends_with(HOST_LEAF) => parent.to_path_buf(),
                        _ => own,
                    });
                }
                "cgroup" => {
                    for controller in V1 {
                        if !options.split(',').any(|option| option == controller) {
                            continue;
                        }
                        let path = cgroups.lines().find_map(|line| {
                            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                            controllers.split(',').any(|one| one == controller).then_some(path)
                        });
                        if let Some(own) = path.and_then(at) {
                            layout.v1.insert(controller, own);
                        }
                    }
                }
                _ => {}
            }
        }
        layout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid() {
        let layout = Layout::parse(
            "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
            "9:name=systemd:/\n4:memory:/api/4f41\n1:cpu:/\n0::/\n",
        );
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified/")));
        assert_eq!(layout.v1["memory"], Path::new("/sys/fs/cgroup/memory/api/4f41"));
        assert_eq!(layout.v1["cpu"], Path::new("/sys/fs/cgroup/cpu/"));
        assert!(!layout.v1.contains_key("pids"));
    }

    #[test]
    fn unified_below_a_service_that_moved_itself() {
        let layout = Layout::parse(
            "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/app.service/glasshouse.host\n",
        );
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/user.slice/app.service")));
    }

    #[test]
    fn joined_controllers_in_a_container() {
        let layout = Layout::parse(
            "50 40 0:30 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n",
            "3:cpu,cpuacct:/docker/abc/sub\n",
        );
        assert_eq!(layout.v1["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct/sub"));
        assert_eq!(layout.v1["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct/sub"));
    }
}
