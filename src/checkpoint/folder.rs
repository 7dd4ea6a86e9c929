//! A folder in Hugging Face's layout, a single file, or the model inside the program.

use super::{LanguageModel, names, save, weights};
use crate::bpe::Bpe;
use crate::config::{Config, Ids};
use crate::error::{Error, Result};
use crate::format::Bytes;
use crate::format::safetensors::SafeTensors;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Opens a folder, a single `.safetensors` file, or a name in the Hugging Face cache.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`] that name the file and what is wrong with it.
pub fn open(model: impl AsRef<Path>) -> Result<LanguageModel> {
    let path = model.as_ref();
    let name = path.display().to_string();
    if path.is_dir() {
        open_folder(path, name)
    } else if path.exists() {
        open_file(path, name)
    } else {
        match path.to_str().filter(|name| names::is_name(name)) {
            Some(model) => open_folder(&names::find(model)?, name),
            None => Err(Error::file(path, "no such folder or file")),
        }
    }
}

/// The tokenizer alone of what [`open`] would open.
///
/// # Errors
/// As [`open`].
pub fn open_tokenizer(model: impl AsRef<Path>) -> Result<Bpe> {
    tokenizer(&folder_of(model)?)
}

/// The folder in which [`open`] looks for the tokenizer and the configuration.
///
/// # Errors
/// As [`open`], where there is nothing of that name.
pub fn folder_of(model: impl AsRef<Path>) -> Result<PathBuf> {
    let path = model.as_ref();
    if path.is_dir() {
        return Ok(path.to_path_buf());
    }
    if path.exists() {
        return Ok(path.parent().unwrap_or(Path::new(".")).to_path_buf());
    }
    match path.to_str().filter(|name| names::is_name(name)) {
        Some(model) => names::find(model),
        None => Err(Error::file(path, "no such folder or file")),
    }
}

/// The small model that is part of the program; its card is `data/tales-8m/README.md`.
pub fn bundled() -> LanguageModel {
    /// Makes the bytes start where numbers may start.
    #[repr(C, align(64))]
    struct Aligned<T: ?Sized>(T);
    static WEIGHTS: &Aligned<[u8]> = &Aligned(*include_bytes!("../../data/tales-8m/model.safetensors"));
    const CONFIG: &[u8] = include_bytes!("../../data/tales-8m/config.json");

    let path = Path::new("the bundled model");
    let load = || -> Result<LanguageModel> {
        let config = Config::from_json(CONFIG).map_err(|problem| Error::file(path, problem))?;
        let tensors = SafeTensors::parse(path, &Bytes::from_static(&WEIGHTS.0))?;
        let model = weights::model(&tensors, config).map_err(|problem| Error::file(path, problem))?;
        Ok(LanguageModel { name: "tales-8m".into(), bpe: Bpe::gpt2(), model, tensors })
    };
    load().expect("the bundled model is whole: the tests open it")
}

fn open_folder(folder: &Path, name: String) -> Result<LanguageModel> {
    let config_path = folder.join("config.json");
    if !config_path.exists() {
        let problem = "there is no config.json; a model's folder holds config.json and model.safetensors";
        return Err(Error::file(folder, problem));
    }
    let mut config = Config::from_json(&read_small(&config_path)?)
        .map_err(|problem| Error::file(&config_path, problem))?;
    if let Some(ids) = generation_eos(folder)? {
        config.eos_token_ids = ids;
    }
    let (weights_path, tensors) = folder_tensors(folder)?;
    finish(name, folder, &weights_path, tensors, config)
}

/// A file on its own: the configuration that it carries is used, or `config.json` beside it, otherwise the shapes tell.
fn open_file(path: &Path, name: String) -> Result<LanguageModel> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let tensors = SafeTensors::parse(path, &Bytes::map(path)?)?;
    let config_path = folder.join("config.json");
    let config = if let Some(config) = tensors.metadata.get(save::CONFIG) {
        Config::from_json(config.as_bytes())
            .map_err(|problem| Error::file(path, format!("{} in __metadata__: {problem}", save::CONFIG)))?
    } else if config_path.exists() {
        Config::from_json(&read_small(&config_path)?).map_err(|problem| Error::file(&config_path, problem))?
    } else {
        weights::guess_config(&tensors).map_err(|problem| Error::file(path, problem))?
    };
    finish(name, folder, path, tensors, config)
}

fn finish(
    name: String,
    folder: &Path,
    path: &Path,
    tensors: SafeTensors,
    config: Config,
) -> Result<LanguageModel> {
    let model = weights::model(&tensors, config).map_err(|problem| Error::file(path, problem))?;
    Ok(LanguageModel { name, bpe: tokenizer(folder)?, model, tensors })
}

/// The folder's tokenizer; GPT-2's own where it has none.
fn tokenizer(folder: &Path) -> Result<Bpe> {
    let [vocab, merges, tokenizer] =
        ["vocab.json", "merges.txt", "tokenizer.json"].map(|name| folder.join(name));
    for path in [&vocab, &merges, &tokenizer] {
        if path.exists() && !path.is_file() {
            return Err(Error::file(path, "is not a plain file"));
        }
    }
    match (vocab.exists(), merges.exists()) {
        (true, true) => Bpe::from_files(&vocab, &merges),
        _ if tokenizer.exists() => Bpe::from_tokenizer_json(&tokenizer),
        (true, false) => Err(Error::file(folder, "there is a vocab.json but no merges.txt; both are needed")),
        (false, true) => Err(Error::file(folder, "there is a merges.txt but no vocab.json; both are needed")),
        (false, false) => Ok(Bpe::gpt2()),
    }
}

/// The end-of-text ids of `generation_config.json`, which count more than those of `config.json`.
fn generation_eos(folder: &Path) -> Result<Option<Vec<u32>>> {
    #[derive(Deserialize)]
    struct GenerationConfig {
        eos_token_id: Option<Ids>,
    }
    let path = folder.join("generation_config.json");
    if !path.exists() {
        return Ok(None);
    }
    let file: GenerationConfig = serde_json::from_slice(&read_small(&path)?)
        .map_err(|e| Error::file(&path, format!("not JSON as expected: {e}")))?;
    Ok(file.eos_token_id.map(Ids::into_vec))
}

/// The tensors of `model.safetensors`, or of the files that its index lists.
fn folder_tensors(folder: &Path) -> Result<(PathBuf, SafeTensors)> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let single = folder.join("model.safetensors");
    let index_path = folder.join("model.safetensors.index.json");
    if single.exists() || !index_path.exists() {
        if !single.exists() {
            let hint = if folder.join("pytorch_model.bin").exists() {
                "there is no model.safetensors; save pytorch_model.bin again with transformers' save_pretrained"
            } else {
                "there is no model.safetensors"
            };
            return Err(Error::file(folder, hint));
        }
        let tensors = SafeTensors::parse(&single, &Bytes::map(&single)?)?;
        return Ok((single, tensors));
    }
    let index: Index = serde_json::from_slice(&read_small(&index_path)?)
        .map_err(|e| Error::file(&index_path, format!("not an index of weights: {e}")))?;
    let mut all = SafeTensors::default();
    for file in index.weight_map.into_values().collect::<BTreeSet<_>>() {
        if Path::new(&file).components().count() != 1 || file.starts_with('.') {
            return Err(Error::file(&index_path, format!("{file:?} is not a file of this folder")));
        }
        let path = folder.join(file);
        let part = SafeTensors::parse(&path, &Bytes::map(&path)?)?;
        all.tensors.extend(part.tensors);
        all.metadata.extend(part.metadata);
    }
    Ok((index_path, all))
}

/// The bytes of a small text file. A device or a pipe, which could go on forever, is refused.
fn read_small(path: &Path) -> Result<Vec<u8>> {
    const LARGEST: u64 = 64 << 20;
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(Error::file(path, "not a file of at most 64 MiB"));
    }
    std::fs::read(path).map_err(Error::io(path))
}
