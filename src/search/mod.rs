//! Ways through the text that look further than one token.
//!
//! | module | question |
//! |---|---|
//! | [`speculative`] | Can a model write several tokens at the price of one? |

pub mod draft;
pub mod speculative;
