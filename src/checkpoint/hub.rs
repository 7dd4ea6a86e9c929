//! A model from the Hugging Face hub, in the cache where Python's tools look for it too.
//!
//! ```text
//! models--ORG--NAME/blobs/ETAG                 each file once
//!                   snapshots/COMMIT/FILE      a link to its blob
//!                   refs/main                  the commit; written last
//! ```
//!
//! Source: `huggingface_hub`, `file_download.py`. Nothing is asked for that is whole on disk.

mod download;

use super::names;
use crate::config::Config;
use crate::error::{Error, Result};
use download::{Blob, Web};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What describes a model and its tokenizer, beside its weights.
const SMALL: [&str; 8] = [
    "config.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
];

/// The weights in one file.
const SINGLE: &str = "model.safetensors";

/// The list of the files of weights in several.
const INDEX: &str = "model.safetensors.index.json";

/// How far a file is: its name, the bytes that are there, and all its bytes.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Fetches what is not on disk of the model's files. Gives the folder that [`open`](super::open) takes.
///
/// The environment decides as for Python's tools: `HF_HUB_CACHE`, `HF_HOME` and the others name the cache, `HF_ENDPOINT` the
/// hub, `HF_TOKEN` a token; `HF_HUB_OFFLINE` forbids to ask.
///
/// # Errors
/// [`Error::Input`] for a name that is none, or that the hub does not give; [`Error::Io`] and [`Error::File`] if a file cannot
/// be fetched whole or written. What is there of a large file stays, and the next call continues it.
pub fn fetch(name: &str, progress: Progress<'_>) -> Result<PathBuf> {
    if !names::is_name(name) {
        return Err(Error::input(format!("{name:?} is not a model's name, such as gpt2 or ORG/NAME")));
    }
    let cache = names::cache()?;
    let place = Place {
        folder: cache.join(names::folder(name)),
        locks: cache.join(".locks").join(names::folder(name)),
    };
    if let Some(snapshot) = names::find_in(&cache, name).filter(|snapshot| is_whole(snapshot)) {
        return Ok(snapshot);
    }
    let is_on = |value: String| ["1", "ON", "YES", "TRUE"].contains(&&*value.to_uppercase());
    if env::var("HF_HUB_OFFLINE").is_ok_and(is_on) {
        return Err(Error::input(format!(
            "{name} is not whole in {}, and HF_HUB_OFFLINE is set",
            cache.display()
        )));
    }
    let web = Web::from_environment(name)?;
    let (commit, files) = list(&web, name)?;
    let snapshot = place.folder.join("snapshots").join(&commit);
    let mut get = |file: &str| -> Result<()> {
        if snapshot.join(file).exists() {
            return Ok(());
        }
        let blob = web.blob(&format!("{name}/resolve/{commit}/{file}"), file)?;
        place.add(&web, &blob, &snapshot, progress)
    };
    files.iter().filter(|file| SMALL.contains(&&***file)).try_for_each(|file| get(file))?;
    let config = snapshot.join("config.json");
    let json = fs::read(&config).map_err(Error::io(&config))?;
    Config::from_json(&json).map_err(|problem| Error::input(format!("{name}: {problem}")))?; // before the large files
    if files.contains(SINGLE) {
        get(SINGLE)?;
    } else {
        get(INDEX)?;
        parts(&snapshot.join(INDEX))?.iter().try_for_each(|part| get(part))?;
    }
    let (refs, grows) = (place.folder.join("refs"), place.folder.join(".main")); // in refs, each file is a revision
    fs::create_dir_all(&refs).map_err(Error::io(&refs))?;
    fs::write(&grows, &commit)
        .and_then(|()| fs::rename(&grows, refs.join("main")))
        .map_err(Error::io(refs))?;
    Ok(snapshot)
}

/// Whether all of a model is in the folder.
fn is_whole(snapshot: &Path) -> bool {
    let has = |name: &str| snapshot.join(name).is_file();
    let parts = || parts(&snapshot.join(INDEX)).is_ok_and(|parts| parts.iter().all(|part| has(part)));
    let tokenizer = has("tokenizer.json") || has("vocab.json") && has("merges.txt");
    has("config.json") && tokenizer && (has(SINGLE) || has(INDEX) && parts())
}

/// The files that an index lists, each in the same folder.
fn parts(index: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read(index).map_err(Error::io(index))?;
    let json: Value =
        serde_json::from_slice(&text).map_err(|e| Error::file(index, format!("not JSON: {e}")))?;
    let names = json["weight_map"].as_object().map(|map| map.values()).into_iter().flatten();
    let names = names.map(|name| name.as_str().filter(|name| download::is_plain(name)).map(String::from));
    let names = names.collect::<Option<BTreeSet<_>>>().filter(|names| !names.is_empty());
    names.ok_or_else(|| Error::file(index, "weight_map does not name files of this folder"))
}

/// The newest commit of the model, and the names of its files.
fn list(web: &Web, name: &str) -> Result<(String, BTreeSet<String>)> {
    let about = web.json(&format!("api/models/{name}/revision/main"))?;
    let commit = about["sha"].as_str().filter(|commit| download::is_plain(commit));
    let commit = commit.ok_or_else(|| Error::input(format!("{name}: the hub's answer names no commit")))?;
    let files = about["siblings"].as_array().into_iter().flatten();
    let files: BTreeSet<_> = files.filter_map(|file| Some(file["rfilename"].as_str()?.to_string())).collect();
    if !files.contains("config.json") || !files.contains(SINGLE) && !files.contains(INDEX) {
        let weights = files.iter().find(|file| file.starts_with("pytorch_model") || file.ends_with(".h5"));
        let what = weights.map_or("no config.json and model.safetensors".into(), |file| {
            format!("{file}, but no model.safetensors")
        });
        let advice = "its repository may have a discussion with a conversion, or convert it with transformers' save_pretrained";
        return Err(Error::input(format!("{name} has {what} on the hub; {advice}")));
    }
    Ok((commit.into(), files))
}

/// Where a model's files lie in the cache.
struct Place {
    folder: PathBuf,
    locks: PathBuf,
}

impl Place {
    /// Fetches a file, unless its blob is there, and links it into the snapshot.
    fn add(&self, web: &Web, blob: &Blob, snapshot: &Path, progress: Progress<'_>) -> Result<()> {
        let blobs = self.folder.join("blobs");
        for folder in [&blobs, &self.locks, snapshot] {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let lock = self.locks.join(format!("{}.lock", blob.etag));
        let lock = fs::File::create(&lock).map_err(Error::io(&lock))?;
        // a file system without locks has none: two fetches then write the same bytes
        if matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            let problem = "another process is fetching this file; wait until it is done";
            return Err(Error::file(blobs.join(&blob.etag), problem));
        }
        let path = blobs.join(&blob.etag);
        if fs::metadata(&path).map(|about| about.len()).ok() != Some(blob.size) {
            web.download(blob, &path, progress)?;
        }
        link(&path, &snapshot.join(&blob.file))
    }
}

/// Makes `pointer` a link to a blob, or a copy where the system has no links.
fn link(blob: &Path, pointer: &Path) -> Result<()> {
    let grows = pointer.with_file_name(format!(".{}.link", std::process::id()));
    let _ = fs::remove_file(&grows); // of a process of the same number that was killed
    let target = Path::new("../../blobs").join(blob.file_name().unwrap_or_default());
    #[cfg(unix)]
    let linked = std::os::unix::fs::symlink(&target, &grows);
    #[cfg(windows)]
    let linked = std::os::windows::fs::symlink_file(&target, &grows);
    #[cfg(not(any(unix, windows)))]
    let linked: std::io::Result<()> = Err(std::io::ErrorKind::Unsupported.into());
    linked.or_else(|_| fs::copy(blob, &grows).map(drop)).map_err(Error::io(&grows))?;
    fs::rename(&grows, pointer).map_err(Error::io(pointer))
}
