//! What a page about one generation shows, and the engine that answers while it is looked at.
//!
//! | module | what |
//! |---|---|
//! | [`Recording`] | writes a text step by step and keeps what each step computed |
//! | [`about`](about()) | what the page says of the model: its sizes, its vocabulary, the code of each stage |
//! | [`search`] | beams as a tree, and guesses with their checks |
//! | [`Engine`] | answers requests in JSON: a page with the model inside asks it for everything |
//!
//! A page for any model holds a recording. Its numbers are those of [`trace`](crate::trace), bit for bit, and it draws its
//! distributions with this crate's own [`sampling`](crate::sampling), compiled to WebAssembly.

mod about;
mod engine;
#[cfg(all(feature = "engine", target_arch = "wasm32"))]
mod exports;
mod recording;
pub mod search;

pub use about::about;
pub use engine::{Answer, Engine, golden};
pub use recording::{Array, Recording, Step};
