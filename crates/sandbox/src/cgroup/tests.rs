//! Version 2 with all controllers is not on every machine: its files are tested on a directory that looks like it.

use super::*;

struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("glasshouse-cgroup-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn version_2_limits_are_written_where_its_files_are() {
    let fake = Fake::new("limits");
    fs::write(fake.0.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
    fs::write(fake.0.join("cgroup.subtree_control"), "memory pids cpu\n").unwrap();
    let layout = Layout { v2: Some(fake.0.clone()), ..Layout::default() };
    let limits = Limits { memory: 300 << 20, pids: 77, cpu_weight: 50, cpu_percent: Some(150), ..Limits::default() };
    let cgroup = Cgroup::create_in(&layout, "one", &limits);
    assert_eq!(cgroup.missing(), &[] as &[&str]);
    let dir = fake.0.join("glasshouse-one");
    let read = |file: &str| fs::read_to_string(dir.join(file)).unwrap();
    assert_eq!(read("memory.max"), (300_u64 << 20).to_string());
    assert_eq!(read("pids.max"), "77");
    assert_eq!(read("cpu.max"), "150000 100000");
    assert_eq!(read("cpu.weight"), "50");
    assert_eq!(cgroup.entry(), Entry { tasks: Vec::new(), unified: Some(dir.clone()) });
    fs::write(dir.join("memory.events"), "low 0\noom 2\noom_kill 1\n").unwrap();
    fs::write(dir.join("memory.current"), "4096\n").unwrap();
    fs::write(dir.join("cpu.stat"), "usage_usec 1500\nuser_usec 1\n").unwrap();
    let usage = cgroup.usage();
    assert_eq!((usage.memory, usage.cpu, usage.memory_kills), (Some(4096), Some(Duration::from_micros(1500)), Some(1)));
    assert!(usage.reached().unwrap().contains("memory limit"));
}

#[test]
fn controllers_that_are_not_there_are_named() {
    let fake = Fake::new("missing");
    fs::write(fake.0.join("cgroup.controllers"), "memory\n").unwrap();
    fs::write(fake.0.join("cgroup.subtree_control"), "").unwrap();
    let layout = Layout { v2: Some(fake.0.clone()), ..Layout::default() };
    let cgroup = Cgroup::create_in(&layout, "two", &Limits::default());
    assert_eq!(cgroup.missing(), &["pids", "cpu"]);
    assert!(fs::read_to_string(fake.0.join("cgroup.subtree_control")).unwrap().contains("+memory"));
}
