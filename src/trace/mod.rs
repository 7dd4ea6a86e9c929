//! Every number between the prompt and the next token can be looked at.
//!
//! The forward pass calls [`Trace::tap`] with each result, in one line beside the line that computes it. With
//! [`NoTrace`] the calls are empty and compile to nothing. A [`Recorder`] keeps what it is shown.

mod recorder;
mod stage;

pub use recorder::{Recorded, Recorder};
pub use stage::Stage;

use crate::tensor::Matrix;

/// Somebody who looks at (and may change) the results of a forward pass.
pub trait Trace {
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
