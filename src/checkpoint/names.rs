//! The cache of `huggingface_hub`, in which `gpt2` and `ORG/NAME` are looked up.

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
    let cache = cache_folder(|name| env::var_os(name)).ok_or_else(|| {
        Error::input(format!(
            "{name}: no such folder, and no home folder with a Hugging Face cache; set HF_HOME"
        ))
    })?;
    find_in(&cache, name).ok_or_else(|| {
        Error::input(format!(
            "{name}: no such folder or file, and not in the Hugging Face cache {}; give a folder with config.json",
            cache.display()
        ))
    })
}

/// The first that is set of `HF_HUB_CACHE`, `HF_HOME/hub`, `XDG_CACHE_HOME/huggingface/hub` and
/// `~/.cache/huggingface/hub`.
fn cache_folder(var: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let var = |name| var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || var("HOME").or_else(|| var("USERPROFILE"));
    (var("HF_HUB_CACHE"))
        .or_else(|| Some(var("HF_HOME")?.join("hub")))
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("huggingface/hub")))
        .or_else(|| Some(home()?.join(".cache/huggingface/hub")))
}

/// The newest snapshot of the model, which `refs/main` names. OpenAI's sizes moved into an organisation: both places are
/// searched.
fn find_in(cache: &Path, name: &str) -> Option<PathBuf> {
    let folders = [name.to_string(), format!("openai-community/{name}"), format!("distilbert/{name}")];
    folders.iter().filter(|folder| is_name(folder)).find_map(|folder| {
        let repository = cache.join(format!("models--{}", folder.replace('/', "--")));
        let revision = std::fs::read_to_string(repository.join("refs/main")).ok()?;
        let snapshot = repository.join("snapshots").join(revision.trim());
        (is_name(revision.trim()) && snapshot.is_dir()).then_some(snapshot)
    })
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
        std::fs::write(repository.join("refs/main"), "../../..").expect("a file");
        assert_eq!(find_in(cache.path(), "gpt2"), None);
    }
}
