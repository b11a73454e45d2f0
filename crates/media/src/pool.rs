//! Buffers of encoded frames that return to their pool when the frame is dropped.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

/// Buffers kept for reuse; more than this are freed.
const MAX_BUFFERS: usize = 16;
/// A buffer that one huge frame blew up beyond this is freed, not kept.
const MAX_KEPT_BYTES: usize = 1 << 20;

/// A bounded stock of empty buffers.
#[derive(Default)]
pub(crate) struct Pool {
    free: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    /// An empty buffer, with the capacity of an earlier frame if there is one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.free.lock().pop().unwrap_or_default()
    }

    /// Wraps a filled buffer that comes back to this pool.
    pub(crate) fn wrap(self: &Arc<Self>, bytes: Vec<u8>) -> FrameData {
        FrameData { bytes, pool: Arc::downgrade(self) }
    }

    fn put(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut free = self.free.lock();
        if free.len() < MAX_BUFFERS && buffer.capacity() <= MAX_KEPT_BYTES {
            free.push(buffer);
        }
    }
}

/// Bytes of one encoded frame; the buffer returns to its encoder's pool when this is dropped.
pub struct FrameData {
    bytes: Vec<u8>,
    pool: Weak<Pool>,
}

impl Deref for FrameData {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsRef<[u8]> for FrameData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Data of frames that do not come from an encoder, such as in tests of consumers.
impl From<Vec<u8>> for FrameData {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, pool: Weak::new() }
    }
}

impl fmt::Debug for FrameData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameData({} bytes)", self.bytes.len())
    }
}

impl Drop for FrameData {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            pool.put(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_the_stock_is_bounded() {
        let pool = Arc::new(Pool::default());
        let frames: Vec<_> = (0..MAX_BUFFERS + 5).map(|_| pool.wrap(vec![1; 100])).collect();
        drop(frames);
        assert_eq!(pool.free.lock().len(), MAX_BUFFERS);
        let buffer = pool.take();
        assert!(buffer.is_empty() && buffer.capacity() >= 100);
        drop(pool.wrap(vec![0; MAX_KEPT_BYTES + 1]));
        assert_eq!(pool.free.lock().len(), MAX_BUFFERS - 1);
    }
}
