//! From files to a model: nothing is copied, everything is checked.
//!
//! A *folder* in Hugging Face's layout holds `config.json`, `model.safetensors` and the tokenizer. A name
//! (`gpt2`, `ORG/NAME`) is such a folder in the Hugging Face cache. A single file works too: safetensors, GGUF, or
//! llm.c's.
//! One small model is part of the program.

mod check;
mod folder;
mod generation_config;
pub mod gguf;
#[cfg(feature = "fetch")]
pub mod hub;
mod int8;
mod language_model;
pub mod llmc;
mod names;
pub mod random;
pub mod save;
mod transpose;
mod weights;

pub use check::{Finding, check};
pub use folder::{
    bundled, bundled_files, companions_of, has_tokenizer, open, open_files, open_tokenizer, open_with,
};
pub use generation_config::GenerationConfig;
pub use language_model::LanguageModel;
