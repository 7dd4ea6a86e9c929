//! How is a likely text found, rather than a likely token?
//!
//! Choosing the most likely token at each step does not find the most likely text: the best sentence may begin with the
//! second-best word. There are V^n texts of n tokens, too many to try, so *beam search* follows the K best beginnings
//! at the same time.
//!
//! ```text
//! beams = [(0, prompt)]
//! for each step:
//!     all = [(score + logprob(id | text), text + id) for (score, text) in beams for id in vocabulary]
//!     beams = the K best of all; those that end are put aside
//! ```
//!
//! With K = 1 this is greedy decoding; with K = V^n it is an exhaustive search. The most likely text is not always the
//! one people want to read: likely texts are bland and repeat themselves (Holtzman et al., 2019). Beam search works
//! best if there is one right answer, as in translation.
//!
//! | module | what |
//! |---|---|
//! | [`beam`] | the loop, [`BeamSearch`] |
//! | [`options`] | the user's settings, [`Beams`] |
//! | `candidates` | the best continuations of all beams, or draws from them |
//! | [`hypotheses`] | the finished texts, their scores, and whether a better one can still come |
//! | `rows` | beams as the rows of one batch, and the cache pages they share |
//! | [`record`] | what each step did |
//! | [`tree`] | all steps together: kept and pruned hypotheses, as text and as JSON |
//!
//! *Speculative decoding* also looks beyond one token, to find not a likelier text but the same text sooner: a cheap
//! [`draft`] guesses several tokens, and one pass of the model checks all of them.

pub mod beam;
mod candidates;
pub mod draft;
pub mod hypotheses;
pub mod options;
pub mod record;
mod rows;
#[cfg(test)]
mod tests;
pub mod tree;

pub use beam::BeamSearch;
pub use hypotheses::Hypothesis;
pub use options::{Beams, EarlyStopping};
pub use record::{Closed, Continuation, Fate, Round, SearchStep};
pub use tree::Tree;
