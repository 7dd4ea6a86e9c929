//! A model that is small enough to run thousands of times a second.

use gpt2::bpe::{Bpe, TokenId};
use gpt2::checkpoint::random::random;
use gpt2::checkpoint::{GenerationConfig, LanguageModel};
use gpt2::config::Config;
use gpt2::format::Folder;
use gpt2::generate::{FinishReason, Generation};
use gpt2::model::Gpt2;
use gpt2::tensor::Dtype;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// One block, 8 positions, and a token for each byte besides two merges and the end of a text.
pub const CONFIG: &str =
    r#"{"n_layer": 1, "n_embd": 4, "n_head": 2, "n_positions": 8, "vocab_size": 259, "eos_token_id": 258}"#;

/// The two files of its tokenizer. The ids of bytes are in GPT-2's order.
pub static TOKENIZER: LazyLock<[(&str, String); 2]> = LazyLock::new(|| {
    let gpt2 = Bpe::gpt2();
    let mut tokens: Vec<String> = (0..256).map(|id| gpt2.token_text(id).expect("a byte")).collect();
    tokens.extend(["he", "\u{120}he", "<|endoftext|>"].map(String::from));
    let vocab: Vec<String> = tokens.iter().enumerate().map(|(id, token)| format!("{token:?}:{id}")).collect();
    let merges = "#version: 0.2\nh e\n\u{120} he\n".to_string();
    [("vocab.json", format!("{{{}}}", vocab.join(","))), ("merges.txt", merges)]
});

/// The model with its tokenizer. Its weights are larger than those of [`random`], so that its choices differ.
pub static LM: LazyLock<LanguageModel> = LazyLock::new(|| {
    let files = TOKENIZER.iter().map(|(name, text)| (*name, text.clone().into_bytes()));
    let bpe = Bpe::from_folder(files.collect::<Folder>()).expect("a tokenizer").expect("two files");
    let name = "tiny".to_string();
    LanguageModel {
        name,
        bpe,
        model: model(CONFIG),
        tensors: Default::default(),
        generation_config: GenerationConfig::default(),
        notes: Vec::new(),
    }
});

/// The random model of a configuration.
pub fn model(config: &str) -> Gpt2 {
    random(Config::from_json(config.as_bytes()).expect("a configuration"), Dtype::F32)
}

/// Runs `work` with the path of a file of this name in a folder of its own; in memory, where the system has such a folder.
pub fn with_file<T>(name: &str, data: &[u8], work: impl FnOnce(&Path) -> T) -> T {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let path = folder.as_ref().expect("a folder").path().join(name);
    fs::write(&path, data).expect("a file");
    work(&path)
}

/// The bytes of the file that `work` writes.
pub fn written(work: impl FnOnce(&Path)) -> Vec<u8> {
    with_file("file", b"", |path| {
        work(path);
        fs::read(path).expect("a file")
    })
}

/// The ids of a text and why it ended, or the error.
pub type Outcome = (Vec<TokenId>, Option<FinishReason>, Option<String>);

/// Generates a text to its end.
pub fn outcome(mut text: Generation<'_>) -> Outcome {
    let error = text.by_ref().find_map(Result::err).map(|error| error.to_string());
    (text.new_ids().to_vec(), text.finish_reason(), error)
}

/// Some ids of a model.
pub fn ids(data: &[u8], model: &Gpt2, most: usize) -> Vec<TokenId> {
    data.iter().take(most).map(|byte| TokenId::from(*byte) % model.config.vocab_size as TokenId).collect()
}
