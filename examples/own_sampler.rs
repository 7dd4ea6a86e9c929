//! A custom processor and a custom sampler: `cargo run --release --example own_sampler`.

use gpt2::config::TokenId;
use gpt2::generate::Options;
use gpt2::sampling::{History, Processor, Sampler, argmax};
use std::sync::Arc;

/// Bans the tokens at the last few positions, to avoid stuttering.
#[derive(Debug)]
struct NoStutter(usize);

impl Processor for NoStutter {
    fn name(&self) -> &str {
        "no-stutter"
    }

    fn apply(&self, scores: &mut [f32], history: &History<'_>) {
        for id in history.ids.iter().rev().take(self.0) {
            scores[*id as usize] = f32::NEG_INFINITY;
        }
    }
}

/// Takes the most likely token four times out of five, otherwise the second most likely.
#[derive(Debug)]
struct SecondBest;

impl Sampler for SecondBest {
    fn draw(&self, probabilities: &[f32], u: f64) -> Option<TokenId> {
        let best = argmax(probabilities);
        let mut others = probabilities.to_vec();
        others[best as usize] = 0.0;
        Some(if u < 0.8 { best } else { argmax(&others) })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lm = gpt2::checkpoint::bundled();
    let options = Options::plain(1).max_new_tokens(40);
    let options = options.processor(Arc::new(NoStutter(3))).sampler(Arc::new(SecondBest));
    let text: String = lm.generate("Once upon a time", options)?.collect::<Result<_, _>>()?;
    println!("Once upon a time{text}");
    Ok(())
}
