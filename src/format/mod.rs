//! The bytes of files: kept alive, mapped or copied, and the safetensors format that gives them names.
//!
//! | module | what |
//! |---|---|
//! | [`Bytes`] | a shared, read-only range of bytes: of a mapped file, of the program, or of a copy |
//! | [`Folder`] | files by name: of a folder on the disk, or in memory |
//! | [`safetensors`] | named tensors in one file: read, written, or appended tensor by tensor |
//! | [`gguf`] | llama.cpp's format: named values and tensors, read and written |
//! | [`llmc_state`] | llm.c's debug state, as the trace of a port |
//! | `foreign` | what another file is, and how it becomes a model |
//! | `unfinished` | a file that appears under its name when it is whole |
//! | `json` | structs as JSON objects |
//! | `pairs` | a JSON object in the order of its file |
//!
//! All formats are little-endian. What the tensors mean is [`checkpoint`](crate::checkpoint)'s business.

mod bytes;
mod folder;
pub(crate) mod foreign;
pub mod gguf;
pub(crate) mod json;
pub mod llmc_state;
mod pairs;
pub mod safetensors;
mod unfinished;

pub(crate) use bytes::LINE;
pub use bytes::{Access, Bytes, mapped_file};
pub use folder::Folder;
pub(crate) use pairs::Pairs;
pub use unfinished::write_whole;
