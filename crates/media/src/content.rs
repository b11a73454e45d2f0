//! What kind of change the picture goes through, so that an encoder searches for motion where there is something to find.
//! Reads no clock itself.

use std::time::Duration;

use crate::{
    picture::Picture,
    tiles::{TILE, TileMap},
};

/// A change of at most one in so many tiles is small.
const SMALL: usize = 32;
/// One in so many columns and rows of tiles is looked at.
const STEP: usize = 8;
/// The first of them, away from the edges, where there is often nothing but margin.
const FIRST: usize = 3;
/// Share of the looked-at places with texture that must have moved by the same distance: part of the picture may stay.
const SHIFTED: f64 = 0.2;
/// Fewer places with texture than this say nothing.
const FEWEST: u32 = 24;
/// Large changes in a row that nothing shifted in, before they count as motion.
const SURE: u32 = 6;
/// Large changes after a shift that are still taken as scrolling: it pauses and turns.
const LASTING: u32 = 15;
/// Large changes further apart than this are not one motion.
const APART: Duration = Duration::from_millis(400);

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// A few tiles, such as typing: nothing to search for.
    Small,
    /// Much, of which parts were elsewhere before, such as scrolling; or not known.
    Shifted,
    /// Much, again and again, and nothing of it was elsewhere before: a video, a game.
    Motion,
}

/// Compares each large change with the one before.
#[derive(Default)]
pub(crate) struct ContentWatch {
    /// Hashes of the looked-at places of the picture before: down some columns and along some rows.
    before: Vec<u32>,
    now: Vec<u32>,
    size: (usize, usize),
    table: Vec<(u32, u16)>,
    votes: Vec<u32>,
    /// Large changes in a row without a shift.
    unshifted: u32,
    /// Large changes that are still taken as scrolling.
    lasting: u32,
}

impl ContentWatch {
    /// Judges a change: the picture after it, the tiles that changed, the time since the frame before.
    pub(crate) fn look(&mut self, picture: &Picture, changed: &TileMap, elapsed: Duration) -> Content {
        if changed.count() * SMALL <= changed.len() {
            return Content::Small;
        }
        let size = (picture.width, picture.height);
        std::mem::swap(&mut self.before, &mut self.now);
        hash_lines(picture, &mut self.now);
        let comparable = self.size == size && self.before.len() == self.now.len();
        self.size = size;
        let shifted = comparable && self.is_shifted(size, changed);
        if elapsed > APART {
            (self.unshifted, self.lasting) = (0, 0);
        }
        if shifted {
            (self.unshifted, self.lasting) = (0, LASTING);
        } else {
            self.unshifted = if comparable { self.unshifted.saturating_add(1) } else { 0 };
            self.lasting = self.lasting.saturating_sub(1);
        }
        if self.unshifted >= SURE && self.lasting == 0 { Content::Motion } else { Content::Shifted }
    }

    fn is_shifted(&mut self, (width, height): (usize, usize), changed: &TileMap) -> bool {
        let mut rest = (self.before.as_slice(), self.now.as_slice());
        let directions = [(changed.cols(), height, true), (changed.rows(), places_along(width), false)];
        for (lines, length, down) in directions {
            self.votes.clear();
            self.votes.resize(2 * length, 0);
            let mut textured = 0;
            for line in (FIRST..lines).step_by(STEP) {
                let (before, now) = (&rest.0[..length], &rest.1[..length]);
                rest = (&rest.0[length..], &rest.1[length..]);
                let in_change = |place: usize| {
                    let (col, row) = if down { (line, place / TILE) } else { (place / TILE, line) };
                    changed.as_bytes()[row * changed.cols() + col] != 0
                };
                textured += vote(before, now, in_change, &mut self.table, &mut self.votes);
            }
            let most = self.votes.iter().copied().max().unwrap_or(0);
            if textured >= FEWEST && f64::from(most) >= SHIFTED * f64::from(textured) {
                return true;
            }
        }
        false
    }
}

/// Places that a row of this many pixels has.
fn places_along(width: usize) -> usize {
    (width + 1).saturating_sub(TILE)
}

/// Hashes 16 neighbouring pixels at every height of some columns, then at every position of some rows; 0 where all are equal.
fn hash_lines(picture: &Picture, hashes: &mut Vec<u32>) {
    hashes.clear();
    let luma = &picture.planes[0];
    for col in (FIRST..picture.width.div_ceil(TILE)).step_by(STEP) {
        hashes.extend((0..picture.height).map(|y| hash(&luma[y * picture.stride + col * TILE..][..TILE])));
    }
    for row in (FIRST..picture.height.div_ceil(TILE)).step_by(STEP) {
        let line = &luma[row * TILE * picture.stride..][..picture.width];
        hashes.extend(line.windows(TILE).map(hash));
    }
}

fn hash(pixels: &[u8]) -> u32 {
    let mut halves = pixels.chunks_exact(8).map(|half| half.iter().fold(0, |sum, &pixel| sum << 8 | u64::from(pixel)));
    let (left, right) = (halves.next().unwrap_or(0), halves.next().unwrap_or(0));
    if left == right && left == (left & 0xff) * 0x0101_0101_0101_0101 {
        return 0;
    }
    // Multipliers of splitmix64; the upper half of the product depends on all bits.
    let mixed = left.wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ right.wrapping_mul(0x94d0_49bb_1331_11eb).rotate_left(29);
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 | 1
}

/// The places of a line that differ from the one before them, with a hash of both: a stem of a letter is many equal places.
fn edges(line: &[u32]) -> impl Iterator<Item = (usize, u32)> {
    let pairs = line.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]);
    pairs.map(|(place, pair)| (place + 1, pair[0].wrapping_mul(0x85eb_ca6b).rotate_left(13) ^ pair[1] | 1))
}

/// In the table: more than one place has this hash.
const AMBIGUOUS: u16 = u16::MAX;

/// Looks for every changed place of a line in the line of before, and counts the distances at `votes[distance + length]`.
/// Returns how many places were looked for.
fn vote(
    before: &[u32],
    now: &[u32],
    in_change: impl Fn(usize) -> bool,
    table: &mut Vec<(u32, u16)>,
    votes: &mut [u32],
) -> u32 {
    let size = (2 * before.len()).next_power_of_two();
    let slot_of = |hash: u32| (hash >> 1) as usize & (size - 1);
    table.clear();
    table.resize(size, (0, 0));
    for (place, hash) in edges(before) {
        let mut slot = slot_of(hash);
        while table[slot].0 != 0 && table[slot].0 != hash {
            slot = (slot + 1) & (size - 1);
        }
        table[slot] = (hash, if table[slot].0 == hash { AMBIGUOUS } else { place as u16 });
    }
    let mut looked_for = 0;
    for (place, hash) in edges(now) {
        if now[place] == before[place] || !in_change(place) {
            continue;
        }
        looked_for += 1;
        let mut slot = slot_of(hash);
        while table[slot].0 != 0 && table[slot].0 != hash {
            slot = (slot + 1) & (size - 1);
        }
        if let (found, from) = table[slot]
            && found == hash
            && from != AMBIGUOUS
        {
            votes[place + before.len() - usize::from(from)] += 1;
        }
    }
    looked_for
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: (usize, usize) = (640, 480);
    const FRAME: Duration = Duration::from_millis(33);

    /// A picture of which every pixel of luma is what `luma` says.
    fn picture(luma: impl Fn(usize, usize) -> u8) -> Picture {
        let mut picture = Picture::new(SIZE.0, SIZE.1);
        for y in 0..SIZE.1 {
            for x in 0..SIZE.0 {
                picture.planes[0][y * picture.stride + x] = luma(x, y);
            }
        }
        picture
    }

    /// Something like text on an endless page: dashes of many shades in lines, with white between them.
    fn page(x: usize, y: usize) -> u8 {
        if y % 22 > 12 {
            return 235;
        }
        let seed = (x / 5).wrapping_mul(0x9e37_79b9).wrapping_add((y / 3).wrapping_mul(0x85eb_ca6b));
        ((seed ^ seed >> 13).wrapping_mul(0xc2b2_ae35) >> 16) as u8 | 15
    }

    fn all() -> TileMap {
        let mut all = TileMap::new(SIZE.0, SIZE.1);
        all.fill();
        all
    }

    #[test]
    fn scrolling_and_panning_are_shifts() {
        for (dx, dy) in [(0, 4), (0, 8), (0, 23), (3, 0), (17, 0)] {
            let mut watch = ContentWatch::default();
            for step in 0..30 {
                let seen = watch.look(&picture(|x, y| page(x + dx * step, y + dy * step)), &all(), FRAME);
                assert_eq!(seen, Content::Shifted, "step {step} of {dx}, {dy}");
            }
        }
    }

    #[test]
    fn scrolling_within_a_frame_that_stays_is_a_shift() {
        let mut watch = ContentWatch::default();
        let mut list = TileMap::new(SIZE.0, SIZE.1);
        list.insert_pixels(96, 64, 320, 320);
        for step in 0..30 {
            let inside = |x: usize, y: usize| (96..416).contains(&x) && (64..384).contains(&y);
            let shown = picture(|x, y| if inside(x, y) { page(x, y + 5 * step) } else { page(x, y) });
            assert_eq!(watch.look(&shown, &list, FRAME), Content::Shifted, "step {step}");
        }
    }

    #[test]
    fn changes_all_over_are_motion_once_they_last_and_scrolling_afterwards_is_seen_at_once() {
        let mut watch = ContentWatch::default();
        // A gradient that turns, with noise: nothing is found again.
        let noise = |x: usize, y: usize, step: usize| {
            let seed =
                (x + 1).wrapping_mul(0x9e37_79b9) ^ (y + 1).wrapping_mul(0x85eb_ca6b) ^ step.wrapping_mul(0xc2b2_ae35);
            ((x * step / 16 + y * 2) % 200) as u8 + (seed.wrapping_mul(0x27d4_eb2f) >> 24 & 15) as u8
        };
        let kinds: Vec<_> = (0..40).map(|step| watch.look(&picture(|x, y| noise(x, y, step)), &all(), FRAME)).collect();
        assert_eq!(kinds[..SURE as usize - 1], vec![Content::Shifted; SURE as usize - 1]);
        assert!(kinds[10..].iter().all(|&kind| kind == Content::Motion), "{kinds:?}");
        watch.look(&picture(page), &all(), FRAME);
        assert_eq!(watch.look(&picture(|x, y| page(x, y + 6)), &all(), FRAME), Content::Shifted);
    }

    #[test]
    fn smooth_shapes_that_move_apart_are_motion() {
        let mut watch = ContentWatch::default();
        let mut kinds = Vec::new();
        for step in 0..40usize {
            // Discs on a sweeping gradient, each on its own way, as in the benchmark's page.
            let disc = |x: usize, y: usize, n: usize| {
                let (cx, cy) = ((n * 97 + step * (n % 5 + 1)) % 640, (n * 61 + step * (n % 7 + 1) / 2) % 480);
                x.abs_diff(cx).pow(2) + y.abs_diff(cy).pow(2) < (20 + n).pow(2)
            };
            let gradient = |x: usize, y: usize| (40 + (x * (100 + step) + y * 150) / 700 + step) as u8;
            let shown =
                picture(|x, y| (0..20).find(|&n| disc(x, y, n)).map_or_else(|| gradient(x, y), |n| 30 + 9 * n as u8));
            kinds.push(watch.look(&shown, &all(), FRAME));
        }
        let motion = kinds.iter().filter(|&&kind| kind == Content::Motion).count();
        assert!(motion >= 30, "{kinds:?}");
    }

    #[test]
    fn a_new_page_now_and_then_is_not_motion_and_a_few_tiles_are_small() {
        let mut watch = ContentWatch::default();
        for step in 0..20 {
            let shown = picture(|x, y| page(x * (step + 2), y + 7 * step));
            assert_eq!(watch.look(&shown, &all(), Duration::from_secs(1)), Content::Shifted);
            let mut letter = TileMap::new(SIZE.0, SIZE.1);
            letter.insert_pixels(100, 100, 20, 20);
            assert_eq!(watch.look(&shown, &letter, FRAME), Content::Small);
        }
    }

    #[test]
    fn pictures_smaller_than_a_tile_and_changes_of_size_are_fine() {
        let mut watch = ContentWatch::default();
        for (width, height) in [(1, 1), (8, 100), (100, 8), (17, 33), (640, 480), (64, 64), (1, 4320), (7680, 1)] {
            let mut changed = TileMap::new(width, height);
            changed.fill();
            for _ in 0..3 {
                watch.look(&Picture::new(width, height), &changed, FRAME);
            }
        }
    }
}
