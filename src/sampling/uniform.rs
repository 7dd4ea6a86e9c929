//! Where does the randomness come from? From one number per token, by a fixed generator: the same on every machine.

use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

/// The random numbers of a text: ChaCha with 12 rounds, one number for each sampled token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uniform {
    seed: u64,
    stream: u64,
    /// How many numbers have been drawn.
    drawn: u64,
}

impl Uniform {
    /// Stream 0 of `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_stream(seed, 0)
    }

    /// One of the 2^64 independent streams of `seed`. ChaCha's key is derived from the seed; its nonce is the stream.
    pub fn with_stream(seed: u64, stream: u64) -> Self {
        Self { seed, stream, drawn: 0 }
    }

    /// Number `n` of the stream, counted from 0, in [0, 1): the upper 53 bits of a u64, times 2^-53.
    pub fn at(&self, n: u64) -> f64 {
        let mut generator = ChaCha12Rng::seed_from_u64(self.seed);
        generator.set_stream(self.stream);
        generator.set_word_pos(u128::from(n) * 2); // each number takes two 32-bit words
        (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The next number of the stream.
    pub fn draw(&mut self) -> f64 {
        self.drawn += 1;
        self.at(self.drawn - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_a_stream_can_be_drawn_again() {
        let mut in_order = Uniform::with_stream(5, 3);
        for n in 0..300 {
            assert_eq!(Uniform::with_stream(5, 3).at(n), in_order.draw(), "{n}");
            assert_eq!(in_order.at(n), Uniform::with_stream(5, 3).at(n), "{n}");
        }
    }

    #[test]
    fn streams_of_one_seed_differ() {
        let draws = |mut uniform: Uniform| [0; 4].map(|_| uniform.draw().to_bits());
        assert_eq!(draws(Uniform::new(5)), draws(Uniform::with_stream(5, 0)));
        assert_ne!(draws(Uniform::new(5)), draws(Uniform::with_stream(5, 1)));
        assert_ne!(draws(Uniform::with_stream(6, 1)), draws(Uniform::with_stream(5, 1)));
    }

    #[test]
    fn the_generator_is_fixed() {
        let mut uniform = Uniform::new(42);
        let first: Vec<String> = (0..3).map(|_| format!("{:.12}", uniform.draw())).collect();
        insta::assert_debug_snapshot!(first);
    }
}
