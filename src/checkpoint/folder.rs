//! A folder in Hugging Face's layout, a single file, or the model inside the program.

use super::{GenerationConfig, LanguageModel, gguf, llmc, names, save, weights};
use crate::bpe::Bpe;
use crate::config::Config;
use crate::error::{Error, Result, one_line};
use crate::format::safetensors::SafeTensors;
use crate::format::{Access, Bytes, Folder, foreign, json::from_json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The weights in one file.
pub(super) const SINGLE: &str = "model.safetensors";

/// The list of the files of weights in several.
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The files of a folder that hold or list the weights, and what each is for.
pub(super) const WEIGHTS: [(&str, &str); 2] = [(SINGLE, "weights"), (INDEX, "the list of files of weights")];

/// The files beside the weights, and what each is for.
pub(super) const COMPANIONS: [(&str, &str); 8] = [
    ("config.json", "the model's shape"),
    (GENERATION_CONFIG, "defaults for generation"),
    ("tokenizer.json", "tokens and merges"),
    ("vocab.json", "tokens"),
    ("merges.txt", "merges"),
    ("tokenizer_config.json", "settings of the tokenizer"),
    ("special_tokens_map.json", "special tokens"),
    ("added_tokens.json", "added tokens"),
];

/// Opens a folder, a single file, or a name in the Hugging Face cache.
///
/// # Errors
/// [`Error::Io`] and [`Error::File`], which name the file and what is wrong with it; [`Error::Input`] for a name that is
/// not in the cache.
pub fn open(model: impl AsRef<Path>) -> Result<LanguageModel> {
    open_with(model, Access::Mapped)
}

/// The same; `access` says whether the weights are mapped or read.
///
/// # Errors
/// As [`open`].
pub fn open_with(model: impl AsRef<Path>, access: Access) -> Result<LanguageModel> {
    model_of(model.as_ref().display().to_string(), files(model.as_ref(), access)?)
}

/// Opens the files of a folder that lie in memory, each with its name: what a web page has fetched, say.
///
/// ```
/// # let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tales-8m");
/// let names = ["config.json", "model.safetensors", "vocab.json", "merges.txt"];
/// let files = names.map(|name| (name, std::fs::read(folder.join(name)).expect("a file")));
/// let lm = gpt2::checkpoint::open_files("tales-8m", files)?;
/// # assert_eq!(lm.bpe.encode(" time"), [640]);
/// # Ok::<(), gpt2::error::Error>(())
/// ```
///
/// # Errors
/// [`Error::File`], as [`open`].
pub fn open_files<N: Into<String>>(
    name: &str,
    files: impl IntoIterator<Item = (N, Vec<u8>)>,
) -> Result<LanguageModel> {
    model_of(name.into(), folder_files(files.into_iter().collect())?)
}

/// The files of a model, read but not yet checked against each other.
pub(super) struct Files {
    pub folder: Folder,
    /// The file that lists the tensors.
    pub weights: PathBuf,
    pub config: Config,
    pub generation_config: Result<GenerationConfig>,
    pub tensors: SafeTensors,
    /// The tokenizer, if the file of weights holds it.
    pub bpe: Option<Bpe>,
}

/// Reads the files of a model.
pub(super) fn files(model: &Path, access: Access) -> Result<Files> {
    let (folder, file) = place(model)?;
    let folder = Folder::Disk(folder, access);
    let Some(file) = file else { return folder_files(folder) };
    if let Some([part, parts]) = foreign::part(&file).filter(|[_, parts]| *parts > 1) {
        let problem =
            format!("part {part} of the {parts} parts of a model; give the folder with all of them");
        return Err(Error::file(file, problem));
    }
    let (mut bpe, mut defaults) = (None, None);
    let bytes = Bytes::open(&file, access)?;
    let (config, tensors) = if gguf::is(&bytes) {
        let (config, tensors, own) = gguf::read(&file, &bytes)?;
        bpe = own;
        (config, tensors)
    } else if llmc::is(&bytes) {
        llmc::read(&file, &bytes)?
    } else {
        let tensors = SafeTensors::of(&file, &bytes)?;
        if let Some(problem) = foreign::adapter(&file, tensors.tensors.keys()) {
            return Err(Error::file(file, problem));
        }
        defaults = own_generation_config(&file, &tensors);
        (file_config(&file, &folder, &tensors)?, tensors)
    };
    let generation_config = defaults.unwrap_or_else(|| generation_config(&folder));
    Ok(Files { folder, weights: file, config, generation_config, tensors, bpe })
}

/// Reads the files of a folder.
fn folder_files(folder: Folder) -> Result<Files> {
    let (tensors, weights) = folder_tensors(&folder)?;
    let (config, generation_config) = (folder_config(&folder)?, generation_config(&folder));
    Ok(Files { folder, weights, config, generation_config, tensors, bpe: None })
}

/// The model of these files.
fn model_of(name: String, files: Files) -> Result<LanguageModel> {
    let Files { folder, weights, mut config, generation_config, tensors, bpe } = files;
    let bpe = bpe.map_or_else(|| tokenizer(&folder), Ok)?;
    let generation_config = generation_config?;
    if let Some(ids) = &generation_config.eos_token_ids {
        config.eos_token_ids.clone_from(ids);
    }
    let (model, mut notes) = weights::model(&tensors, config).map_err(Error::in_file(weights))?;
    notes.extend_from_slice(bpe.notes());
    if !generation_config.unused.is_empty() {
        notes.push(format!("not used of {GENERATION_CONFIG}: {}", generation_config.unused.join(", ")));
    }
    let notes = notes.iter().map(|note| one_line(note)).collect();
    Ok(LanguageModel { name, bpe, model, tensors, generation_config, notes })
}

/// The tokenizer alone of what [`open`] would open.
///
/// # Errors
/// As [`open`].
pub fn open_tokenizer(model: impl AsRef<Path>) -> Result<Bpe> {
    let (folder, file) = place(model.as_ref())?;
    let gguf = file.map(|file| Bytes::map(&file).map(|bytes| (file, bytes))).transpose()?;
    let own = match gguf.filter(|(_, bytes)| gguf::is(bytes)) {
        Some((file, bytes)) => gguf::read_tokenizer(&file, &bytes)?,
        None => None,
    };
    own.map_or_else(|| tokenizer(&folder.as_path().into()), Ok)
}

/// The folder whose tokenizer and configuration belong to a model; `None` for a file of a format that holds its own
/// configuration.
///
/// # Errors
/// As [`open`], if there is nothing of that name.
pub fn companions_of(model: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    let (folder, file) = place(model.as_ref())?;
    let bytes = file.map(|file| Bytes::map(&file)).transpose()?;
    Ok(Some(folder).filter(|_| !bytes.is_some_and(|bytes| gguf::is(&bytes) || llmc::is(&bytes))))
}

/// Whether a folder has the files of a tokenizer.
pub fn has_tokenizer(folder: &Path) -> bool {
    ["tokenizer.json", "vocab.json"].iter().any(|name| folder.join(name).exists())
}

/// What a model's name stands for: its folder, and the file where only one is named.
pub(super) fn place(model: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    if model.is_dir() {
        return Ok((model.into(), None));
    }
    if model.exists() {
        return Ok((model.parent().unwrap_or(Path::new(".")).into(), Some(model.into())));
    }
    match model.to_str().filter(|name| names::is_name(name)) {
        Some(name) => Ok((names::find(name)?, None)),
        None => Err(Error::file(model, "no such folder or file")),
    }
}

/// The small model that is part of the program; its card is `data/tales-8m/README.md`.
pub fn bundled() -> LanguageModel {
    let folder = bundled_files().map(|(name, bytes)| (name, Bytes::from_static(bytes))).into_iter().collect();
    let model = folder_files(folder).and_then(|files| model_of("tales-8m".into(), files));
    model.expect("the bundled model is whole: the tests open it")
}

/// The files of the bundled model, with their names. Its tokenizer is GPT-2's own.
pub fn bundled_files() -> [(&'static str, &'static [u8]); 2] {
    [(CONFIG, BUNDLED_CONFIG), (SINGLE, &BUNDLED.0)]
}

/// Aligns the bytes for numbers.
#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

static BUNDLED: &Aligned<[u8]> = &Aligned(*include_bytes!("../../data/tales-8m/model.safetensors"));
const BUNDLED_CONFIG: &[u8] = include_bytes!("../../data/tales-8m/config.json");

/// The file of the defaults for generation.
const GENERATION_CONFIG: &str = "generation_config.json";

/// The file of the model's shape.
const CONFIG: &str = "config.json";

fn folder_config(folder: &Folder) -> Result<Config> {
    if !folder.has(CONFIG) {
        let problem = "there is no config.json; a model's folder holds config.json and model.safetensors";
        return Err(Error::file(folder.place(), problem));
    }
    Config::from_json(&read_small(folder, CONFIG)?).map_err(Error::in_file(folder.path(CONFIG)))
}

fn generation_config(folder: &Folder) -> Result<GenerationConfig> {
    if !folder.has(GENERATION_CONFIG) {
        return Ok(GenerationConfig::default());
    }
    let json = read_small(folder, GENERATION_CONFIG)?;
    GenerationConfig::from_json(&json).map_err(Error::in_file(folder.path(GENERATION_CONFIG)))
}

/// The defaults for generation that a single file holds.
fn own_generation_config(path: &Path, tensors: &SafeTensors) -> Option<Result<GenerationConfig>> {
    let own = tensors.metadata.get(save::GENERATION_CONFIG)?;
    let problem = |problem| format!("{} in __metadata__: {problem}", save::GENERATION_CONFIG);
    Some(GenerationConfig::from_json(own.as_bytes()).map_err(problem).map_err(Error::in_file(path)))
}

/// The configuration of a single file: its own, else the `config.json` of its folder, else a guess from the shapes.
fn file_config(path: &Path, folder: &Folder, tensors: &SafeTensors) -> Result<Config> {
    if let Some(config) = tensors.metadata.get(save::CONFIG) {
        let problem = |problem| format!("{} in __metadata__: {problem}", save::CONFIG);
        Config::from_json(config.as_bytes()).map_err(problem).map_err(Error::in_file(path))
    } else if folder.has(CONFIG) {
        folder_config(folder)
    } else {
        weights::guess_config(tensors).map_err(Error::in_file(path))
    }
}

/// The folder's tokenizer, or GPT-2's own if it has none.
fn tokenizer(folder: &Folder) -> Result<Bpe> {
    Ok(Bpe::from_folder(folder.clone())?.unwrap_or_else(Bpe::gpt2))
}

/// The tensors of `model.safetensors`, or of the files of its index; and the file that lists them.
fn folder_tensors(folder: &Folder) -> Result<(SafeTensors, PathBuf)> {
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    from_json!(Index { "weight_map" weight_map });
    let read = |name: &str| SafeTensors::of(&folder.path(name), &folder.map(name)?);
    if folder.has(SINGLE) {
        return Ok((read(SINGLE)?, folder.path(SINGLE)));
    }
    if !folder.has(INDEX) {
        let nothing =
            "there is no model.safetensors; a model's folder holds config.json and model.safetensors";
        let (path, problem) = foreign::folder(folder).unwrap_or((folder.place(), nothing.into()));
        return Err(Error::file(path, problem));
    }
    let index = folder.path(INDEX);
    let list: Index = serde_json::from_slice(&read_small(folder, INDEX)?)
        .map_err(|e| Error::file(&index, format!("not the expected JSON: {e}")))?;
    let files: BTreeSet<String> = list.weight_map.into_values().collect();
    let mut all = SafeTensors::default();
    for file in files {
        if Path::new(&file).components().count() != 1 || file.starts_with('.') {
            return Err(Error::file(&index, format!("{file:?} is not a file of this folder")));
        }
        if !folder.has(&file) {
            let problem = format!("{INDEX} lists it, but it is not there; fetch it too");
            return Err(Error::file(folder.path(&file), problem));
        }
        let part = read(&file)?;
        all.tensors.extend(part.tensors);
        all.metadata.extend(part.metadata);
    }
    Ok((all, index))
}

/// The bytes of a small text file.
fn read_small(folder: &Folder, name: &str) -> Result<Vec<u8>> {
    let (path, text) = (folder.path(name), folder.read(name, small)?);
    match foreign::text(&path, &text) {
        Some(problem) => Err(Error::file(path, problem)),
        None => Ok(text),
    }
}

/// The bytes of a small file of the disk. A device or a pipe, which may have no end, is refused.
fn small(path: &Path) -> Result<Vec<u8>> {
    const LARGEST: u64 = 64 << 20;
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if !about.is_file() || about.len() > LARGEST {
        return Err(Error::file(path, "not a file of at most 64 MiB"));
    }
    std::fs::read(path).map_err(Error::io(path))
}
