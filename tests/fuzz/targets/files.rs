//! Files: a checkpoint in each format, its configuration, and traces.

use super::tiny::{self, with_file, written};
use super::{is_one_line, join, line, sections};
use gpt2::checkpoint::random::random;
use gpt2::checkpoint::save::Save;
use gpt2::checkpoint::{
    self, GenerationConfig, LanguageModel, gguf as gguf_file, llmc as llmc_file, open_files,
};
use gpt2::error::Result;
use gpt2::format::safetensors::SafeTensors;
use gpt2::format::{Bytes, llmc_state};
use gpt2::generate::{Generation, Options};
use gpt2::inspect::doctor::examine;
use gpt2::inspect::{TraceFile, diff::diff};
use gpt2::kv_cache::KvCache;
use gpt2::model::Gpt2;
use gpt2::tensor::Dtype;
use gpt2::trace::NoTrace;
use std::path::Path;

pub fn safetensors(data: &[u8]) {
    with_file("model.safetensors", data, |path| is_usable_or_refused(checkpoint::open(path)));
}

pub fn gguf(data: &[u8]) {
    with_file("model.gguf", data, |path| is_usable_or_refused(checkpoint::open(path)));
}

pub fn llmc(data: &[u8]) {
    with_file("model.bin", data, |path| is_usable_or_refused(checkpoint::open(path)));
}

/// `config.json` and `generation_config.json`, beside the weights of the tiny model.
pub fn config(data: &[u8]) {
    let mut files: Vec<(String, Vec<u8>)> =
        tiny::TOKENIZER.iter().map(|(name, text)| ((*name).into(), text.clone().into())).collect();
    files.push(("model.safetensors".into(), saved(&tiny::LM.model)));
    let given = sections(data).into_iter().filter(|(name, _)| name.ends_with("config.json"));
    files.extend(given.map(|(name, body)| (name, body.to_vec())));
    is_usable_or_refused(open_files("files", files));
}

/// A model that opens can be used: it writes, its tokenizer encodes, and a copy of it gives the same bits.
fn is_usable_or_refused(opened: Result<LanguageModel>) {
    let lm = match opened {
        Ok(lm) => lm,
        Err(error) => return is_one_line(&error),
    };
    lm.notes.iter().for_each(|note| line(note));
    let (model, v) = (&lm.model, lm.model.config.vocab_size as u32);
    if model.parameters() > 1 << 16 {
        return; // a repeated name may make a large model; it takes too long to run here
    }
    let ids = lm.bpe.encode("The end.");
    assert_eq!(lm.bpe.decode(&ids).map(|_| ()).err().map(|e| e.to_string()), None);
    let own = lm.generation_config.over(Options::sampled(1), &lm.bpe);
    for options in [Ok(Options::default()), own].into_iter().flatten() {
        let prompt = [0, v - 1, v / 2];
        let generation = lm.generation(&prompt[..model.config.n_positions.min(3)], options.max_new_tokens(4));
        let chosen = generation.map(|text| text.collect::<Result<Vec<_>>>()).and_then(|all| all);
        match chosen {
            Ok(chosen) => assert!(chosen.len() <= 4 && chosen.iter().all(|chosen| chosen.id < v)),
            Err(error) => is_one_line(&error),
        }
    }
    let copy =
        with_file("model.safetensors", &saved(model), |path| checkpoint::open(path)).expect("a copy opens");
    assert_eq!(bits(model), bits(&copy.model));
}

fn bits(model: &Gpt2) -> Vec<u32> {
    let x = model.forward(&[0], &mut KvCache::new(&model.config), &mut NoTrace);
    x.data().iter().map(|x| x.to_bits()).collect()
}

/// A model as safetensors, with its configuration inside.
fn saved(model: &Gpt2) -> Vec<u8> {
    written(|path| {
        let saving = Save::begin(model, "tiny", &GenerationConfig::default(), path);
        saving.and_then(Save::finish).expect("a file");
    })
}

pub fn safetensors_seeds() -> Vec<Vec<u8>> {
    let untied = tiny::CONFIG
        .replace('}', r#", "tie_word_embeddings": false}"#)
        .replace("259", "5")
        .replace("258", "4");
    let untied = tiny::model(&untied);
    let mut seeds = vec![saved(&untied), saved(&untied.quantize()), saved(&tiny::LM.model)];
    seeds.extend([Dtype::F16, Dtype::Bf16].map(|dtype| saved(&random(untied.config.clone(), dtype))));
    seeds
}

pub fn gguf_seeds() -> Vec<Vec<u8>> {
    let lm = &tiny::LM;
    let storages = [
        gguf_file::Storage::Plain(Dtype::F32),
        gguf_file::Storage::Plain(Dtype::F16),
        gguf_file::Storage::Q8_0,
    ];
    storages
        .map(|storage| {
            written(|path| {
                gguf_file::write((&lm.model, &lm.bpe, "tiny"), path, storage, |_| ()).expect("a file")
            })
        })
        .into()
}

pub fn llmc_seeds() -> Vec<Vec<u8>> {
    [Dtype::F32, Dtype::Bf16]
        .map(|dtype| written(|path| llmc_file::write(&tiny::LM.model, path, dtype, |_| ()).expect("a file")))
        .into()
}

pub fn config_seeds() -> Vec<Vec<u8>> {
    let whole = r#"{"n_layer": 1, "n_embd": 4, "n_head": 2, "n_positions": 8, "n_ctx": 8, "vocab_size": 259, "n_inner": null,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": true, "model_type": "gpt2",
        "scale_attn_by_inverse_layer_idx": false, "reorder_and_upcast_attn": false, "tie_word_embeddings": true,
        "eos_token_id": [258, 1], "bos_token_id": 258, "architectures": ["GPT2LMHeadModel"], "torch_dtype": "float32"}"#;
    let generation = r#"{"do_sample": true, "temperature": 0.7, "top_k": 3, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.5,
        "repetition_penalty": 1.1, "no_repeat_ngram_size": 2, "max_new_tokens": 3, "eos_token_id": 258, "num_beams": 1}"#;
    vec![
        join(&[("config.json", tiny::CONFIG)]),
        join(&[("config.json", whole), ("generation_config.json", generation)]),
    ]
}

/// Two traces of the tiny model, compared with each other and with what it computes.
pub fn traces(data: &[u8]) {
    let files = sections(data);
    let bytes: Vec<Bytes> = files.iter().map(|(_, body)| Bytes::aligned_copy(body)).collect();
    let model = &*TRACED;
    let v = model.config.vocab_size;
    let open = |(bytes, name): (&Bytes, &str)| match llmc_state::trace(bytes, v) {
        Some(Ok(state)) => Some(state),
        Some(Err(problem)) => {
            line(&problem);
            None
        }
        None => SafeTensors::parse(Path::new(name), bytes).map_err(|error| is_one_line(&error)).ok(),
    };
    let opened: Option<Vec<SafeTensors>> = bytes.iter().zip(["a", "b"]).map(open).collect();
    let Some([a, b]) = opened.as_deref() else { return };
    match diff(a, b, 1e-4) {
        Ok(found) => assert!(!found.to_string().is_empty()),
        Err(problem) => is_one_line(&gpt2::error::Error::input(problem)),
    }
    for (port, ours) in [(a, None), (b, Some(a))] {
        if let Err(error) = examine(model, port, ours, 1e-4) {
            is_one_line(&error);
        }
    }
}

static TRACED: std::sync::LazyLock<Gpt2> =
    std::sync::LazyLock::new(|| tiny::model(&tiny::CONFIG.replace("259", "5").replace("258", "4")));

pub fn traces_seeds() -> Vec<Vec<u8>> {
    let trace = |ids: &[u32]| {
        written(|path| {
            let mut file = TraceFile::create(path).expect("a file");
            let options = Options::default().max_new_tokens(2).ignore_eos(true);
            let text = Generation::with_trace(&TRACED, ids, options, &mut file).expect("a text");
            assert_eq!(text.whole().count(), 2);
            file.finish(&Default::default()).expect("a file");
        })
    };
    let (a, b) = (trace(&[1, 2]), trace(&[1, 3]));
    let mut state = vec![0u8; 1024 + 4 * 2 * 2 + 4 * 2 * 5 + 4];
    [20_240_327i32, 2, 1, 2]
        .iter()
        .enumerate()
        .for_each(|(i, n)| state[4 * i..][..4].copy_from_slice(&n.to_le_bytes()));
    vec![join(&[("a", &a), ("b", &a)]), join(&[("a", &a), ("b", &b)]), join(&[("a", &a), ("b", &state)])]
}
