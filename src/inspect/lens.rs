//! What would the model predict if it stopped here?
//!
//! Every block adds to one residual stream, and the final layer norm and the output head read it at the end. They can
//! read it after any block:
//!
//! ```text
//! for each block:
//!     x = block(x)                  # [T, C]
//!     lens = ln_f(x) @ wte.T        # [T, V]: after the last block these are the logits themselves
//! ```
//!
//! In the bundled model, the lens after block 0 names common words that can follow the token just read; later blocks bring
//! in the context, and the last ones decide (notebook 5). This is the *logit lens* (nostalgebraist, "interpreting GPT: the
//! logit lens", 2020). It is a tool for inspection, not part of the computation: the model was trained to be read only at the
//! end.

use crate::model::Gpt2;
pub use crate::sampling::candidates::{Candidate, top};
use crate::tensor::Matrix;
use crate::trace::{NoTrace, Stage, Trace};

/// A [`Trace`] that reads the residual stream after every block.
#[derive(Clone, Debug)]
pub struct Lens<'m> {
    model: &'m Gpt2,
    n: usize,
    /// The likeliest next tokens, for each block and position.
    pub blocks: Vec<Vec<Vec<Candidate>>>,
}

impl<'m> Lens<'m> {
    /// A lens that keeps the `n` likeliest tokens of each position.
    pub fn new(model: &'m Gpt2, n: usize) -> Self {
        Self { model, n, blocks: Vec::new() }
    }

    /// The name of the lens's logits after block `i` in a trace file: `[T, n_vocab]`.
    pub fn name(i: usize) -> String {
        format!("lens.{i}")
    }

    /// Reads the residual stream x `[T, C]`, keeps the likeliest tokens, and returns the logits `[T, V]`.
    pub fn read(&mut self, x: &[f32]) -> Matrix {
        let c = self.model.config.n_embd;
        let x = Matrix::from_vec(x.len() / c, c, x.to_vec()); // [T, C]
        let logits = self.model.head(&self.model.ln_f.forward(&x), &mut NoTrace); // [T, V]
        self.blocks.push((0..logits.rows()).map(|t| top(logits.row(t), self.n)).collect());
        logits
    }
}

impl Trace for Lens<'_> {
    fn wants(&self, stage: Stage) -> bool {
        stage == Stage::Block
    }

    fn enter_block(&mut self, _: Option<usize>) {}

    fn record(&mut self, stage: Stage, _: &[usize], values: &mut [f32]) {
        if stage == Stage::Block {
            self.read(values);
        }
    }

    fn record_ids(&mut self, _: Stage, _: &[u32]) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Options;
    use crate::inspect::next_token;
    use crate::trace::{Place, Recorder};

    /// After the last block, the lens gives the model's own logits.
    #[test]
    fn the_last_block_gives_the_models_prediction() {
        let lm = crate::checkpoint::bundled();
        let ids = lm.bpe.encode("Once upon a time");
        let (mut lens, mut recorder) = (Lens::new(&lm.model, 3), Recorder::new());
        next_token(&lm.model, &ids, &Options::default(), &mut lens).expect("a token");
        next_token(&lm.model, &ids, &Options::default(), &mut recorder).expect("a token");
        let logits = &recorder.get("lm_head").expect("logits").values;
        let expected: Vec<_> = logits.chunks(lm.model.config.vocab_size).map(|row| top(row, 3)).collect();
        assert_eq!(lens.blocks.len(), lm.model.config.n_layer);
        assert_eq!(lens.blocks.last(), Some(&expected));
        assert_eq!(Place::parse(&Lens::name(0)), None);
    }
}
