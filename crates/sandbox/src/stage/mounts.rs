//! The file system that a session sees.

use std::{
    ffi::CStr,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, OFlags, fstat, symlinkat},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
        fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
    },
};

use super::{
    Failed, Step, etc,
    files::{make_dir, make_file, open_beneath, write_file},
};
use crate::{
    config::{Bind, Executable, HOME, Home, RUNTIME_DIR},
    plan::Build,
};

/// Where the stage's own executable is inside: mounted read-only, so that a session cannot change the host's file
/// through `/proc/1/exe` even where it belongs to the user who runs us (as in CVE-2019-5736).
const INIT: &str = "/.init";

/// Files in /proc that tell about the host and are of no use inside.
const MASKED: &[&str] =
    &["cmdline", "kallsyms", "kcore", "key-users", "keys", "modules", "sched_debug", "sysrq-trigger", "timer_list"];

const LOCKED_DOWN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// A copy of a mount of the host, attached nowhere yet.
struct Source {
    tree: OwnedFd,
    target: PathBuf,
    directory: bool,
}

/// Everything of the host that will be visible inside.
pub(crate) struct Sources {
    mounts: Vec<Source>,
    devices: Vec<Source>,
    home: Option<Source>,
    binds: Vec<Source>,
    init: Option<Source>,
    links: Vec<(PathBuf, PathBuf)>,
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

fn set_attributes(mount: BorrowedFd<'_>, set: MountAttrFlags, recursive: bool) -> io::Result<()> {
    // Nothing that the host mounts later appears inside, nor the other way round.
    const PRIVATE: u64 = 1 << 18;
    let attr = MountAttr { set: u64::from(set.bits()), clear: 0, propagation: PRIVATE, user_namespace: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let empty: &CStr = c"";
    // SAFETY: all pointers are to live data of the size that is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn copy(source: &Path, target: PathBuf, set: MountAttrFlags, follow: bool) -> io::Result<Source> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    if !follow {
        flags |= OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    }
    let tree = open_tree(CWD, source, flags)?;
    let kind = FileType::from_raw_mode(fstat(&tree)?.st_mode);
    if kind == FileType::Symlink {
        return Err(io::Error::other("it is a symbolic link: name what it points to"));
    }
    set_attributes(tree.as_fd(), set, true)?;
    Ok(Source { tree, target, directory: kind == FileType::Directory })
}

/// Copies every mount that is needed. Must run where the host's paths can be reached.
pub(super) fn open_sources(plan: &Build) -> Result<Sources, Failed> {
    let system = LOCKED_DOWN | MountAttrFlags::MOUNT_ATTR_RDONLY;
    let data = system | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mut mounts = vec![copy(Path::new("/usr"), "/usr".into(), system, true).step("bind /usr")?];
    let mut links = Vec::new();
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = Path::new("/").join(name);
        match fs::read_link(&path) {
            Ok(link) => links.push((link, path)),
            Err(_) if path.is_dir() => {
                mounts.push(copy(&path, path.clone(), system, true).step(format!("bind {}", path.display()))?);
            }
            Err(_) => {}
        }
    }
    let optional = etc::FROM_HOST.iter().map(|name| Path::new("/etc").join(name));
    for path in optional.chain([PathBuf::from("/var/cache/fontconfig")]) {
        if path.exists() {
            // These may be links themselves, such as localtime; what is bound is what they lead to.
            mounts.push(copy(&path, path.clone(), data, true).step(format!("bind {}", path.display()))?);
        }
    }
    let mut devices = Vec::new();
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let path = Path::new("/dev").join(name);
        let set = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        devices.push(copy(&path, path.clone(), set, true).step(format!("bind {}", path.display()))?);
    }
    let home = match &plan.home {
        Home::Memory { .. } => None,
        Home::Directory(dir) => {
            Some(copy(dir, HOME.into(), LOCKED_DOWN, false).step(format!("bind HOME {}", dir.display()))?)
        }
    };
    let mut binds = Vec::new();
    for bind in &plan.binds {
        if let Some(source) = open_bind(bind)? {
            binds.push(source);
        }
    }
    let init = match plan.start.program.executable {
        Executable::Stage => open_self(system)?,
        Executable::Inside(_) => None,
    };
    Ok(Sources { mounts, devices, home, binds, init, links })
}

fn open_bind(bind: &Bind) -> Result<Option<Source>, Failed> {
    let mut set = LOCKED_DOWN;
    if !bind.writable {
        set |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if !bind.executable {
        set |= MountAttrFlags::MOUNT_ATTR_NOEXEC;
    }
    match copy(&bind.source, bind.target.clone(), set, false) {
        Err(error) if bind.optional && error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).step(format!("bind {}", bind.source.display())),
    }
}

/// A mount of our own executable; `None` if its file was replaced or removed since.
fn open_self(set: MountAttrFlags) -> Result<Option<Source>, Failed> {
    let link = Path::new("/proc/self/exe");
    let ours = fs::metadata(link).step("find our executable")?;
    let path = fs::read_link(link).step("find our executable")?;
    match fs::metadata(&path) {
        Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => {
            copy(&path, INIT.into(), set, true).map(Some).step("bind our executable")
        }
        _ => Ok(None),
    }
}

fn memory(options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    file_system("tmpfs", options, attributes)
}

fn file_system(kind: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

fn attach(mount: &OwnedFd, place: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount.as_fd(), "", place.as_fd(), "", flags)?)
}

fn place(root: &OwnedFd, source: &Source) -> Result<(), Failed> {
    let at = if source.directory { make_dir(root, &source.target, 0o755) } else { make_file(root, &source.target) };
    let at = at.step(format!("make {} inside", source.target.display()))?;
    attach(&source.tree, &at).step(format!("mount {} inside", source.target.display()))
}

/// Builds the new root, moves there and lets the old one go. Returns the path of the program to execute.
pub(super) fn build(plan: &Build, sources: Sources) -> Result<PathBuf, Failed> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).step("make mounts private")?;
    let root = memory(&[("mode", "0755"), ("size", "4m"), ("nr_inodes", "4k")], LOCKED_DOWN).step("make a root")?;
    // Any directory will do: the mount goes away with the old root.
    let spot = ["/tmp", "/run", "/mnt", "/usr"].iter().find(|path| Path::new(path).is_dir()).unwrap_or(&"/usr");
    move_mount(root.as_fd(), "", CWD, *spot, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).step("attach the root")?;
    for source in &sources.mounts {
        place(&root, source)?;
    }
    for (link, path) in &sources.links {
        symlinkat(link, &root, path.strip_prefix("/").unwrap_or(path)).step(format!("link {}", path.display()))?;
    }
    mount_proc(&root)?;
    mount_devices(&root, &sources.devices, plan.sizes.shm)?;
    mount_memory(&root, plan)?;
    write_etc(&root, plan)?;
    if let Some(home) = &sources.home {
        place(&root, home)?;
    }
    for bind in &sources.binds {
        place(&root, bind)?;
    }
    let executable = match &plan.start.program.executable {
        Executable::Inside(path) => path.clone(),
        Executable::Stage => {
            match &sources.init {
                Some(init) => place(&root, init)?,
                None => copy_self(&root)?,
            }
            INIT.into()
        }
    };
    set_attributes(root.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false).step("make the root read-only")?;
    drop(sources);
    move_into(&root)?;
    Ok(executable)
}

/// Our executable as a file in memory, where the one on disk is gone.
fn copy_self(root: &OwnedFd) -> Result<(), Failed> {
    let mount = memory(&[("mode", "0755"), ("size", "512m"), ("nr_inodes", "8")], LOCKED_DOWN)
        .step("make a place for our executable")?;
    let directory = make_dir(root, Path::new("/.exe"), 0o755).step("make /.exe")?;
    attach(&mount, &directory).step("mount /.exe")?;
    let content = fs::read("/proc/self/exe").step("read our executable")?;
    write_file(&mount, Path::new("init"), &content, 0o755).step("copy our executable")?;
    set_attributes(mount.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false).step("make /.exe read-only")?;
    symlinkat(".exe/init", root, INIT.trim_start_matches('/')).step("link our executable")
}

fn mount_proc(root: &OwnedFd) -> Result<(), Failed> {
    let attributes = LOCKED_DOWN | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let proc = file_system("proc", &[], attributes).step("mount /proc")?;
    let at = make_dir(root, Path::new("/proc"), 0o755).step("make /proc")?;
    attach(&proc, &at).step("mount /proc")?;
    let read_only = attributes | MountAttrFlags::MOUNT_ATTR_RDONLY;
    for name in ["sys", "irq", "bus", "fs"] {
        let Ok(at) = open_beneath(&proc, Path::new(name), OFlags::PATH) else { continue };
        let tree = clone_at(&at).step(format!("bind /proc/{name}"))?;
        set_attributes(tree.as_fd(), read_only, true).step(format!("make /proc/{name} read-only"))?;
        attach(&tree, &at).step(format!("mount /proc/{name}"))?;
    }
    for name in MASKED {
        let Ok(at) = open_beneath(&proc, Path::new(name), OFlags::PATH) else { continue };
        let null = copy(
            Path::new("/dev/null"),
            PathBuf::new(),
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
            true,
        )
        .step("bind /dev/null")?;
        attach(&null.tree, &at).step(format!("mask /proc/{name}"))?;
    }
    Ok(())
}

fn clone_at(at: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(at, "", flags)?)
}

fn mount_devices(root: &OwnedFd, devices: &[Source], shm: u64) -> Result<(), Failed> {
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let dev = memory(&[("mode", "0755"), ("size", "64k"), ("nr_inodes", "64")], attributes).step("mount /dev")?;
    let at = make_dir(root, Path::new("/dev"), 0o755).step("make /dev")?;
    attach(&dev, &at).step("mount /dev")?;
    for device in devices {
        place(root, device)?;
    }
    let pts = file_system("devpts", &[("ptmxmode", "0666"), ("mode", "0620")], attributes).step("mount /dev/pts")?;
    let at = make_dir(&dev, Path::new("pts"), 0o755).step("make /dev/pts")?;
    attach(&pts, &at).step("mount /dev/pts")?;
    let sealed = LOCKED_DOWN | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    sized(root, "/dev/shm", shm, 0o1777, sealed)?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (link, name) in links {
        symlinkat(link, &dev, name).step(format!("link /dev/{name}"))?;
    }
    set_attributes(dev.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, false).step("make /dev read-only")
}

fn sized(root: &OwnedFd, path: &str, size: u64, mode: u32, attributes: MountAttrFlags) -> Result<OwnedFd, Failed> {
    // One inode for each 8 KiB, so that empty files cannot take more memory than their size says.
    let options =
        [("mode", format!("{mode:o}")), ("size", size.to_string()), ("nr_inodes", (size / 8192 + 64).to_string())];
    let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mount = memory(&options, attributes).step(format!("make {path}"))?;
    let at = make_dir(root, Path::new(path), 0o755).step(format!("make {path}"))?;
    attach(&mount, &at).step(format!("mount {path}"))?;
    Ok(mount)
}

fn mount_memory(root: &OwnedFd, plan: &Build) -> Result<(), Failed> {
    let sealed = LOCKED_DOWN | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let tmp = sized(root, "/tmp", plan.sizes.tmp, 0o1777, sealed)?;
    for name in [".X11-unix", ".ICE-unix"] {
        let directory = make_dir(&tmp, Path::new(name), 0o777).step(format!("make /tmp/{name}"))?;
        drop(directory);
        rustix::fs::chmodat(&tmp, name, rustix::fs::Mode::from_raw_mode(0o1777), rustix::fs::AtFlags::empty())
            .step(format!("make /tmp/{name}"))?;
    }
    let run = sized(root, "/run", plan.sizes.run, 0o755, sealed)?;
    let inside_run = Path::new(RUNTIME_DIR).strip_prefix("/run").unwrap_or(Path::new("user"));
    make_dir(&run, inside_run, 0o700).step("make the runtime directory")?;
    if let Home::Memory { size } = plan.home {
        sized(root, HOME, size, 0o700, LOCKED_DOWN)?;
    }
    make_dir(root, Path::new("/var/lib"), 0o755).step("make /var")?;
    for (link, name) in [("/tmp", "var/tmp"), ("/run", "var/run")] {
        symlinkat(link, root, name).step(format!("link /{name}"))?;
    }
    Ok(())
}

fn write_etc(root: &OwnedFd, plan: &Build) -> Result<(), Failed> {
    let mut random = [0_u8; 16];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty()).step("getrandom")?;
    let machine_id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    for (name, content) in etc::generated(&plan.hostname, &machine_id) {
        let path = Path::new("/etc").join(name);
        write_file(root, &path, content.as_bytes(), 0o644).step(format!("write {}", path.display()))?;
    }
    symlinkat("/proc/self/mounts", root, "etc/mtab").step("link /etc/mtab")
}

fn move_into(root: &OwnedFd) -> Result<(), Failed> {
    rustix::process::fchdir(root).step("enter the root")?;
    // With both the same, the old root is mounted over the new one, and is what "." then unmounts (pivot_root(2)).
    rustix::process::pivot_root(".", ".").step("pivot_root")?;
    unmount(".", UnmountFlags::DETACH).step("unmount the old root")?;
    rustix::process::chdir("/").step("chdir")
}
