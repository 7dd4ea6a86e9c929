//! Mathematics that every machine computes to the same bits.
//!
//! | file | what |
//! |---|---|
//! | `functions.rs` | exp, tanh, erf, ln of one number |
//! | `sums.rs` | the sum of a row |
//! | `rows.rs` | the largest element of a row, and one operation on each element |

mod functions;
mod rows;
mod sums;

pub use functions::{erf, exp, ln, tanh};
pub use rows::max;
pub(crate) use rows::{add, divide, exp_minus, shift, sum_of_exp};
pub use sums::sum;
pub(crate) use sums::sum_of;
