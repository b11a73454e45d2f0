//! The picture as JPEG, for clients that can show nothing better: made of what capture has anyway, only after a change, and only
//! while somebody wants it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType};
use parking_lot::{Condvar, MutexGuard};

use crate::{
    master::{Shared, State},
    pace::Pace,
    picture::Picture,
};

/// Shortest time between two pictures.
pub(crate) const PERIOD: Duration = Duration::from_millis(200);
/// JPEG quality.
const QUALITY: u8 = 80;

/// One picture of the whole screen.
#[derive(Debug, PartialEq, Eq)]
pub struct Still {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// JPEG (JFIF).
    pub jpeg: Vec<u8>,
}

/// Receives pictures.
pub(crate) type StillSink = Arc<dyn Fn(&Arc<Still>) + Send + Sync>;

/// Somebody who wants pictures, until this is dropped.
pub struct Stills {
    shared: Arc<Shared>,
    reader: u64,
}

impl std::fmt::Debug for Stills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stills").field("reader", &self.reader).finish_non_exhaustive()
    }
}

impl Drop for Stills {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        let Some(slot) = &mut state.stills else { return };
        slot.readers.retain(|reader| reader.id != self.reader);
        if !slot.readers.is_empty() {
            return;
        }
        if let Some(slot) = state.stills.take() {
            slot.end();
        }
        if state.period().is_none() {
            // From here on changes go unseen; the next to come gets a fresh look.
            state.valid = false;
            drop(state);
            self.shared.wake_capture();
        }
    }
}

/// Those who want pictures, and what they have still to see.
pub(crate) struct Slot {
    /// Tells this thread's run from an earlier one.
    serial: u64,
    /// Whether it has its thread.
    started: bool,
    readers: Vec<Reader>,
    changed: bool,
    ready: Arc<Condvar>,
}

struct Reader {
    id: u64,
    sink: StillSink,
    /// It has got no picture yet.
    is_new: bool,
}

impl Slot {
    /// The picture has changed.
    pub(crate) fn changed(&mut self) {
        self.changed = true;
        self.ready.notify_one();
    }

    /// Lets the thread see that nobody wants pictures any more.
    pub(crate) fn end(self) {
        self.ready.notify_all();
    }

    /// Who is to get the present picture: all after a change, else those who have none.
    fn take(&mut self) -> Vec<StillSink> {
        let all = std::mem::take(&mut self.changed);
        let due = self.readers.iter_mut().filter_map(|reader| {
            let is_due = std::mem::take(&mut reader.is_new) || all;
            is_due.then(|| reader.sink.clone())
        });
        due.collect()
    }
}

/// Adds somebody; the second value is the thread to be started, if there is none yet.
pub(crate) fn join(shared: &Arc<Shared>, sink: StillSink) -> (Stills, Option<Worker>) {
    let reader = shared.next_serial();
    let mut state = shared.state.lock();
    let slot = state.stills.get_or_insert_with(|| Slot {
        serial: reader,
        started: false,
        readers: Vec::new(),
        changed: false,
        ready: Arc::default(),
    });
    slot.readers.push(Reader { id: reader, sink, is_new: true });
    slot.ready.notify_one();
    let worker = (!std::mem::replace(&mut slot.started, true)).then(|| Worker {
        shared: shared.clone(),
        serial: slot.serial,
        pace: Pace::new(Instant::now()),
    });
    drop(state);
    (Stills { shared: shared.clone(), reader }, worker)
}

/// The thread could not be started.
pub(crate) fn failed(shared: &Shared) {
    if let Some(slot) = &mut shared.state.lock().stills {
        slot.started = false;
    }
}

/// The thread that makes pictures.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    serial: u64,
    pace: Pace,
}

impl Worker {
    /// Runs until nobody wants pictures.
    pub(crate) fn run(mut self) {
        let shared = self.shared.clone();
        let mut state = shared.state.lock();
        loop {
            let is_shown = state.valid;
            let Some(slot) = state.stills.as_mut().filter(|slot| slot.serial == self.serial) else { return };
            let ready = slot.ready.clone();
            if !is_shown || !slot.changed && !slot.readers.iter().any(|reader| reader.is_new) {
                ready.wait(&mut state);
                continue;
            }
            let (now, next) = (Instant::now(), self.pace.next());
            if next > now {
                ready.wait_until(&mut state, next);
                continue;
            }
            self.pace.take(PERIOD, now);
            let sinks = slot.take();
            self.make(&mut state, &sinks);
        }
    }

    fn make(&self, state: &mut MutexGuard<'_, State>, sinks: &[StillSink]) {
        let picture = state.picture.clone();
        MutexGuard::unlocked(state, || match encode(&picture) {
            Ok(still) => {
                let still = Arc::new(still);
                sinks.iter().for_each(|sink| sink(&still));
            }
            Err(error) => tracing::error!(%error, "no JPEG picture is made"),
        });
    }
}

fn encode(picture: &Picture) -> Result<Still, jpeg_encoder::EncodingError> {
    let planes = Planes::new(picture);
    let (width, height) = (planes.width(), planes.height());
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, QUALITY).encode_image(planes)?;
    Ok(Still { width, height, jpeg })
}

/// Planes of video, which have a limited range, as JPEG has them: BT.601 with the full range (JFIF 1.02).
struct Planes<'a> {
    picture: &'a Picture,
    luma: [u8; 256],
    chroma: [u8; 256],
}

impl<'a> Planes<'a> {
    fn new(picture: &'a Picture) -> Self {
        let stretched = |zero: f64, range: f64, centre: f64| {
            // A float is cut to the range of the number.
            std::array::from_fn(|value| ((value as f64 - zero) * 255.0 / range + centre).round() as u8)
        };
        Self { picture, luma: stretched(16.0, 219.0, 0.0), chroma: stretched(128.0, 224.0, 128.0) }
    }
}

impl ImageBuffer for Planes<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        // The X protocol has no larger screens.
        self.picture.width as u16
    }

    fn height(&self) -> u16 {
        self.picture.height as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let (y, width) = (usize::from(y), self.picture.width);
        let row = |plane: usize, line: usize, length: usize| {
            let start = line * self.picture.stride_of(plane);
            &self.picture.planes[plane][start..start + length]
        };
        buffers[0].extend(row(0, y, width).iter().map(|value| self.luma[usize::from(*value)]));
        for plane in [1, 2] {
            let pairs = row(plane, y / 2, width.div_ceil(2)).iter().map(|value| self.chroma[usize::from(*value)]);
            buffers[plane].extend(pairs.flat_map(|value| [value; 2]).take(width));
        }
    }
}
