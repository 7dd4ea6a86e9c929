//! Arguments that several commands share: which model, how it runs, how much to print.

use super::report::remark;
use clap::ColorChoice;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use gpt2::checkpoint::{self, LanguageModel};
use gpt2::format::Access;
use gpt2::tensor::Dtype;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Common {
    /// Number of threads [default: one per core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// When to color help and tables
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Print more detail
    #[arg(short, long, global = true)]
    pub verbose: bool,
}

/// Which model to use.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// A folder in Hugging Face's layout, a single file (safetensors, GGUF, llm.c), or a name in the Hugging Face cache
    /// [default: the bundled model]
    #[arg(long, short, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    #[command(flatten)]
    pub access: AccessArgs,
}

/// How files of weights come into memory.
#[derive(Clone, Copy, clap::Args)]
pub struct AccessArgs {
    /// Read weights into memory instead of mapping the file, which must not change while it is mapped
    #[arg(long)]
    no_mmap: bool,
}

impl AccessArgs {
    pub fn open(self, model: &Path) -> gpt2::error::Result<LanguageModel> {
        checkpoint::open_with(model, if self.no_mmap { Access::Read } else { Access::Mapped })
    }
}

impl ModelArgs {
    pub fn open(&self) -> gpt2::error::Result<LanguageModel> {
        let lm = match &self.model {
            Some(model) => self.access.open(model)?,
            None => checkpoint::bundled(),
        };
        lm.notes.iter().for_each(|note| remark(format_args!("note: {}: {note}", lm.name)));
        Ok(lm)
    }

    pub fn open_to_run(&self, cache: &CacheArgs) -> gpt2::error::Result<LanguageModel> {
        let mut lm = self.open()?;
        lm.model.kv_cache_dtype = cache.kv_cache_dtype;
        Ok(lm)
    }

    /// Notes that the model has no tokenizer of its own.
    pub fn note_tokenizer(&self) {
        if let Some(model) = &self.model
            && let Ok(Some(folder)) = checkpoint::companions_of(model)
            && !checkpoint::has_tokenizer(&folder)
        {
            remark(format_args!("note: {} has no tokenizer; GPT-2's own is used", model.display()));
        }
    }

    pub fn tokenizer(&self) -> gpt2::error::Result<gpt2::bpe::Bpe> {
        let bpe =
            self.model.as_ref().map_or_else(|| Ok(gpt2::bpe::Bpe::gpt2()), checkpoint::open_tokenizer)?;
        self.note_tokenizer();
        Ok(bpe)
    }
}

/// Parses a whole number of at least 1.
pub fn at_least_1() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// How keys and values are stored.
#[derive(clap::Args)]
pub struct CacheArgs {
    /// Number type of the cached keys and values: f16 and bf16 halve the memory and are faster in long texts, but they
    /// round the values
    #[arg(long, value_name = "TYPE", default_value = "f32",
          value_parser = PossibleValuesParser::new(["f32", "f16", "bf16"]).try_map(|name| name.parse::<Dtype>()))]
    pub kv_cache_dtype: Dtype,
}
