//! What is left to sharpen: remembers how finely each tile was last encoded, and when it last changed.

use std::time::{Duration, Instant};

use crate::{codec::COARSEST, tiles::TileMap};

/// A tile that held still for this long is worth sharpening.
pub(crate) const STILL: Duration = Duration::from_millis(150);
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
            target,
            coarse: tiles,
            credit: 0.0,
            credited_at: now,
            bits_per_tile: 900.0,
        }
    }

    /// Tiles whose pixels changed.
    pub(crate) fn changed(&mut self, tiles: &TileMap, now: Instant) {
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

    /// The cost of the refinement just made, to estimate the next.
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
        let limit = ((self.credit / self.bits_per_tile) as usize).max(FEWEST);
        let mut count = 0;
        let mut earliest: Option<Instant> = None;
        chosen.clear();
        for (index, (&q, &at)) in self.quantizers.iter().zip(&self.changed_at).enumerate() {
            if q <= self.target {
                continue;
            }
            let still_at = at + STILL;
            if still_at <= now {
                chosen.insert(index);
                count += 1;
                if count == limit {
                    break;
                }
            } else {
                earliest = Some(earliest.map_or(still_at, |e: Instant| e.min(still_at)));
            }
        }
        match (count, earliest) {
            (0, None) => Plan::Nothing,
            (0, Some(at)) => Plan::Wait(at),
            _ => Plan::Refine(self.target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn still_tiles_are_sharpened_once_within_the_bit_rate_and_then_no_more() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let mut all = TileMap::new(320, 160);
        all.fill();
        let mut chosen = all.clone();
        let mut refiner = Refiner::new(all.len(), 4, start);
        refiner.encoded(None, 40, 0.0, 1_000_000, start);
        assert_eq!(refiner.plan(false, 1_000_000, ms(60), &mut chosen), Plan::Wait(ms(150)));
        let mut now = 150;
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
        let mut one = TileMap::new(320, 160);
        one.insert(7);
        refiner.changed(&one, ms(now));
        refiner.encoded(Some(&one), 30, 100.0, 1_000_000, ms(now));
        assert_eq!(refiner.plan(false, 1_000_000, ms(now + 1000), &mut chosen), Plan::Refine(4));
        assert_eq!(chosen, one);
    }
}
