//! Every number between the prompt and the next token can be looked at.
//!
//! The forward pass calls [`Trace::tap`] with each result, in one line beside the line that computes it:
//!
//! ```text
//! x.add(&attention)
//! trace.tap(Stage::AttnResidual, x)
//! ```
//!
//! Who looks is a [`Trace`]:
//!
//! | trace | does with a stage |
//! |---|---|
//! | [`NoTrace`] | nothing: the calls are empty and compile to nothing |
//! | [`Recorder`] | keeps it in memory |
//! | those of [`inspect`](crate::inspect) | write files, compare them, step through a generation, read the logit lens |
//!
//! A stage has the name that Hugging Face's module has. So a program that shares nothing with this one but the
//! checkpoint can write the same file, and the first stage that differs is where one of the two is wrong:
//!
//! ```text
//! for stage in forward order:
//!     if max(abs(a[stage] - b[stage])) > tolerance * max(abs(a[stage])):
//!         the mistake is in this stage: what it was computed from is still equal
//! ```
//!
//! [`diff`](crate::inspect::diff()) is this loop. [`Digest`] says of a stage in one line what changes when any bit of it does; a
//! forward pass [`render`]ed as such lines can be kept as the snapshot of a test.
//!
//! A trace receives the numbers themselves and may change them: what the forward pass goes on with is what the trace
//! leaves (only scores and weights are copies, made to be looked at). This is how a head is switched off, to see what it was good for:
//!
//! ```
//! use gpt2::trace::{NoTrace, Stage, Trace};
//! use gpt2::inspect::next_token;
//!
//! /// Replaces what one head found by zeros.
//! struct WithoutHead { block: usize, head: usize, size: usize, here: Option<usize> }
//!
//! impl Trace for WithoutHead {
//!     fn wants(&self, _: Stage) -> bool {
//!         false // scores and weights exist only to be looked at
//!     }
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
//!     fn record_ids(&mut self, _: Stage, _: &[u32]) {}
//! }
//!
//! let lm = gpt2::checkpoint::bundled();
//! let ids = lm.bpe.encode("Once upon a");
//! let mut ablation = WithoutHead { block: 0, head: 1, size: lm.model.config.head_size(), here: None };
//! let with = next_token(&lm.model, &ids, None, &mut NoTrace)?;
//! let without = next_token(&lm.model, &ids, None, &mut ablation)?;
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

/// Somebody who looks at (and may change) the results of a forward pass, from whichever thread computes it.
pub trait Trace: Send {
    /// Whether `stage` is of interest. Results that exist only to be looked at are not made otherwise.
    fn wants(&self, stage: Stage) -> bool;

    /// Block `i` begins; `None` after the last.
    fn enter_block(&mut self, i: Option<usize>);

    /// `stage` is computed: `values` with this shape, row-major.
    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]);

    /// Ids of `stage`: the prompt's, or the chosen one.
    fn record_ids(&mut self, stage: Stage, ids: &[u32]);

    /// `stage` is computed: a matrix.
    #[inline]
    fn tap(&mut self, stage: Stage, value: &mut Matrix) {
        let shape = [value.rows(), value.cols()];
        self.record(stage, &shape, value.data_mut());
    }
}

impl<T: Trace + ?Sized> Trace for &mut T {
    fn wants(&self, stage: Stage) -> bool {
        (**self).wants(stage)
    }
    fn enter_block(&mut self, i: Option<usize>) {
        (**self).enter_block(i);
    }
    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        (**self).record(stage, shape, values);
    }
    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        (**self).record_ids(stage, ids);
    }
}

/// Looks at nothing and costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    #[inline(always)]
    fn wants(&self, _: Stage) -> bool {
        false
    }
    #[inline(always)]
    fn enter_block(&mut self, _: Option<usize>) {}
    #[inline(always)]
    fn record(&mut self, _: Stage, _: &[usize], _: &mut [f32]) {}
    #[inline(always)]
    fn record_ids(&mut self, _: Stage, _: &[u32]) {}
}
