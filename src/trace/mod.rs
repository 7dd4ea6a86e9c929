//! Every number between the prompt and the next token can be looked at.
//!
//! The forward pass hands each result to [`Trace::tap`], which returns it. Without the tap, the line means the same:
//!
//! ```text
//! let x = trace.tap(Stage::AttnResidual, x + attn);
//! let x =                                x + attn;
//! ```
//!
//! There are several kinds of [`Trace`]:
//!
//! | trace | what it does with a stage |
//! |---|---|
//! | [`NoTrace`] | nothing: the calls are empty and compile to nothing |
//! | [`Recorder`] | keeps it in memory |
//! | those of [`inspect`](crate::inspect) | write it to a file, compare it, stop at it, apply the logit lens |
//!
//! A stage has the name of Hugging Face's module. So another program with the same checkpoint can write the same file, and
//! the first stage that differs is where one of the two is wrong:
//!
//! ```text
//! for stage in forward order:
//!     if max(abs(a[stage] - b[stage])) > tolerance * max(abs(a[stage])):
//!         the mistake is in this stage: what it was computed from is still equal
//! ```
//!
//! [`diff`](crate::inspect::diff()) is this loop. A [`Digest`] is one line that changes when any bit of a stage does; a
//! forward pass [`render`]ed as such lines can be the snapshot of a test.
//!
//! A trace receives the numbers themselves and may change them: the forward pass continues with what the trace leaves.
//! (Scores and weights are the exception: they are copies.) This is how to switch a head off and see what it contributed:
//!
//! ```
//! use gpt2::trace::{NoTrace, Stage, Trace};
//! use gpt2::generate::Options;
//! use gpt2::inspect::next_token;
//!
//! /// Replaces the output of one head by zeros.
//! struct WithoutHead { block: usize, head: usize, size: usize, here: Option<usize> }
//!
//! impl Trace for WithoutHead {
//!     fn enter_block(&mut self, i: Option<usize>) {
//!         self.here = i;
//!     }
//!     fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
//!         if stage == Stage::AttnHeads && self.here == Some(self.block) {
//!             for row in values.chunks_mut(shape[1]) {
//!                 row[self.head * self.size..][..self.size].fill(0.0);
//!             }
//!         }
//!     }
//! }
//!
//! let lm = gpt2::checkpoint::bundled();
//! let ids = lm.bpe.encode("Once upon a");
//! let mut ablation = WithoutHead { block: 0, head: 1, size: lm.model.config.head_size(), here: None };
//! let with = next_token(&lm.model, &ids, &Options::default(), &mut NoTrace)?;
//! let without = next_token(&lm.model, &ids, &Options::default(), &mut ablation)?;
//! # let _ = (with, without);
//! # Ok::<(), gpt2::error::Error>(())
//! ```

mod digest;
mod place;
mod recorder;
mod stage;

pub use digest::{Digest, number, render};
pub use place::Place;
pub use recorder::{Recorded, Recorder};
pub use stage::{Description, Stage};

use crate::tensor::Matrix;

/// Receives the results of a forward pass, and may change them. By default it ignores them.
pub trait Trace: Send {
    /// Whether `stage` is of interest. Results that only a trace needs are not computed otherwise.
    #[inline]
    fn wants(&self, _stage: Stage) -> bool {
        false
    }

    /// Block `i` begins; `None` after the last.
    #[inline]
    fn enter_block(&mut self, _i: Option<usize>) {}

    /// `stage` is computed: `values` with this shape, row-major.
    #[inline]
    fn record(&mut self, _stage: Stage, _shape: &[usize], _values: &mut [f32]) {}

    /// Ids of `stage`: the prompt's, or the chosen one.
    #[inline]
    fn record_ids(&mut self, _stage: Stage, _ids: &[u32]) {}

    /// The identity, for a matrix that is `stage`: it is recorded on the way. `[rows, cols] -> [rows, cols]`
    #[inline]
    fn tap(&mut self, stage: Stage, mut value: Matrix) -> Matrix {
        let shape = [value.rows(), value.cols()];
        self.record(stage, &shape, value.data_mut());
        value
    }
}

impl<T: Trace + ?Sized> Trace for &mut T {
    #[inline]
    fn wants(&self, stage: Stage) -> bool {
        (**self).wants(stage)
    }
    #[inline]
    fn enter_block(&mut self, i: Option<usize>) {
        (**self).enter_block(i);
    }
    #[inline]
    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        (**self).record(stage, shape, values);
    }
    #[inline]
    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        (**self).record_ids(stage, ids);
    }
    #[inline]
    fn tap(&mut self, stage: Stage, value: Matrix) -> Matrix {
        (**self).tap(stage, value)
    }
}

/// Records nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {}
