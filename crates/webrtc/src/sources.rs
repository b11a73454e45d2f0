//! Where frames come from, as the engine sees it.

use std::sync::Arc;

use glasshouse_media::{Audio, Rendition, Video};

use crate::inbox::{self, Inbox};

/// What the engine asks of video and sound. Calls come from the engine's thread and must not block.
pub trait Sources: Send {
    /// One more viewer shows the rendition; a key frame is wanted.
    fn acquire(&self, rendition: Rendition);
    /// One viewer less.
    fn release(&self, rendition: Rendition);
    /// A viewer cannot go on without a key frame.
    fn request_key_frame(&self, rendition: Rendition);
    /// The viewers of the rendition can take this many bit/s.
    fn set_bit_rate(&self, rendition: Rendition, bits_per_second: u32);
    /// One more listener.
    fn acquire_audio(&self);
    /// One listener less.
    fn release_audio(&self);
    /// One more viewer paints patches.
    fn acquire_patches(&self) {}
    /// One viewer less.
    fn release_patches(&self) {}
}

/// The session's own video and sound.
pub(crate) struct Media {
    pub(crate) video: Arc<Video>,
    pub(crate) audio: Option<Arc<Audio>>,
    /// Where patches go.
    pub(crate) inbox: Arc<Inbox>,
}

impl Sources for Media {
    fn acquire(&self, rendition: Rendition) {
        self.video.acquire(rendition);
    }

    fn release(&self, rendition: Rendition) {
        self.video.release(rendition);
    }

    fn request_key_frame(&self, rendition: Rendition) {
        self.video.request_key_frame(rendition);
    }

    fn set_bit_rate(&self, rendition: Rendition, bits_per_second: u32) {
        self.video.set_bit_rate(rendition, bits_per_second);
    }

    fn acquire_audio(&self) {
        if let Some(audio) = &self.audio {
            audio.acquire();
        }
    }

    fn release_audio(&self) {
        if let Some(audio) = &self.audio {
            audio.release();
        }
    }

    fn acquire_patches(&self) {
        let inbox = Arc::clone(&self.inbox);
        self.video.acquire_patches(Arc::new(move |patch| inbox.media(inbox::Media::Patch(patch))));
    }

    fn release_patches(&self) {
        self.video.release_patches();
    }
}
