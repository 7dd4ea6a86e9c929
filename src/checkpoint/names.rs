//! The cache of `huggingface_hub`, in which `gpt2` and `ORG/NAME` are looked up.

use super::folder::{INDEX, SINGLE};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::{env, ffi::OsString};

/// Whether this may be a model's name: one or two parts of letters, digits, `-`, `_` and `.`.
pub fn is_name(name: &str) -> bool {
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with('.')
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    name.split('/').count() <= 2 && name.split('/').all(part)
}

/// The folder of a model in the cache.
///
/// # Errors
/// [`Error::Input`], which says where it was looked for.
pub fn find(name: &str) -> Result<PathBuf> {
    let cache = cache()?;
    find_in(&cache, name).ok_or_else(|| {
        let advice = match cfg!(feature = "fetch") {
            true => format!("gpt2 fetch {name} downloads it from the hub"),
            false => "give a folder with config.json".into(),
        };
        let cache = cache.display();
        Error::input(format!(
            "{name}: no such folder or file, and not in the Hugging Face cache {cache}; {advice}"
        ))
    })
}

/// The cache.
///
/// # Errors
/// [`Error::Input`] if no variable names a place for it.
pub fn cache() -> Result<PathBuf> {
    let problem = || Error::input("no home folder for a Hugging Face cache; set HF_HOME");
    cache_folder(|name| env::var_os(name)).ok_or_else(problem)
}

/// Where `huggingface_hub` keeps the user's token.
#[cfg(feature = "fetch")]
pub fn token_file() -> Option<PathBuf> {
    let named = env::var_os("HF_TOKEN_PATH").map(PathBuf::from);
    named.or_else(|| Some(cache_home(|name| env::var_os(name))?.join("token")))
}

/// The folder of a model's files in the cache.
pub fn folder(name: &str) -> String {
    format!("models--{}", name.replace('/', "--"))
}

/// The first that is set of `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE` and the folder `hub` of [`cache_home`].
fn cache_folder(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    (given("HF_HUB_CACHE", &var).or_else(|| given("HUGGINGFACE_HUB_CACHE", &var)))
        .or_else(|| Some(cache_home(&var)?.join("hub")))
}

/// The first that is set of `HF_HOME`, `XDG_CACHE_HOME/huggingface` and `~/.cache/huggingface`.
fn cache_home(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    (given("HF_HOME", &var))
        .or_else(|| Some(given("XDG_CACHE_HOME", &var)?.join("huggingface")))
        .or_else(|| Some(home(&var)?.join(".cache/huggingface")))
}

fn home(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    ["HOME", "USERPROFILE"]
        .into_iter()
        .find_map(|name| var(name).filter(|value| !value.is_empty()))
        .map(PathBuf::from)
}

/// A variable that is a path, which may begin with `~`.
fn given(name: &str, var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = var(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
    match path.strip_prefix("~") {
        Ok(rest) => Some(home(var)?.join(rest)),
        Err(_) => Some(path),
    }
}

/// The newest snapshot of the model, which `refs/main` names. OpenAI's sizes moved into an organisation: both places are
/// searched.
pub fn find_in(cache: &Path, name: &str) -> Option<PathBuf> {
    let folders = [name.to_string(), format!("openai-community/{name}"), format!("distilbert/{name}")];
    let snapshot = |folder: &String| {
        let repository = cache.join(self::folder(folder));
        let revision = std::fs::read_to_string(repository.join("refs/main")).ok()?;
        let snapshot = repository.join("snapshots").join(revision.trim());
        (is_name(revision.trim()) && snapshot.is_dir()).then_some(snapshot)
    };
    let snapshots: Vec<PathBuf> =
        folders.iter().filter(|folder| is_name(folder)).filter_map(snapshot).collect();
    // one may hold the tokenizer alone
    let has_weights = |snapshot: &&PathBuf| [SINGLE, INDEX].iter().any(|name| snapshot.join(name).exists());
    snapshots.iter().find(has_weights).or(snapshots.first()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_not_paths() {
        for (name, is) in [
            ("gpt2", true),
            ("openai-community/gpt2", true),
            ("../gpt2", false),
            ("/gpt2", false),
            ("a/b/c", false),
            ("", false),
            ("a b", false),
        ] {
            assert_eq!(is_name(name), is, "{name:?}");
        }
    }

    #[test]
    fn the_first_variable_that_is_set_counts() {
        let vars =
            [("HF_HUB_CACHE", ""), ("HF_HOME", "/hf"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/me")];
        let from = |skip: usize| {
            cache_folder(|name| {
                vars[skip..].iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
            })
        };
        assert_eq!(from(0), Some("/hf/hub".into()));
        assert_eq!(from(2), Some("/xdg/huggingface/hub".into()));
        assert_eq!(from(3), Some("/home/me/.cache/huggingface/hub".into()));
        assert_eq!(from(4), None);
        let home = |name: &str| match name {
            "HF_HOME" => Some("~/models".into()),
            "HOME" => Some("/home/me".into()),
            _ => None,
        };
        assert_eq!(cache_folder(home), Some("/home/me/models/hub".into()));
    }

    #[test]
    fn a_model_in_the_cache_is_found() {
        let cache = tempfile::tempdir().expect("a folder");
        let repository = cache.path().join("models--openai-community--gpt2");
        std::fs::create_dir_all(repository.join("snapshots/abc")).expect("folders");
        std::fs::create_dir_all(repository.join("refs")).expect("folders");
        std::fs::write(repository.join("refs/main"), "abc\n").expect("a file");
        let found = Some(repository.join("snapshots/abc"));
        assert_eq!(find_in(cache.path(), "gpt2"), found);
        assert_eq!(find_in(cache.path(), "openai-community/gpt2"), found);
        assert_eq!(find_in(cache.path(), "gpt3"), None);
        let tokenizer = cache.path().join("models--gpt2");
        std::fs::create_dir_all(tokenizer.join("snapshots/abc")).expect("folders");
        std::fs::create_dir_all(tokenizer.join("refs")).expect("folders");
        std::fs::write(tokenizer.join("refs/main"), "abc").expect("a file");
        std::fs::write(repository.join("snapshots/abc/model.safetensors"), "").expect("a file");
        assert_eq!(find_in(cache.path(), "gpt2"), found, "the one with weights");
        std::fs::remove_dir_all(tokenizer).expect("a folder");
        std::fs::write(repository.join("refs/main"), "../../..").expect("a file");
        assert_eq!(find_in(cache.path(), "gpt2"), None);
    }
}
