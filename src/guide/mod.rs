//! Reference pages: the same text here and in `src/guide/*.md`.
//!
//! The lessons explain how the model works; these pages explain how to use it, check it and change it.

#[doc = include_str!("inside.md")]
pub mod inside {}

#[doc = include_str!("port.md")]
pub mod port {}

#[doc = include_str!("checkpoints.md")]
pub mod checkpoints {}

#[doc = include_str!("commands.md")]
pub mod commands {}

#[doc = include_str!("exact.md")]
pub mod exact {}

#[doc = include_str!("faults.md")]
pub mod faults {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

#[doc = include_str!("maintain.md")]
pub mod maintain {}
