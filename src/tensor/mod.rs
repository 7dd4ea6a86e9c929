//! The two kinds of numbers: activations, which a forward pass makes, and weights, which a checkpoint holds.
//!
//! | type | what |
//! |---|---|
//! | [`Matrix`] | activations: f32, one row per token position |
//! | [`Weights`] | a matrix of a checkpoint, in the number type and at the place where it was found |
//! | [`Dtype`] | how a number is stored |
//! | [`Outputs`] | which dimension of eight-bit weights has the scales |

/// Consecutive `k` whose products are summed before that sum is added to the result. See [`matmul`](crate::matmul).
pub const K_BLOCK: usize = 256;

mod int8;
mod matrix;
mod numbers;
mod page;
mod weights;

pub use int8::Outputs;
pub(crate) use int8::{GROUP, Int8, Known, LINE};
pub use matrix::Matrix;
pub use numbers::Dtype;
pub(crate) use numbers::{Bf16, F16, F32, Number, with_number};
pub(crate) use page::{Head, PAGE, Page};
pub use weights::Weights;
