//! Attempts at taking more than a share.

use std::{fs, io::Write, path::Path};

use crate::attacks::Attack;

pub(crate) fn find(name: &str) -> Option<Attack> {
    let attack: Attack = match name {
        "fork-bomb" => fork_bomb,
        "thread-bomb" => thread_bomb,
        "memory-bomb" => memory_bomb,
        "fill" => fill,
        "fill-inodes" => fill_inodes,
        "big-file" => big_file,
        _ => return None,
    };
    Some(attack)
}

fn number(args: &[&str], index: usize) -> Result<usize, String> {
    args.get(index).and_then(|arg| arg.parse().ok()).ok_or_else(|| "number missing".to_owned())
}

/// Starts as many processes as asked for.
fn fork_bomb(args: &[&str]) -> Result<String, String> {
    let wanted = number(args, 0)?;
    let mut children = Vec::new();
    let mut refused = None;
    for _ in 0..wanted {
        // SAFETY: this program has one thread; the child only waits to be killed.
        match unsafe { libc::fork() } {
            0 => loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            },
            pid if pid > 0 => children.push(pid),
            _ => {
                refused = Some(format!("{} after {}", crate::sys::last(), children.len()));
                break;
            }
        }
    }
    for pid in &children {
        // SAFETY: a child of ours.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    for pid in &children {
        // SAFETY: a child of ours; the status is not wanted.
        unsafe { libc::waitpid(*pid, std::ptr::null_mut(), 0) };
    }
    refused.map_or_else(|| Ok(format!("{wanted} processes")), Err)
}

/// Starts as many threads as asked for.
fn thread_bomb(args: &[&str]) -> Result<String, String> {
    let wanted = number(args, 0)?;
    for count in 0..wanted {
        let thread = std::thread::Builder::new().stack_size(64 * 1024).spawn(|| {
            loop {
                std::thread::park();
            }
        });
        if let Err(error) = thread {
            return Err(format!("{error} after {count}"));
        }
    }
    Ok(format!("{wanted} threads"))
}

/// Takes as many MiB as asked for, and touches them.
fn memory_bomb(args: &[&str]) -> Result<String, String> {
    let wanted = number(args, 0)?;
    let mut held = Vec::new();
    for count in 0..wanted {
        let mut part = Vec::<u8>::new();
        if part.try_reserve_exact(1 << 20).is_err() {
            return Err(format!("no more after {count} MiB"));
        }
        part.resize(1 << 20, 1);
        std::hint::black_box(&mut part);
        held.push(part);
    }
    Ok(format!("{wanted} MiB"))
}

/// Writes as many MiB as asked for into a directory.
fn fill(args: &[&str]) -> Result<String, String> {
    let wanted = number(args, 1)?;
    let path = Path::new(args[0]).join("filling");
    let mut file = fs::File::create(&path).map_err(|e| e.to_string())?;
    let block = vec![1_u8; 1 << 20];
    let mut result = Ok(format!("{wanted} MiB"));
    for count in 0..wanted {
        if let Err(error) = file.write_all(&block) {
            result = Err(format!("{error} after {count} MiB"));
            break;
        }
    }
    let _ = fs::remove_file(path);
    result
}

/// Makes as many empty files as asked for.
fn fill_inodes(args: &[&str]) -> Result<String, String> {
    let wanted = number(args, 1)?;
    let mut result = Ok(format!("{wanted} files"));
    let mut made = 0;
    for count in 0..wanted {
        if let Err(error) = fs::File::create(Path::new(args[0]).join(format!("f{count}"))) {
            result = Err(format!("{error} after {count}"));
            break;
        }
        made += 1;
    }
    for count in 0..made {
        let _ = fs::remove_file(Path::new(args[0]).join(format!("f{count}")));
    }
    result
}

/// Makes one file of as many MiB as asked for, without writing them.
fn big_file(args: &[&str]) -> Result<String, String> {
    // SAFETY: the signal that tells of the limit would end us before we can report it.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let path = Path::new(args[0]).join("big");
    let size = (number(args, 1)? as u64) << 20;
    let result = fs::File::create(&path).and_then(|file| file.set_len(size));
    let _ = fs::remove_file(path);
    result.map(|()| format!("{size} bytes")).map_err(|e| e.to_string())
}
