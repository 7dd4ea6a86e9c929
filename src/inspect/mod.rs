//! What looks at a whole generation: files of every stage, their comparison, the logit lens and the stepper.
//!
//! | module | what |
//! |---|---|
//! | [`next_token`] | one turn of the loop with every stage shown to a [`Trace`](crate::trace::Trace) |
//! | [`TraceFile`] | writes the stages of one pass into a safetensors file |
//! | [`StepsFile`] | writes those of a whole generation |
//! | [`diff`](diff()) | compares two such files, stage by stage |
//! | [`Lens`] | reads the residual stream as if the model ended there |
//! | [`debugger`] | walks through a generation, forward and back |

pub mod debugger;
pub mod diff;
mod file;
pub mod lens;
mod metadata;
mod step;
pub mod steps_file;

pub use diff::diff;
pub use file::TraceFile;
pub use lens::Lens;
pub use metadata::metadata;
pub use step::{next_token, next_token_watched};
pub use steps_file::{Choices, StepsFile};
