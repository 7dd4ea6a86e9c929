//! Attention's two products, for one head and a few rows.
//!
//! ```text
//! scores[r, s] = scale * (q[r] · key[s])
//! out[r]       = sum over s of weights[r, s] * value[s]
//! ```
//!
//! Both are sums in the order of [`super`]: over the head's dimensions, and over the positions. The cache is laid out
//! for them. Within a page, keys have one row per dimension, so that those of neighbouring positions lie side by side;
//! values have one row per position. Each key and value that is read serves all rows. 16-bit ones are widened exactly.

mod mix;
mod scores;

pub use mix::mix;
pub use scores::scores;

use crate::simd::lanes::Lanes;

/// Rows that share what is read.
pub const ROWS: usize = 8;

/// Whether there are registers for the sums of `R` rows and four times sixteen columns.
#[inline(always)]
fn many_sums<L: Lanes, const R: usize>() -> bool {
    L::REGISTERS == 1 || R == 1
}
