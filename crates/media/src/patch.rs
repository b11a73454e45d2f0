//! Small changes as their very pixels, for viewers who paint them before the frame that shows them has been encoded and decoded.
//!
//! A patch is a list of rectangles of 16×16 tiles, each as cheap as its colours allow. All numbers are big-endian:
//!
//! ```text
//! patch     = version:u8 (1)  time:u32  width:u16  height:u16  rectangle*
//! rectangle = column:u16  row:u16  columns:u16  rows:u16        in tiles; then operations for each of its tiles, row by row
//! operation = 0 count:u16                                       so many tiles stay as they are
//!           | 1 count:u16  red:u8 green:u8 blue:u8              so many tiles of one colour
//!           | 2 last:u8  (red green blue){last+1}  indices      one tile of at most 256 colours: 16 rows of 16 indices of 1, 2, 4 or 8
//!                                                               bits, the fewest that do, the highest bits first
//!           | 3 (red green blue){256}                           one tile of more colours
//! ```
//!
//! `time` is the RTP timestamp of the picture: a frame with this timestamp or a later one shows the change itself. `width` and
//! `height` are those of the picture in pixels; what lies outside of it in the last tiles means nothing.

use std::time::{Duration, Instant};

use crate::tiles::{TILE, TileMap, TileRect};

/// First byte of a patch.
const VERSION: u8 = 1;
/// Where the time is; [`Patch::bytes`] leaves it zero.
pub const PATCH_TIME: std::ops::Range<usize> = 1..5;
/// A patch may take so long of the bit rate: 20 ms, as a letter that is sharp at once.
const SHARE: Duration = Duration::from_millis(20);
/// And is never longer than this in bytes.
const MOST_BYTES: usize = 16 << 10;
/// A change comes alone when nothing had changed for so long; patches for one after another would only take the line from frames.
const ALONE: Duration = Duration::from_millis(40);
/// Pixels of a tile.
const PIXELS: usize = TILE * TILE;

const SKIP: u8 = 0;
const SOLID: u8 = 1;
const INDEXED: u8 = 2;
const RAW: u8 = 3;

/// A change as its pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// When the change was noticed.
    pub damaged_at: Instant,
    /// When its pixels were read, as in the frame that shows them.
    pub captured_at: Instant,
    /// The message, with a time of zero at [`PATCH_TIME`].
    pub bytes: Vec<u8>,
}

/// Receives patches; called on the capture thread, must not block.
pub type PatchSink = std::sync::Arc<dyn Fn(Patch) + Send + Sync>;

/// Decides which changes become patches.
#[derive(Default)]
pub(crate) struct Patcher {
    last_change: Option<Instant>,
}

impl Patcher {
    /// Bytes that a patch may have for a change that is noticed now, at the bit rate of those who want it, if any do; `None`: it
    /// gets no patch.
    pub(crate) fn allowance(&mut self, bit_rate: Option<u32>, now: Instant) -> Option<usize> {
        let alone = self.last_change.replace(now).is_none_or(|last| now.saturating_duration_since(last) >= ALONE);
        let share = f64::from(bit_rate.filter(|_| alone)?) / 8.0 * SHARE.as_secs_f64();
        Some((share as usize).min(MOST_BYTES))
    }
}

/// A patch that is being written, up to a number of bytes.
pub(crate) struct Writer<'a> {
    changed: &'a TileMap,
    most: usize,
    bytes: Vec<u8>,
    /// Tiles in a row that are alike, and not written yet.
    run: Option<(Alike, u16)>,
    too_long: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alike {
    Unchanged,
    Solid([u8; 3]),
}

impl<'a> Writer<'a> {
    /// Begins a patch of a picture of so many pixels, for the tiles of `changed`.
    pub(crate) fn new(width: usize, height: usize, changed: &'a TileMap, most: usize) -> Self {
        let mut bytes = vec![VERSION, 0, 0, 0, 0];
        for size in [width, height] {
            bytes.extend((size as u16).to_be_bytes());
        }
        Self { changed, most, bytes, run: None, too_long: false }
    }

    /// Adds the changed tiles of a rectangle: BGRX pixels, `width` × `height` of them, packed without padding between rows.
    pub(crate) fn rectangle(&mut self, rect: &TileRect, width: usize, height: usize, bgrx: &[u8]) {
        if self.too_long || !self.touches(rect) {
            return;
        }
        for number in [rect.col, rect.row, rect.cols, rect.rows] {
            self.bytes.extend((number as u16).to_be_bytes());
        }
        for row in 0..rect.rows {
            for col in 0..rect.cols {
                let at = (rect.row + row) * self.changed.cols() + rect.col + col;
                if self.changed.as_bytes()[at] == 0 {
                    self.alike(Alike::Unchanged);
                } else {
                    self.tile(&tile_of(col, row, width, height, bgrx));
                }
                if self.bytes.len() > self.most {
                    self.too_long = true;
                    return;
                }
            }
        }
        self.end_run();
    }

    /// The patch, unless it would be too long.
    pub(crate) fn finish(self) -> Option<Vec<u8>> {
        (!self.too_long && self.bytes.len() <= self.most).then_some(self.bytes)
    }

    fn touches(&self, rect: &TileRect) -> bool {
        let cols = self.changed.cols();
        let mut rows = self.changed.as_bytes().chunks_exact(cols.max(1)).skip(rect.row).take(rect.rows);
        rows.any(|row| row[rect.col..rect.col + rect.cols].contains(&1))
    }

    fn tile(&mut self, tile: &[[u8; 3]; PIXELS]) {
        if tile.iter().all(|pixel| *pixel == tile[0]) {
            return self.alike(Alike::Solid(tile[0]));
        }
        self.end_run();
        let mut sorted = *tile;
        let colours = distinct(&mut sorted);
        let Some(last) = u8::try_from(colours.len() - 1).ok().filter(|_| colours.len() * 3 + PIXELS < PIXELS * 3)
        else {
            self.bytes.push(RAW);
            return self.bytes.extend(tile.as_flattened());
        };
        self.bytes.extend([INDEXED, last]);
        self.bytes.extend(colours.as_flattened());
        let bits = index_bits(colours.len());
        for group in tile.chunks_exact(8 / bits) {
            let pack = |byte: u8, pixel: &[u8; 3]| {
                // Every colour of the tile is among them.
                let index = colours.binary_search(pixel).unwrap_or(0) as u8;
                (u16::from(byte) << bits) as u8 | index
            };
            self.bytes.push(group.iter().fold(0, pack));
        }
    }

    fn alike(&mut self, what: Alike) {
        match &mut self.run {
            Some((run, count)) if *run == what && *count < u16::MAX => *count += 1,
            _ => {
                self.end_run();
                self.run = Some((what, 1));
            }
        }
    }

    fn end_run(&mut self) {
        let Some((what, count)) = self.run.take() else { return };
        let [high, low] = count.to_be_bytes();
        match what {
            Alike::Unchanged => self.bytes.extend([SKIP, high, low]),
            Alike::Solid([red, green, blue]) => self.bytes.extend([SOLID, high, low, red, green, blue]),
        }
    }
}

/// The colours of a tile, each once and in order.
fn distinct(tile: &mut [[u8; 3]; PIXELS]) -> &[[u8; 3]] {
    tile.sort_unstable();
    let mut last = 0;
    for at in 1..PIXELS {
        if tile[at] != tile[last] {
            last += 1;
            tile[last] = tile[at];
        }
    }
    &tile[..=last]
}

/// Bits of an index into so many colours.
fn index_bits(colours: usize) -> usize {
    match colours {
        0..=2 => 1,
        3..=4 => 2,
        5..=16 => 4,
        _ => 8,
    }
}

/// The pixels of one tile of a rectangle as red, green and blue. Beyond the edge of the picture its last ones are repeated.
fn tile_of(col: usize, row: usize, width: usize, height: usize, bgrx: &[u8]) -> [[u8; 3]; PIXELS] {
    let mut tile = [[0; 3]; PIXELS];
    let (left, top) = (col * TILE, row * TILE);
    for (y, line) in tile.chunks_exact_mut(TILE).enumerate() {
        let start = (top + y).min(height - 1) * width;
        let inside = &bgrx[(start + left) * 4..(start + width.min(left + TILE)) * 4];
        let mut last = [0; 3];
        let (pixels, _) = inside.as_chunks::<4>();
        for (pixel, [blue, green, red, _]) in line.iter_mut().zip(pixels) {
            last = [*red, *green, *blue];
            *pixel = last;
        }
        line[pixels.len()..].fill(last);
    }
    tile
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a viewer makes of a patch: pixels as red, green and blue by tile, `None` where they stay.
    fn read(bytes: &[u8], cols: usize, rows: usize) -> Vec<Option<[[u8; 3]; PIXELS]>> {
        let mut picture = vec![None; cols * rows];
        let number = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let colour = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2]];
        let mut at = 9;
        while at < bytes.len() {
            let (left, top, width, height) = (number(at), number(at + 2), number(at + 4), number(at + 6));
            at += 8;
            let mut done = 0;
            while done < width * height {
                let place = |done: usize| (top + done / width) * cols + left + done % width;
                let operation = bytes[at];
                at += 1;
                match operation {
                    SKIP => {
                        done += number(at);
                        at += 2;
                    }
                    SOLID => {
                        for _ in 0..number(at) {
                            picture[place(done)] = Some([colour(at + 2); PIXELS]);
                            done += 1;
                        }
                        at += 5;
                    }
                    INDEXED => {
                        let colours = usize::from(bytes[at]) + 1;
                        let palette = at + 1;
                        let indices = palette + colours * 3;
                        let bits = index_bits(colours);
                        let index = |pixel: usize| {
                            let bit = pixel * bits;
                            usize::from(bytes[indices + bit / 8] >> (8 - bits - bit % 8)) & ((1 << bits) - 1)
                        };
                        picture[place(done)] = Some(std::array::from_fn(|pixel| colour(palette + index(pixel) * 3)));
                        done += 1;
                        at = indices + PIXELS * bits / 8;
                    }
                    _ => {
                        picture[place(done)] = Some(std::array::from_fn(|pixel| colour(at + pixel * 3)));
                        done += 1;
                        at += PIXELS * 3;
                    }
                }
            }
            assert_eq!(done, width * height, "the operations of a rectangle are for its tiles");
        }
        picture
    }

    /// A picture of 5×2 tiles whose last ones are cut: one colour, two, five, seventeen, and all different.
    fn picture() -> (usize, usize, Vec<u8>) {
        let (width, height) = (5 * TILE - 6, 2 * TILE - 3);
        let pixel = |x: usize, y: usize| {
            let within = x % TILE + y % TILE * TILE;
            match (x / TILE, y / TILE) {
                (0, _) => [7, 8, 9, 0],
                (1, _) => [(within % 2) as u8, 0, 255, 0],
                (2, _) => [(within % 5) as u8, 1, 2, 0],
                (3, _) => [(within % 17) as u8, 3, 4, 0],
                _ => [within as u8, x as u8, y as u8, 0],
            }
        };
        let pixels = (0..width * height).flat_map(|at| pixel(at % width, at / width));
        (width, height, pixels.collect())
    }

    #[test]
    fn a_patch_holds_the_very_pixels_of_the_tiles_that_changed() {
        let (width, height, pixels) = picture();
        let mut changed = TileMap::new(width, height);
        changed.fill();
        let keep = 7;
        let all = changed.clone();
        changed.clear();
        (0..all.len()).filter(|&tile| tile != keep).for_each(|tile| changed.insert(tile));
        let mut writer = Writer::new(width, height, &changed, MOST_BYTES);
        writer.rectangle(&TileRect { col: 0, row: 0, cols: 5, rows: 2 }, width, height, &pixels);
        let bytes = writer.finish().expect("it is short");
        assert_eq!(bytes[..9], [1, 0, 0, 0, 0, 0, width as u8, 0, height as u8]);
        let read = read(&bytes, 5, 2);
        for (tile, read) in read.iter().enumerate() {
            let Some(read) = read else {
                assert_eq!(tile, keep);
                continue;
            };
            assert_ne!(tile, keep);
            for (at, colour) in read.iter().enumerate() {
                let (x, y) = (tile % 5 * TILE + at % TILE, tile / 5 * TILE + at / TILE);
                if x < width && y < height {
                    let pixel = &pixels[(y * width + x) * 4..][..3];
                    assert_eq!([colour[2], colour[1], colour[0]], pixel, "{x},{y}");
                }
            }
        }
    }

    #[test]
    fn a_page_of_one_colour_is_a_few_bytes_and_a_photograph_is_none() {
        let (width, height) = (1280, 720);
        let whole = TileRect { col: 0, row: 0, cols: 80, rows: 45 };
        let mut changed = TileMap::new(width, height);
        changed.fill();
        let write = |pixels: &[u8], most| {
            let mut writer = Writer::new(width, height, &changed, most);
            writer.rectangle(&whole, width, height, pixels);
            writer.finish()
        };
        let flat = [3, 2, 1, 0].repeat(width * height);
        assert_eq!(write(&flat, 40).map(|bytes| bytes.len()), Some(9 + 8 + 6));
        let mut random = 1u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        })
        .take(width * height * 4)
        .collect();
        assert_eq!(write(&noise, MOST_BYTES), None);
    }

    #[test]
    fn only_changes_that_come_alone_have_patches_and_a_poor_line_has_small_ones() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut patcher = Patcher::default();
        assert_eq!(patcher.allowance(Some(100_000_000), at(0)), Some(MOST_BYTES));
        assert_eq!(patcher.allowance(Some(100_000_000), at(33)), None);
        assert_eq!(patcher.allowance(Some(100_000_000), at(66)), None, "motion");
        assert_eq!(patcher.allowance(Some(1_000_000), at(200)), Some(2_500));
        assert_eq!(patcher.allowance(None, at(300)), None, "nobody wants them");
    }
}
