//! How often somebody may try to sign in: from one address, and to one name.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Buckets of each kind. Those whose addresses or names fall together share one, which nobody outside can bring about.
const BUCKETS: usize = 4_096;
/// Attempts at once, of each kind.
const BURST: f64 = 10.0;
/// Time for one more from an address.
const PER_ADDRESS: Duration = Duration::from_secs(6);
/// Time for one more to a name: 8,640 guesses a day at most, from however many addresses.
const PER_NAME: Duration = Duration::from_secs(10);

/// Attempts that are left, and when that was so.
type Bucket = (f64, Option<Instant>);

/// Attempts are taken before they are looked at, so that many at once are counted, and given back when they were right.
pub(crate) struct Brake {
    hasher: RandomState,
    addresses: Mutex<Box<[Bucket]>>,
    names: Mutex<Box<[Bucket]>>,
}

impl Default for Brake {
    fn default() -> Self {
        let buckets = || Mutex::new(vec![(BURST, None); BUCKETS].into_boxed_slice());
        Self { hasher: RandomState::new(), addresses: buckets(), names: buckets() }
    }
}

impl std::fmt::Debug for Brake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Brake")
    }
}

impl Brake {
    /// Counts an attempt, or tells how long to wait. One that is refused costs nothing.
    pub(crate) fn take(&self, address: IpAddr, name: Option<&str>, now: Instant) -> Result<(), Duration> {
        let (mut addresses, mut names) = (self.addresses.lock(), self.names.lock());
        let address = refilled(&mut addresses, self.place(network(address)), PER_ADDRESS, now);
        let mut wait = missing(*address, PER_ADDRESS);
        let name = name.map(|name| refilled(&mut names, self.place(name), PER_NAME, now));
        if let Some(name) = &name {
            wait = wait.max(missing(**name, PER_NAME));
        }
        if let Some(wait) = wait {
            return Err(wait);
        }
        *address -= 1.0;
        if let Some(name) = name {
            *name -= 1.0;
        }
        Ok(())
    }

    /// Gives an attempt back.
    pub(crate) fn give_back(&self, address: IpAddr, name: Option<&str>) {
        let give = |buckets: &Mutex<Box<[Bucket]>>, place: usize| {
            let mut buckets = buckets.lock();
            buckets[place].0 = (buckets[place].0 + 1.0).min(BURST);
        };
        give(&self.addresses, self.place(network(address)));
        if let Some(name) = name {
            give(&self.names, self.place(name));
        }
    }

    fn place(&self, key: impl Hash) -> usize {
        // Fits: it is a remainder of a small number.
        (self.hasher.hash_one(key) % BUCKETS as u64) as usize
    }
}

/// What counts as one address: of IPv6 the 64 bits that a household has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

fn refilled(buckets: &mut [Bucket], place: usize, step: Duration, now: Instant) -> &mut f64 {
    let (left, at) = &mut buckets[place];
    if let Some(at) = at {
        *left = (*left + now.saturating_duration_since(*at).as_secs_f64() / step.as_secs_f64()).min(BURST);
    }
    *at = Some(now);
    left
}

fn missing(left: f64, step: Duration) -> Option<Duration> {
    (left < 1.0).then(|| step.mul_f64(1.0 - left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_address_and_by_name() {
        let (brake, start) = (Brake::default(), Instant::now());
        let one: IpAddr = "10.0.0.1".parse().unwrap();
        for _ in 0..10 {
            brake.take(one, Some("ann"), start).unwrap();
        }
        assert_eq!(brake.take(one, Some("bob"), start).unwrap_err().as_secs_f64().round(), 6.0);
        // The name is used up too, from anywhere.
        let other: IpAddr = "10.0.0.2".parse().unwrap();
        assert_eq!(brake.take(other, Some("ann"), start).unwrap_err().as_secs_f64().round(), 10.0);
        brake.take(other, Some("bob"), start).unwrap();
        brake.take(one, Some("bob"), start + Duration::from_secs(7)).unwrap();
        brake.take(other, Some("ann"), start + Duration::from_secs(11)).unwrap();
        assert!(brake.take(other, Some("ann"), start + Duration::from_secs(11)).is_err());
        brake.give_back(other, Some("ann"));
        brake.take(other, Some("ann"), start + Duration::from_secs(11)).unwrap();
        for _ in 0..9 {
            brake.take("2001:db8::1".parse().unwrap(), None, start).unwrap();
        }
        brake.take("2001:db8::2:1".parse().unwrap(), None, start).unwrap();
        assert!(brake.take("2001:db8::3".parse().unwrap(), None, start).is_err());
    }
}
