//! From files to a model: nothing is copied, everything is checked.
//!
//! A *folder* in Hugging Face's layout holds `config.json`, `model.safetensors` and the tokenizer. A name
//! (`gpt2`, `ORG/NAME`) is such a folder in the Hugging Face cache. A single `.safetensors` file works too.
//! One small model is part of the program.

mod folder;
mod generation_config;
mod int8;
mod language_model;
mod names;
pub mod random;
pub mod save;
mod weights;

pub use folder::{bundled, folder_of, open, open_tokenizer};
pub use generation_config::GenerationConfig;
pub use language_model::LanguageModel;
