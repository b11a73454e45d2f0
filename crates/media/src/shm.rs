//! Memory shared with the X server by descriptor, so that it works across ipc namespaces and users.

use std::{io, os::fd::OwnedFd, ptr::NonNull};

use rustix::{
    fs::{MemfdFlags, SealFlags},
    mm::{MapFlags, ProtFlags},
};

/// A sealed memory file and our mapping of it.
#[derive(Debug)]
pub struct SharedMemory {
    address: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// Maps new memory; the descriptor is for the X server.
    ///
    /// # Errors
    /// The kernel refuses, for want of memory or descriptors.
    pub fn new(length: usize) -> io::Result<(Self, OwnedFd)> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("glasshouse-capture", flags)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        // Nobody may shrink it, or touching our mapping would raise SIGBUS.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let address = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &file,
                0,
            )?
        };
        let address = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok((Self { address, length }, file))
    }

    /// Length in bytes.
    #[allow(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> usize {
        self.length
    }

    /// What the server wrote there. Call only between the reply to one request to write and the next request.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `length` bytes long, lives as long as `self` and cannot be shrunk (sealed); every
        // byte is a valid u8. The server writes only while it handles a request of ours, and none is under way.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.length) }
    }

    /// Gives the pages back to the kernel; they read as zero until they are written again.
    pub(crate) fn release(&mut self) {
        // SAFETY: the range is our own mapping, and `&mut self` says that no slice of it is in use. The memory stays mapped.
        let released =
            unsafe { rustix::mm::madvise(self.address.as_ptr().cast(), self.length, rustix::mm::Advice::LinuxRemove) };
        debug_assert!(released.is_ok(), "{released:?}");
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and no slice of it outlives `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.address.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok());
    }
}

#[cfg(test)]
mod tests {
    // A panic is how a test fails.
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn released_memory_reads_as_zero_and_takes_new_bytes() {
        let (mut memory, file) = SharedMemory::new(100_000).unwrap();
        for _ in 0..2 {
            rustix::io::pwrite(&file, &[7; 10], 90_000).unwrap();
            assert_eq!(memory.bytes()[90_000..90_010], [7; 10]);
            memory.release();
            assert!(memory.bytes().iter().all(|&byte| byte == 0));
        }
    }
}
