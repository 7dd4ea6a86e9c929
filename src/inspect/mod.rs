//! Tools to inspect a generation: trace files of every stage, their comparison, the logit lens and the stepper.
//!
//! | module | what |
//! |---|---|
//! | [`next_token`] | runs one step of the loop and passes every stage to a [`Trace`](crate::trace::Trace) |
//! | [`TraceFile`] | writes the stages of a pass or of a whole generation to a safetensors file |
//! | [`diff`](diff()) | compares two such files, stage by stage |
//! | [`doctor`] | finds the stages of a port that are wrong by themselves, and names known mistakes |
//! | [`Lens`] | reads the residual stream as if the model ended there |
//! | [`how`](how()) | how one number came about: its operands, in the order of the arithmetic |
//! | [`why`](why()) | why a token has its score: what each part of the model adds to it |
//! | [`code`](code()) | the lines of the lesson that compute a stage |
//! | [`debugger`] | steps through a generation, forward and back |

mod code;
pub mod debugger;
pub mod diff;
pub mod doctor;
mod edit;
pub mod how;
mod json;
mod largest;
pub mod lens;
mod metadata;
mod moments;
mod pass;
mod step;
mod trace_file;
pub mod why;

pub use code::{Excerpt, code};
pub use diff::diff;
pub use edit::Edit;
pub use how::how;
pub use json::finite_or_text;
pub use lens::Lens;
pub use metadata::metadata;
pub use pass::Pass;
pub use step::{next_token, next_token_watched};
pub use trace_file::{Choices, TraceFile};
pub use why::why;
