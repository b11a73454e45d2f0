//! Gives memory back that only the start, or the last burst of work, needed.

use std::{fs, sync::Weak, time::Duration};

use glasshouse_media::Video;

/// How long nothing may have been encoded before memory is given back.
const STILL: Duration = Duration::from_secs(5);

/// Gives memory back whenever nothing was encoded for a while, once after each time that something was. Ends with the video.
pub(crate) async fn whenever_still(video: Weak<Video>) {
    let (mut last, mut given_at) = (None, None);
    while let Some(now) = video.upgrade().map(|video| frames(&video)) {
        if last == Some(now) && given_at != last {
            give_back();
            given_at = last;
        }
        last = Some(now);
        tokio::time::sleep(STILL).await;
    }
}

/// Changes with every frame, and with renditions that come and go.
fn frames(video: &Video) -> (usize, u64) {
    let stats = video.stats();
    (stats.len(), stats.iter().map(|rendition| rendition.frames).sum())
}

/// Returns free heap, and the pages of this program's own code: those that are needed come back from the page cache one by
/// one, and most were needed by the start alone.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointer, and may be called at any time from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    let here = give_back as *const () as usize;
    let Some((start, end)) = maps.lines().filter_map(code).find(|(start, end)| (*start..*end).contains(&here)) else {
        return;
    };
    // SAFETY: a private mapping of a file that was never written to reads the same after it is dropped; `code` sees to that.
    unsafe {
        libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED);
    }
}

/// The addresses of a line of `/proc/self/maps` that is a private, executable mapping of a file which nobody can write to.
fn code(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, file) = (fields.next()?, fields.next()?, fields.nth(3)?);
    if rights != "r-xp" || !file.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_nobody_writes_is_dropped() {
        assert_eq!(code("55d0-55e0 r-xp 00001000 fe:00 123   /usr/bin/glasshouse"), Some((0x55d0, 0x55e0)));
        for line in [
            "55d0-55e0 rwxp 00001000 fe:00 123 /usr/bin/glasshouse",
            "55d0-55e0 r-xs 00001000 fe:00 123 /usr/bin/glasshouse",
            "55d0-55e0 r--p 00001000 fe:00 123 /usr/bin/glasshouse",
            "7ffc-7ffd r-xp 00000000 00:00 0 [vdso]",
            "7ffc-7ffd r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code(line), None, "{line}");
        }
    }

    #[test]
    fn the_program_goes_on_and_its_code_is_no_longer_resident() {
        let resident = || {
            let smaps = fs::read_to_string("/proc/self/smaps").expect("our own");
            let here = give_back as *const () as usize;
            let mut lines = smaps.lines().skip_while(|line| !code(line).is_some_and(|(s, e)| (s..e).contains(&here)));
            let line = lines.find(|line| line.starts_with("Rss:")).expect("every mapping has one");
            line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
        };
        // Everything of the program is read once.
        let program = fs::read("/proc/self/exe").expect("our own");
        assert!(!program.is_empty());
        let maps = fs::read_to_string("/proc/self/maps").expect("our own");
        let here = give_back as *const () as usize;
        let (start, end) = maps.lines().filter_map(code).find(|(s, e)| (*s..*e).contains(&here)).expect("our code");
        for address in (start..end).step_by(4096) {
            // SAFETY: within a mapping that is readable.
            unsafe { std::ptr::read_volatile(address as *const u8) };
        }
        let before = resident();
        give_back();
        let after = resident();
        assert!(after < before / 2, "{before} KiB before, {after} KiB after");
    }
}
