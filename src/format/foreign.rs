//! What is a file that is not the expected one, and how does it become a model?
//!
//! The first bytes tell, or the name where a format has no mark of its own. Pickles can run code when they are read, so
//! none is read here: each answer names the command that converts a file with the tools it was made with.

use super::Folder;
use std::path::{Path, PathBuf};

/// A kind of file that people have where a model is expected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    LfsPointer,
    WebPage,
    /// PyTorch's pickles in a folder of Hugging Face's layout.
    Pickles,
    /// A pickle by itself.
    Pickle,
    TensorFlow,
    Flax,
    OpenAi,
    Adapter,
    /// A part of a model whose list of parts is missing.
    Part,
    Onnx,
    /// A checkpoint that can be read, under a name that is not looked for.
    OtherName,
    Text,
    Archive,
}

/// The first bytes of a kind, after white space and in any case.
const STARTS: &[(Kind, &[&[u8]])] = &[
    (Kind::LfsPointer, &[b"version https://git-lfs"]),
    (Kind::WebPage, &[b"<!doctype html", b"<html", b"<?xml"]),
    (Kind::TensorFlow, &[b"\x89HDF"]),
    (Kind::Text, &[b"{\"", b"{}", b"{\n", b"{\r\n", b"#version"]),
    (Kind::Archive, &[b"\x1f\x8b", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd"]),
];

/// The names of a kind, by their beginning and their end.
const NAMES: &[(Kind, &[(&str, &str)])] = &[
    (Kind::Pickles, &[("pytorch_model", ".bin"), ("pytorch_model", ".bin.index.json")]),
    (Kind::TensorFlow, &[("tf_model", ".h5"), ("tf_model", ".h5.index.json")]),
    (Kind::Flax, &[("flax_model", ".msgpack"), ("flax_model", ".msgpack.index.json")]),
    (Kind::OpenAi, &[("model.ckpt", "")]),
    (Kind::Adapter, &[("adapter_model.", ""), ("adapter_config.json", "")]),
    (Kind::Part, &[("model-", ".safetensors")]),
    (Kind::OtherName, &[("", ".safetensors"), ("", ".gguf")]),
    (Kind::Onnx, &[("", ".onnx")]),
    (Kind::Pickle, &[("", ".pt"), ("", ".pth"), ("", ".ckpt"), ("", ".pkl")]),
    (Kind::Archive, &[("", ".zip")]),
];

/// What torch.save writes: a zip archive, formerly a bare pickle.
const PICKLES: [&[u8]; 2] = [b"PK\x03\x04", b"\x80\x02"];

/// What the file of this name and content is, and what to do about it, if it is known to be no model in safetensors.
pub fn file(path: &Path, content: &[u8]) -> Option<String> {
    // a header's length may have the bytes of any of these marks, but its upper half is 0, and `{` follows
    if content.get(4..9) == Some(b"\0\0\0\0{") {
        return None;
    }
    let is_pickle = || PICKLES.iter().any(|start| content.starts_with(start)).then_some(Kind::Pickle);
    let by_name =
        || by_name(path).map(|(_, kind)| kind).filter(|kind| !matches!(kind, Kind::Part | Kind::OtherName));
    Some(by_start(content).or_else(by_name).or_else(is_pickle)?.about(path))
}

/// What a folder without `model.safetensors` holds instead: the file that tells, and what to do about it.
pub fn folder(folder: &Folder) -> Option<(PathBuf, String)> {
    let (row, path) = folder.paths().into_iter().filter_map(|path| Some((by_name(&path)?.0, path))).min()?;
    let problem = NAMES[row].0.about(&path);
    Some((path, problem))
}

/// Whether a text was not downloaded but stands for one that was to be, and what to do.
pub fn text(path: &Path, content: &[u8]) -> Option<String> {
    Some(by_start(content).filter(|kind| matches!(kind, Kind::LfsPointer | Kind::WebPage))?.about(path))
}

/// What to do with a file whose tensors change another model's, as their names tell.
pub fn adapter<'n>(path: &Path, mut names: impl Iterator<Item = &'n String>) -> Option<String> {
    names.any(|name| name.contains(".lora_A.")).then(|| Kind::Adapter.about(path))
}

/// Which part of how many a file is, by its name: `model-00001-of-00002.safetensors`.
pub fn part(path: &Path) -> Option<[usize; 2]> {
    let (before, of) = path.file_name()?.to_str()?.strip_suffix(".safetensors")?.rsplit_once("-of-")?;
    Some([before.rsplit_once('-')?.1.parse().ok()?, of.parse().ok()?])
}

fn by_start(content: &[u8]) -> Option<Kind> {
    let content = content[..content.len().min(64)].trim_ascii_start();
    let starts =
        |start: &[u8]| content.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start));
    STARTS.iter().find(|(_, all)| all.iter().any(|start| starts(start))).map(|(kind, _)| *kind)
}

/// The row of [`NAMES`] and its kind.
fn by_name(path: &Path) -> Option<(usize, Kind)> {
    let name = path.file_name()?.to_str()?;
    let fits = |(begin, end): &(&str, &str)| name.starts_with(begin) && name.ends_with(end);
    let row = NAMES.iter().position(|(_, all)| all.iter().any(fits))?;
    Some((row, NAMES[row].0))
}

impl Kind {
    /// What a file of this kind is, and what to do about it.
    fn about(self, path: &Path) -> String {
        let file = shown(path, "FILE");
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => shown(folder, "FOLDER"),
            _ => ".".into(),
        };
        let python = |code: &str| format!("python -c \"{code}\"");
        let pickle = |code: String| {
            format!("a PyTorch pickle, which can run code, so it is not read; convert it: {}", python(&code))
        };
        // The functions beside transformers' from_pretrained: its from_tf and from_flax fail in the last versions that had them.
        let load = |tool: &str, function: &str| {
            python(&format!(
                "from transformers import GPT2LMHeadModel as M; from transformers.{tool} import {function} as load; load(M(M.config_class.from_pretrained('{folder}')), '{file}').save_pretrained('{folder}')"
            ))
        };
        match self {
            Self::LfsPointer => "a Git LFS pointer, not the file itself; run git lfs pull in its folder".into(),
            Self::WebPage => {
                "a web page, not the file itself; on the Hugging Face hub, a file's own address has resolve in place of blob".into()
            }
            Self::Pickles => pickle(format!("from transformers import GPT2LMHeadModel as M; M.from_pretrained('{folder}').save_pretrained('{folder}')")),
            Self::Pickle => pickle(format!("import torch, safetensors.torch as s; s.save_file({{k: v.clone().contiguous() for k, v in torch.load('{file}', map_location='cpu').items()}}, '{folder}/model.safetensors')")),
            Self::TensorFlow => format!(
                "a TensorFlow model; convert it, with transformers 4.57 and tf-keras: {}",
                load("modeling_tf_pytorch_utils", "load_tf2_checkpoint_in_pytorch_model")
            ),
            Self::Flax => format!(
                "a Flax model; convert it, with transformers 4.57 and flax: {}",
                load("modeling_flax_pytorch_utils", "load_flax_checkpoint_in_pytorch_model")
            ),
            Self::OpenAi => format!(
                "OpenAI's own TensorFlow checkpoint; the Hugging Face hub has OpenAI's sizes as gpt2, gpt2-medium, gpt2-large and gpt2-xl; convert any other, with transformers 4.57 and tensorflow: {}; and copy encoder.json to vocab.json, vocab.bpe to merges.txt",
                python(&format!("import json; from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel as M, load_tf_weights_in_gpt2 as load; h = json.load(open('{folder}/hparams.json')); m = M(M.config_class(vocab_size=h.pop('n_vocab'), n_positions=h.pop('n_ctx'), **h)); load(m.transformer, m.config, '{folder}/model.ckpt'); m.save_pretrained('{folder}')"))
            ),
            Self::Adapter => format!(
                "a LoRA adapter, which changes another model; merge it into that model, with peft: {}; then --model merged",
                python(&format!("from peft import AutoPeftModelForCausalLM as M; M.from_pretrained('{folder}').merge_and_unload().save_pretrained('merged')"))
            ),
            Self::Part => {
                "a part of a model; the list of its parts, model.safetensors.index.json, is missing: fetch it too".into()
            }
            Self::Onnx => "an ONNX graph; export the model it was made from as safetensors".into(),
            Self::OtherName => format!("not the name that is looked for; give the file itself: --model {file}"),
            Self::Text => format!("a text, not weights; give its folder: --model {folder}"),
            Self::Archive => "a compressed archive; unpack it first".into(),
        }
    }
}

/// A path that a shell takes as it is, or else a word in its place.
fn shown(path: &Path, word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-".contains(c);
    path.to_str().filter(|path| path.chars().all(plain)).unwrap_or(word).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes_or_their_names() {
        for (name, content, part) in [
            (
                "model.safetensors",
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:0"[..],
                "git lfs pull",
            ),
            ("vocab.json", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
            ("model.safetensors", b"\n <!DOCTYPE HTML><title>404", "a web page"),
            ("model.safetensors", b"<?xml version='1.0'?><Error>", "a web page"),
            ("config.json", b"{\n  \"n_embd\": 768\n}", "give its folder: --model models"),
            (
                "model.safetensors",
                b"PK\x03\x04\x00\x00archive/data.pkl",
                "torch.load('models/model.safetensors'",
            ),
            ("weights", b"\x80\x02}q\x00", "'models/model.safetensors')\""),
            (
                "pytorch_model-00001-of-00002.bin",
                b"PK\x03\x04",
                "M.from_pretrained('models').save_pretrained('models')",
            ),
            ("tf_model.h5", b"", "with transformers 4.57 and tf-keras"),
            ("weights.hdf5", b"\x89HDF\r\n\x1a\n", "'models/weights.hdf5')"),
            ("flax_model.msgpack", b"\x81\xa0", "with transformers 4.57 and flax"),
            ("model.ckpt.index", b"", "load(m.transformer, m.config, 'models/model.ckpt')"),
            ("adapter_model.safetensors", b"", "a LoRA adapter"),
            ("model.onnx", b"\x08\x07", "an ONNX graph"),
            ("model.safetensors", b"\x1f\x8b\x08", "unpack it first"),
            ("models.zip", b"PK\x03\x04", "unpack it first"),
        ] {
            let about = file(&Path::new("models").join(name), content).unwrap_or_default();
            assert!(about.contains(part), "{name}: {about:?}");
        }
        for length in [16, 0x227b, 0x7d7b, 0x0a7b, 0x8b1f, 0x0280, 0x0403_4b50_u64] {
            let header = [&length.to_le_bytes()[..], b"{\"a\":{}}"].concat();
            assert_eq!(file(Path::new("model-00001-of-00002.safetensors"), &header), None, "{length:#x}");
        }
    }

    /// What is copied into a shell must not run anything that a path contains.
    #[test]
    fn paths_that_a_shell_would_read_are_not_shown() {
        for path in ["a b/tf_model.h5", "$(x)/tf_model.h5", "it's/tf_model.h5", "\"/tf_model.h5"] {
            let about = file(Path::new(path), b"").expect("known by its name");
            assert!(about.contains("'FOLDER'") && about.contains("'FILE'"), "{about}");
        }
        assert!(file(Path::new("tf_model.h5"), b"").expect("known").contains("from_pretrained('.')"));
    }

    #[test]
    fn a_folder_is_known_by_what_it_holds() {
        let about = |names: &[&str]| {
            let place = tempfile::tempdir().expect("a folder");
            for name in names {
                std::fs::write(place.path().join(name), "x").expect("it is written");
            }
            folder(&place.path().into())
        };
        assert_eq!(about(&["config.json", "vocab.json", "merges.txt"]), None);
        for (names, first, part) in [
            (&["tf_model.h5", "pytorch_model.bin.index.json"][..], "pytorch_model.bin.index.json", "pickle"),
            (&["hparams.json", "model.ckpt.meta"], "model.ckpt.meta", "OpenAI's own"),
            (&["model-00002-of-00002.safetensors"], "model-00002-of-00002.safetensors", "list of its parts"),
            (&["model.fp16.safetensors"], "model.fp16.safetensors", "give the file itself"),
            (&["ckpt.pt"], "ckpt.pt", "torch.load"),
        ] {
            let (path, problem) = about(names).expect("known");
            assert!(path.ends_with(first) && problem.contains(part), "{names:?}: {path:?} {problem}");
        }
        assert_eq!(folder(&"/no/such/folder".into()), None);
    }

    #[test]
    fn parts_are_known_by_their_names() {
        assert_eq!(part(Path::new("x/model-00001-of-00002.safetensors")), Some([1, 2]));
        for name in
            ["model.safetensors", "-of-.safetensors", "a-1-of-x.safetensors", "model-00001-of-00002.bin"]
        {
            assert_eq!(part(Path::new(name)), None, "{name}");
        }
    }
}
