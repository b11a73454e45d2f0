//! Output of the programs: the last lines in memory for messages, more in a file of bounded size.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::fd::OwnedFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Size at which a log file starts over, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Lines and bytes per line kept in memory.
const MAX_LINES: usize = 20;
const MAX_LINE: u64 = 500;

/// The log of one program across its restarts.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// A descriptor to give to the program as its output. A thread reads it until all holders have closed it.
    pub(crate) fn open(&self, path: &Path) -> std::io::Result<OwnedFd> {
        let (read, write) = std::io::pipe()?;
        let file = File::options().append(true).create(true).open(path)?;
        let lines = Arc::clone(&self.0);
        lines.lock().clear();
        std::thread::Builder::new().name("log".into()).spawn(move || copy(read, file, &lines))?;
        Ok(write.into())
    }

    /// The last lines of a program that has just ended: waits a moment for what is still on its way.
    pub(crate) fn settled_tail(&self, count: usize) -> String {
        let deadline = Instant::now() + Duration::from_millis(500);
        // The reading thread drops its share when the program's end is closed.
        while Arc::strong_count(&self.0) > 1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.tail(count)
    }

    /// The last `count` lines, joined.
    pub(crate) fn tail(&self, count: usize) -> String {
        let lines = self.0.lock();
        let skip = lines.len().saturating_sub(count);
        lines.iter().skip(skip).cloned().collect::<Vec<_>>().join("; ")
    }
}

fn copy(pipe: impl Read, mut file: File, lines: &Mutex<VecDeque<String>>) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match pipe.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A full disk must not stop the program that logs.
        if file.seek(SeekFrom::End(0)).is_ok_and(|size| size > MAX_FILE) {
            let _ = file.set_len(0);
        }
        let _ = file.write_all(&line);
        let text = String::from_utf8_lossy(&line).trim().to_owned();
        if !text.is_empty() {
            let mut lines = lines.lock();
            if lines.len() == MAX_LINES {
                lines.pop_front();
            }
            lines.push_back(text);
        }
    }
}
