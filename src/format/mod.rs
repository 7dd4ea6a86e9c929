//! The bytes of files: kept alive, mapped or copied, and the safetensors format that gives them names.
//!
//! | module | what |
//! |---|---|
//! | [`Bytes`] | a shared, read-only range of bytes: of a mapped file, of the program, or of a copy |
//! | [`safetensors`] | named tensors in one file: read, written, or grown tensor by tensor |
//!
//! What the tensors mean is [`checkpoint`](crate::checkpoint)'s business.

mod bytes;
pub mod safetensors;

pub use bytes::Bytes;
