//! A hash in a few lines, for tables that are queried millions of times per second.
//!
//! The standard library's hash withstands any attacker and takes about 20 ns for a short key. This one takes one
//! multiplication per 8 bytes, and one at the end. Its factor and its start are drawn when the process starts, so that
//! no file can hold keys that all fall into one place. Results never depend on them.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

/// The hash of what has been written so far. At first these are the two random numbers of the process.
#[derive(Clone, Copy)]
pub struct Fold {
    state: u64,
    multiplier: u64,
}

impl Default for Fold {
    fn default() -> Self {
        static SEEDS: LazyLock<Fold> = LazyLock::new(|| {
            let random = RandomState::new();
            Fold { state: random.hash_one(0), multiplier: random.hash_one(1) | 1 }
        });
        *SEEDS
    }
}

impl BuildHasher for Fold {
    type Hasher = Self;

    #[inline]
    fn build_hasher(&self) -> Self {
        *self
    }
}

/// The 128-bit product, its two halves folded into one.
#[inline]
fn fold(state: u64, multiplier: u64) -> u64 {
    let product = u128::from(state) * u128::from(multiplier);
    (product as u64) ^ (product >> 64) as u64
}

impl Hasher for Fold {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        self.state = fold(self.state ^ word, self.multiplier);
    }

    /// Eight bytes at a time. A rest of four to seven bytes is taken as its first four and its last four, which
    /// overlap: quicker than one by one. (The length of a slice was written before.)
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|&word| self.write_u64(u64::from_le_bytes(word)));
        self.write_u64(match (rest.first_chunk(), rest.last_chunk()) {
            (Some(&first), Some(&last)) => {
                u64::from(u32::from_le_bytes(first)) << 32 | u64::from(u32::from_le_bytes(last))
            }
            _ => rest.iter().fold(1, |sum, &byte| sum << 8 | u64::from(byte)),
        });
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// Folded once more: after one multiplication, consecutive keys differ by a constant, and some multipliers then leave
    /// many places of a table empty.
    #[inline]
    fn finish(&self) -> u64 {
        fold(self.state, self.multiplier)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn similar_keys_have_different_hashes() {
        let seeds = Fold::default();
        let numbers = (0..100_000u64).map(|n| seeds.hash_one(n));
        let texts = (0..100_000).map(|n| seeds.hash_one(format!("token {n}").as_bytes()));
        let zeros = (0..1000).map(|n| seeds.hash_one(vec![0u8; n].as_slice()));
        assert!(numbers.collect::<HashSet<_>>().len() > 99_990);
        assert!(texts.collect::<HashSet<_>>().len() > 99_990);
        assert_eq!(zeros.collect::<HashSet<_>>().len(), 1000);
    }

    /// Tables use the low bits; they must spread too, whatever the seeds.
    #[test]
    fn low_bits_spread() {
        for i in 0..200 {
            let seeds = match i {
                0 => Fold::default(),
                _ => {
                    Fold { state: Fold::default().hash_one(i), multiplier: Fold::default().hash_one(!i) | 1 }
                }
            };
            let Fold { state, multiplier } = seeds;
            for shift in [0, 16, 32] {
                let mut counts = [0u32; 256];
                (0..65_536u64).for_each(|n| counts[seeds.hash_one(n << shift) as usize % 256] += 1);
                assert!(
                    counts.iter().all(|&count| (128..512).contains(&count)),
                    "{state:#x} {multiplier:#x} {shift}: {counts:?}"
                );
            }
        }
    }
}
