//! Tools to inspect a generation: trace files of every stage, their comparison, the logit lens and the stepper.
//!
//! | module | what |
//! |---|---|
//! | [`next_token`] | runs one step of the loop and passes every stage to a [`Trace`](crate::trace::Trace) |
//! | [`TraceFile`] | writes the stages of a pass or of a whole generation to a safetensors file |
//! | [`diff`](diff()) | compares two such files, stage by stage |
//! | [`Lens`] | reads the residual stream as if the model ended there |
//! | [`debugger`] | steps through a generation, forward and back |

pub mod debugger;
pub mod diff;
pub mod lens;
mod metadata;
mod step;
mod trace_file;

pub use diff::diff;
pub use lens::Lens;
pub use metadata::metadata;
pub use step::{next_token, next_token_watched};
pub use trace_file::{Choices, TraceFile};
