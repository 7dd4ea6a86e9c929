//! The list of all stages: name, shape, formula, and the file that computes it.
//!
//! This one list drives the trace file, the digests, the comparison of two traces and the guide's table.

use crate::config::Config;

/// Turns the rows of the table below into [`Stage`], [`Stage::ALL`] and [`Stage::describe`].
macro_rules! stages {
    ($($stage:ident $name:literal $shape:literal $formula:literal $file:literal)*) => {
        /// A result of the forward pass, under Hugging Face's module names: a forward hook in PyTorch produces the
        /// same keys.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Stage {
            $(
                #[doc = concat!("`", $name, "` `", $shape, "`: `", $formula, "`")]
                $stage,
            )*
        }

        impl Stage {
            /// All stages, in the order of the forward pass (one block).
            pub const ALL: [Self; 20] = [$(Self::$stage),*];

            /// Name, shape, formula and source file.
            pub fn describe(self) -> Description {
                let (name, shape, formula, file) = match self {
                    $(Self::$stage => ($name, $shape, $formula, concat!("src/", $file)),)*
                };
                Description { name, shape, formula, file }
            }
        }
    };
}

stages! {
    InputIds     "input_ids"                       "[T]"            "encode(text)"            "bpe.rs"
    Wte          "transformer.wte"                 "[T, n_embd]"    "wte[ids]"                "embedding.rs"
    Wpe          "transformer.wpe"                 "[T, n_embd]"    "wpe[positions]"          "embedding.rs"
    Drop         "transformer.drop"                "[T, n_embd]"    "wte + wpe"               "model.rs"
    Ln1          "transformer.h.{i}.ln_1"          "[T, n_embd]"    "ln_1(x)"                 "layer_norm.rs"
    AttnCAttn    "transformer.h.{i}.attn.c_attn"   "[T, 3*n_embd]"  "q, k, v = c_attn(ln_1)"  "attention.rs"
    AttnScores   "transformer.h.{i}.attn.scores"   "[n_head, T, T]" "mask(q @ k.T / sqrt(D))" "attention.rs"
    AttnWeights  "transformer.h.{i}.attn.weights"  "[n_head, T, T]" "softmax(scores)"         "attention.rs"
    AttnHeads    "transformer.h.{i}.attn.heads"    "[T, n_embd]"    "weights @ v"             "attention.rs"
    AttnCProj    "transformer.h.{i}.attn.c_proj"   "[T, n_embd]"    "c_proj(heads)"           "attention.rs"
    AttnResidual "transformer.h.{i}.attn_residual" "[T, n_embd]"    "x = x + attn"            "block.rs"
    Ln2          "transformer.h.{i}.ln_2"          "[T, n_embd]"    "ln_2(x)"                 "layer_norm.rs"
    MlpCFc       "transformer.h.{i}.mlp.c_fc"      "[T, n_inner]"   "c_fc(ln_2)"              "mlp.rs"
    MlpAct       "transformer.h.{i}.mlp.act"       "[T, n_inner]"   "gelu(c_fc)"              "mlp.rs"
    MlpCProj     "transformer.h.{i}.mlp.c_proj"    "[T, n_embd]"    "c_proj(act)"             "mlp.rs"
    Block        "transformer.h.{i}"               "[T, n_embd]"    "x = x + mlp"             "block.rs"
    LnF          "transformer.ln_f"                "[T, n_embd]"    "ln_f(x)"                 "layer_norm.rs"
    LmHead       "lm_head"                         "[T, n_vocab]"   "ln_f @ wte.T"            "model.rs"
    Probs        "probs"                           "[n_vocab]"      "softmax(filters(logits / temperature))" "sampling.rs"
    NextId       "next_id"                         "[1]"            "draw(probs)"             "sampling.rs"
}

/// What is known of a stage beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Its name; `{i}` stands for the block.
    pub name: &'static str,
    /// Its shape where a whole prompt is read at once. Through a cache, the last `T` of scores and weights is `S`.
    pub shape: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// The file that computes it.
    pub file: &'static str,
}

impl Stage {
    /// The name in block `block`, as in a trace file.
    pub fn name(self, block: Option<usize>) -> String {
        let name = self.describe().name;
        match block {
            Some(i) => name.replace("{i}", &i.to_string()),
            None => name.to_string(),
        }
    }

    /// Whether there is one of it in each block.
    pub fn in_block(self) -> bool {
        self.describe().name.contains("{i}")
    }

    /// Whether it is token ids: I64 in a trace file, where all others are F32.
    pub fn is_ids(self) -> bool {
        matches!(self, Self::InputIds | Self::NextId)
    }

    /// The shape for `t` new tokens of `s` in all. Without a cache both are the length of the prompt.
    pub fn shape(self, config: &Config, t: usize, s: usize) -> Vec<usize> {
        match self {
            Self::InputIds => vec![t],
            Self::AttnCAttn => vec![t, 3 * config.n_embd],
            Self::AttnScores | Self::AttnWeights => vec![config.n_head, t, s],
            Self::MlpCFc | Self::MlpAct => vec![t, config.n_inner],
            Self::LmHead => vec![t, config.vocab_size],
            Self::Probs => vec![config.vocab_size],
            Self::NextId => vec![1],
            _ => vec![t, config.n_embd],
        }
    }

    /// All stages as a table in Markdown.
    pub fn table() -> String {
        let rows = Self::ALL.map(|stage| {
            let Description { name, shape, formula, file } = stage.describe();
            format!("| `{name}` | {shape} | `{formula}` | [`{file}`]({file}) |\n")
        });
        format!("| stage | shape | formula | file |\n|---|---|---|---|\n{}", rows.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_list_is_complete_and_in_order() {
        assert!(Stage::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        for (i, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, i);
        }
        assert_eq!(Stage::NextId as usize + 1, Stage::ALL.len());
    }

    #[test]
    fn every_file_exists() {
        for stage in Stage::ALL {
            let file = stage.describe().file;
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file(), "{file}");
            assert!(Stage::table().contains(&format!("({file})")));
        }
    }

    /// The text of a shape and the function that computes it say the same.
    #[test]
    fn shapes_are_what_their_text_says() {
        let json = br#"{"n_embd": 6, "n_head": 3, "n_inner": 11, "vocab_size": 13}"#;
        let config = Config::from_json(json).expect("a configuration");
        let value = |letter: &str| match letter {
            "T" => 5,
            "n_embd" => 6,
            "3*n_embd" => 18,
            "n_head" => 3,
            "n_inner" => 11,
            "n_vocab" => 13,
            number => number.parse().expect("a number"),
        };
        for stage in Stage::ALL {
            let text = stage.describe().shape.trim_matches(['[', ']']);
            let expected: Vec<usize> = text.split(", ").map(value).collect();
            assert_eq!(stage.shape(&config, 5, 5), expected, "{stage:?}");
        }
    }
}
