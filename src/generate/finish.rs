//! Why does a text end?

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// `max_new_tokens` are written, or all positions are taken.
    Length,
    /// An end-of-text id was chosen.
    Eos,
    /// A stop string is complete.
    Stop,
}

impl FinishReason {
    /// As in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Eos => "eos",
            Self::Stop => "stop",
        }
    }
}
