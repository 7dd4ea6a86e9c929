//! A model from the Hugging Face hub, in the cache where Python's tools look for it too.
//!
//! ```text
//! models--ORG--NAME/blobs/ETAG                 each file once
//!                   snapshots/COMMIT/FILE      a link to its blob
//!                   refs/main                  the commit; written last
//! ```
//!
//! Source: `huggingface_hub`, `file_download.py`. A model that is complete on disk causes no request.

mod download;
mod web;

use super::folder::{COMPANIONS, INDEX, SINGLE};
use super::names;
use crate::config::Config;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{env, fs};
use web::{Blob, Web};

/// The progress of a file: its name, the bytes that have arrived, and its size.
pub type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

/// Downloads the files of a model that are not on disk, and returns the folder that [`open`](super::open) takes.
///
/// Environment variables have the same meaning as for Python's tools: `HF_HUB_CACHE`, `HF_HOME` and the others set the
/// cache, `HF_ENDPOINT` the hub, and `HF_TOKEN` the access token; `HF_HUB_OFFLINE` forbids requests.
///
/// # Errors
/// [`Error::Input`] if the name is invalid or the hub refuses it; [`Error::Io`] and [`Error::File`] if a file cannot be
/// downloaded or written. The part of a large file that has arrived is kept, and the next call resumes.
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
    if is_on("HF_HUB_OFFLINE") {
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
    files
        .iter()
        .filter(|file| COMPANIONS.iter().any(|(name, _)| name == file))
        .try_for_each(|file| get(file))?;
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

/// Whether this environment variable is set to a word that `huggingface_hub` takes for yes.
fn is_on(name: &str) -> bool {
    env::var(name).is_ok_and(|value| ["1", "ON", "YES", "TRUE"].contains(&&*value.to_uppercase()))
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
    let names = names.map(|name| name.as_str().filter(|name| web::is_plain(name)).map(String::from));
    let names = names.collect::<Option<BTreeSet<_>>>().filter(|names| !names.is_empty());
    names.ok_or_else(|| Error::file(index, "weight_map does not name files of this folder"))
}

/// The newest commit of the model, and the names of its files.
fn list(web: &Web, name: &str) -> Result<(String, BTreeSet<String>)> {
    let about = web.json(&format!("api/models/{name}/revision/main"))?;
    let commit = about["sha"].as_str().filter(|commit| web::is_plain(commit));
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
    use std::os::unix::fs::symlink;
    #[cfg(windows)]
    use std::os::windows::fs::symlink_file as symlink;
    let linked = if is_on("HF_HUB_DISABLE_SYMLINKS") {
        Err(std::io::ErrorKind::Unsupported.into())
    } else {
        symlink(&target, &grows)
    };
    linked.or_else(|_| fs::copy(blob, &grows).map(drop)).map_err(Error::io(&grows))?;
    fs::rename(&grows, pointer).map_err(Error::io(pointer))
}
