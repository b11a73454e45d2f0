//! What is left to sharpen: remembers how finely each tile was last encoded, and when it last changed.

use std::time::{Duration, Instant};

use crate::{codec::COARSEST, tiles::TileMap};

/// A tile that held still for this long is worth sharpening.
pub(crate) const STILL: Duration = Duration::from_millis(150);
/// Nothing on the whole screen changed for this long: people pause, and refinement does not come between their keystrokes.
const CALM: Duration = Duration::from_millis(250);
/// A tile that held still for this long is sharpened even if something else never rests.
const PATIENCE: Duration = Duration::from_secs(1);
/// A change that comes at least this long after the one before is not part of a motion and may be made sharp at once.
const ALONE: Duration = Duration::from_millis(50);
/// Time of the bit rate that such a change may cost: not worth sending it twice.
const AT_ONCE: f64 = 0.02;
/// Time of the bit rate that may be saved up for one refinement.
const SAVINGS: f64 = 0.25;
/// A refinement waits until this much time of the bit rate is saved up.
const ENOUGH: f64 = 0.05;
/// Fewest tiles of one refinement, so that it ends even at the lowest bit rate.
const FEWEST: usize = 24;

/// Bookkeeping of one encoder.
pub(crate) struct Refiner {
    quantizers: Vec<u8>,
    changed_at: Vec<Instant>,
    /// The newest of them.
    last_change: Instant,
    /// Tiles coarser than this are sharpened.
    target: u8,
    /// Number of tiles coarser than the target.
    coarse: usize,
    /// Bits saved up; negative after spending more than there was.
    credit: f64,
    credited_at: Instant,
    bits_per_tile: f64,
}

/// What to do about refinement now.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    /// All is sharp.
    Nothing,
    /// Look again then.
    Wait(Instant),
    /// Encode the chosen tiles with this quantizer.
    Refine(u8),
}

impl Refiner {
    pub(crate) fn new(tiles: usize, target: u8, now: Instant) -> Self {
        Self {
            quantizers: vec![COARSEST; tiles],
            changed_at: vec![now; tiles],
            last_change: now,
            target,
            coarse: tiles,
            credit: 0.0,
            credited_at: now,
            bits_per_tile: 900.0,
        }
    }

    /// The final quantizer for a change of so many tiles, not yet told to [`Refiner::changed`], if that is best at once: it
    /// comes alone, as a letter does, and costs little.
    pub(crate) fn sharp_at_once(&mut self, tiles: usize, bit_rate: u32, now: Instant) -> Option<u8> {
        self.earn(bit_rate, now);
        let cost = tiles as f64 * self.bits_per_tile;
        let alone = now.saturating_duration_since(self.last_change) >= ALONE;
        let cheap = cost <= self.credit.min(AT_ONCE * f64::from(bit_rate));
        (alone && cheap).then_some(self.target)
    }

    /// Tiles whose pixels changed.
    pub(crate) fn changed(&mut self, tiles: &TileMap, now: Instant) {
        self.last_change = now;
        for (at, &tile) in self.changed_at.iter_mut().zip(tiles.as_bytes()) {
            if tile != 0 {
                *at = now;
            }
        }
    }

    /// Tiles were encoded with a quantizer, at a cost in bits.
    pub(crate) fn encoded(&mut self, tiles: Option<&TileMap>, quantizer: u8, bits: f64, bit_rate: u32, now: Instant) {
        match tiles {
            None => self.quantizers.fill(quantizer),
            Some(tiles) => {
                for (q, &tile) in self.quantizers.iter_mut().zip(tiles.as_bytes()) {
                    if tile != 0 {
                        *q = quantizer;
                    }
                }
            }
        }
        self.coarse = self.quantizers.iter().filter(|&&q| q > self.target).count();
        self.earn(bit_rate, now);
        self.credit -= bits;
    }

    /// The cost of a frame with the final quantizer, to estimate the next.
    pub(crate) fn learn(&mut self, tiles: usize, bits: f64) {
        let seen = (bits / tiles.max(1) as f64).max(20.0);
        self.bits_per_tile = if seen > self.bits_per_tile { seen } else { 0.5 * (self.bits_per_tile + seen) };
    }

    fn earn(&mut self, bit_rate: u32, now: Instant) {
        let rate = f64::from(bit_rate);
        let time = now.saturating_duration_since(self.credited_at).as_secs_f64();
        self.credited_at = now;
        self.credit = (self.credit + rate * time).clamp(-2.0 * rate, SAVINGS * rate);
    }

    /// Chooses still, coarse tiles that the saved bits suffice for, into `chosen`. With `whole`, the encoder cannot leave tiles
    /// out: it sharpens everything step by step, once everything holds still.
    pub(crate) fn plan(&mut self, whole: bool, bit_rate: u32, now: Instant, chosen: &mut TileMap) -> Plan {
        if self.coarse == 0 {
            return Plan::Nothing;
        }
        self.earn(bit_rate, now);
        let rate = f64::from(bit_rate);
        let missing = ENOUGH * rate - self.credit;
        if missing > 0.0 {
            return Plan::Wait(now + Duration::from_secs_f64(missing / rate) + Duration::from_millis(1));
        }
        if whole { self.plan_whole(now, chosen) } else { self.plan_tiles(now, chosen) }
    }

    fn plan_whole(&self, now: Instant, chosen: &mut TileMap) -> Plan {
        let still_at = self.changed_at.iter().max().map_or(now, |&at| at + STILL);
        if still_at > now {
            return Plan::Wait(still_at);
        }
        chosen.fill();
        let coarsest = self.quantizers.iter().copied().max().unwrap_or(0);
        Plan::Refine((coarsest / 2).max(self.target))
    }

    fn plan_tiles(&self, now: Instant, chosen: &mut TileMap) -> Plan {
        let coarse =
            || self.quantizers.iter().zip(&self.changed_at).enumerate().filter(|(_, (q, _))| **q > self.target);
        let Some(oldest) = coarse().map(|(_, (_, &at))| at).min() else { return Plan::Nothing };
        let ready_at = (oldest + STILL).max((self.last_change + CALM).min(oldest + PATIENCE));
        if ready_at > now {
            return Plan::Wait(ready_at);
        }
        let limit = ((self.credit / self.bits_per_tile) as usize).max(FEWEST);
        chosen.clear();
        for (index, _) in coarse().filter(|&(_, (_, &at))| at + STILL <= now).take(limit) {
            chosen.insert(index);
        }
        Plan::Refine(self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn still_tiles_are_sharpened_once_within_the_bit_rate_and_then_no_more() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut all = TileMap::new(640, 320);
        all.fill();
        let mut chosen = all.clone();
        let mut refiner = Refiner::new(all.len(), 4, start);
        refiner.encoded(None, 40, 0.0, 1_000_000, start);
        assert_eq!(refiner.plan(false, 1_000_000, ms(60), &mut chosen), Plan::Wait(ms(250)));
        let mut now = 250;
        let mut rounds = 0;
        loop {
            match refiner.plan(false, 1_000_000, ms(now), &mut chosen) {
                Plan::Nothing => break,
                Plan::Wait(at) => now = at.duration_since(start).as_millis() as u64,
                Plan::Refine(q) => {
                    assert_eq!(q, 4);
                    rounds += 1;
                    let bits = chosen.count() as f64 * 2000.0;
                    refiner.encoded(Some(&chosen), q, bits, 1_000_000, ms(now));
                    refiner.learn(chosen.count(), bits);
                }
            }
        }
        assert!(rounds >= 3, "spread over several frames: {rounds}");
        let spent = all.len() as f64 * 2000.0;
        assert!(now as f64 / 1000.0 * 1_000_000.0 * 1.5 > spent, "{spent} bits in {now} ms");
        let mut one = TileMap::new(640, 320);
        one.insert(7);
        refiner.changed(&one, ms(now));
        refiner.encoded(Some(&one), 30, 100.0, 1_000_000, ms(now));
        assert_eq!(refiner.plan(false, 1_000_000, ms(now + 1000), &mut chosen), Plan::Refine(4));
        assert_eq!(chosen, one);
    }

    #[test]
    fn a_letter_is_sharp_at_once_and_a_motion_or_a_page_is_not() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut refiner = Refiner::new(3600, 0, start);
        refiner.encoded(None, 0, 0.0, 2_000_000, start);
        let mut letter = TileMap::new(1280, 720);
        letter.insert(500);
        let mut chosen = letter.clone();
        for key in 1..50u64 {
            let now = ms(100 * key);
            assert_eq!(refiner.sharp_at_once(4, 2_000_000, now), Some(0), "keystroke {key}");
            refiner.changed(&letter, now);
            refiner.encoded(Some(&letter), 0, 4000.0, 2_000_000, now);
            refiner.learn(4, 4000.0);
            assert_eq!(refiner.plan(false, 2_000_000, now, &mut chosen), Plan::Nothing);
        }
        assert_eq!(refiner.sharp_at_once(4, 2_000_000, ms(4933)), None, "one of many in quick succession");
        assert_eq!(refiner.sharp_at_once(400, 2_000_000, ms(6000)), None, "too much");
        refiner.encoded(Some(&letter), 0, 2_000_000.0, 2_000_000, ms(6000));
        assert_eq!(refiner.sharp_at_once(4, 2_000_000, ms(6100)), None, "nothing saved up");
    }

    #[test]
    fn refinement_waits_for_a_pause_and_not_for_ever() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let (mut coarse, mut busy) = (TileMap::new(320, 160), TileMap::new(320, 160));
        coarse.insert(7);
        busy.insert(9);
        let mut refiner = Refiner::new(coarse.len(), 4, start);
        refiner.encoded(None, 4, 0.0, 1_000_000, start);
        refiner.changed(&coarse, ms(100));
        refiner.encoded(Some(&coarse), 30, 100.0, 1_000_000, ms(100));
        let mut chosen = coarse.clone();
        // Something else goes on changing, every 100 ms, and stays sharp itself.
        for now in (200..1100).step_by(100) {
            refiner.changed(&busy, ms(now));
            assert!(matches!(refiner.plan(false, 1_000_000, ms(now + 90), &mut chosen), Plan::Wait(_)), "{now}");
        }
        assert_eq!(refiner.plan(false, 1_000_000, ms(1100), &mut chosen), Plan::Refine(4));
        assert_eq!(chosen, coarse);
        // With a pause it comes sooner.
        refiner.changed(&coarse, ms(2000));
        refiner.encoded(Some(&coarse), 30, 100.0, 1_000_000, ms(2000));
        assert_eq!(refiner.plan(false, 1_000_000, ms(2100), &mut chosen), Plan::Wait(ms(2250)));
        assert_eq!(refiner.plan(false, 1_000_000, ms(2250), &mut chosen), Plan::Refine(4));
    }
}
