//! Why does a text end?

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The text has `max_new_tokens` new tokens, or it fills all positions.
    Length,
    /// An end-of-text id was chosen.
    Eos,
    /// A stop string is complete.
    Stop,
}

impl FinishReason {
    /// The value in `--json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Eos => "eos",
            Self::Stop => "stop",
        }
    }
}
