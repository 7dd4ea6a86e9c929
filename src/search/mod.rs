//! Which text is likely, not only which token?
//!
//! Choosing the likeliest token again and again does not find the likeliest text: the best sentence may begin
//! with the second-best word. There are V^n texts of n tokens, too many to try; a *beam search* follows the K best
//! beginnings at the same time.
//!
//! ```text
//! beams = [(0, prompt)]
//! for each step:
//!     all = [(score + logprob(id | text), text + id) for (score, text) in beams for id in vocabulary]
//!     beams = the K best of all; those that end are put aside
//! ```
//!
//! With K = 1 that is greedy decoding; with K = V^n it is the search of all. What is likely is
//! not always what one wants to read: likely texts are safe and repeat themselves (Holtzman et al., 2019). Beams are
//! best where there is one right answer, as in translation.
//!
//! | module | what |
//! |---|---|
//! | [`beam`] | the loop, [`BeamSearch`] |
//! | [`options`] | what may be asked for, [`Beams`] |
//! | `candidates` | the best continuations of all beams, or draws from them |
//! | [`hypotheses`] | the finished texts, their scores, and when no better one can come |
//! | `rows` | beams as the rows of one batch, and what they share |
//! | [`record`] | what each step did |
//! | [`tree`] | all steps together: kept and pruned hypotheses, as text and as JSON |
//!
//! The other way to look further than one token asks not for a likelier text but for the same one, sooner: in speculative
//! decoding something cheap, a [`draft`], guesses several tokens, and one pass checks all of them.

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
