//! Raw system calls.

use std::io;

/// A system call that may fail.
pub(crate) fn call(number: libc::c_long, args: [usize; 6]) -> Result<i64, String> {
    // SAFETY: the callers pass pointers to live data, or values at which the kernel fails.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result < 0 { Err(last()) } else { Ok(result) }
}

/// Same, where these errors mean that the call was let through but its arguments were bad.
pub(crate) fn reaches(number: libc::c_long, args: [usize; 6], let_through: &[i32]) -> Result<String, String> {
    match call(number, args) {
        Ok(value) => Ok(format!("returned {value}")),
        Err(why) => {
            let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
            if let_through.contains(&errno) { Ok(format!("let through: {why}")) } else { Err(why) }
        }
    }
}

/// The last error, in words.
pub(crate) fn last() -> String {
    io::Error::last_os_error().to_string()
}

/// What a call that returns -1 on error says.
pub(crate) fn check(result: libc::c_int) -> Result<libc::c_int, String> {
    if result < 0 { Err(last()) } else { Ok(result) }
}
