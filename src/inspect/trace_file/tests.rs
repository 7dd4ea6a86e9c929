use super::*;
use crate::config::TokenId;
use crate::format::{Bytes, safetensors::SafeTensors};
use crate::generate::{Generation, Options};
use crate::inspect::metadata;
use crate::inspect::next_token;
use crate::sampling::NoWatch;
use crate::trace::Recorder;

#[test]
fn every_stage_of_every_step() {
    let lm = crate::checkpoint::bundled();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.safetensors");
    let prompt = lm.bpe.encode("Once upon a time");
    let options = Options::sampled(3).max_new_tokens(3);
    let file = TraceFile::create(&path).expect("a file");
    let generation = Generation::with_trace(&lm.model, &prompt, options.clone(), file).expect("a prompt");
    let (mut generation, mut choices) = (generation.whole(), Choices::new(&lm.bpe));
    while let Some(chosen) = generation.next_watched(&mut choices) {
        chosen.expect("a token");
    }
    let ids = generation.ids().to_vec();
    generation.trace.finish(&metadata(&lm, &prompt, &options, &[choices.all])).expect("a file");

    let found = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
    let places = Place::all(lm.model.config.n_layer).count();
    assert_eq!(found.tensors.len(), 3 * places);
    let mut recorder = Recorder::new();
    next_token(&lm.model, &prompt, &options, &mut recorder).expect("a token");
    for stage in recorder.stages.iter().filter(|stage| !stage.stage.is_ids()) {
        let tensor = &found.tensors[&stage.name()];
        assert_eq!(tensor.shape, stage.shape);
        assert_eq!(&*tensor.bytes, bytemuck::cast_slice::<_, u8>(&stage.values), "{}", stage.name());
    }
    assert_eq!(found.tensors["step.2.transformer.h.1.attn.weights"].shape, [4, 1, prompt.len() + 2]);
    assert_eq!(found.tensors["step.1.lm_head"].shape, [1, 50257]);
    assert_eq!(*found.tensors["step.2.next_id"].bytes, i64::from(ids[ids.len() - 1]).to_le_bytes());
    let said: Vec<Value> = serde_json::from_str(&found.metadata["choices"]).expect("JSON");
    assert_eq!(said.len(), 3);
    assert_eq!(said[2]["chosen"]["id"], ids[ids.len() - 1]);
}

#[test]
fn some_stages_and_no_next_token() {
    let mut lm = crate::checkpoint::bundled();
    lm.model.ln_f.weight[3] = f32::NAN;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.safetensors");
    let names = ["transformer.h.1.attn.scores", "next_id", "more"].map(String::from);
    let mut file = TraceFile::create(&path).expect("a file").only(names);
    assert!(!file.wants(Stage::AttnScores), "outside the blocks");
    file.enter_block(Some(1));
    assert!(file.wants(Stage::AttnScores) && !file.wants(Stage::AttnWeights));
    next_token(&lm.model, &[1, 2], &Options::default(), &mut file).expect("a prompt");
    file.write("more", &[1], &[1.5]);
    file.write("not asked for", &[1], &[1.5]);
    file.finish(&BTreeMap::new()).expect("a file");
    let found = SafeTensors::parse(&path, &Bytes::map(&path).expect("a file")).expect("tensors");
    assert_eq!(found.tensors.keys().collect::<Vec<_>>(), ["more", "next_id", "transformer.h.1.attn.scores"]);
    assert_eq!(*found.tensors["next_id"].bytes, (-1i64).to_le_bytes());
}

/// The text is the same whether the prompt is read in one pass or in pieces.
#[test]
fn a_prompt_read_whole_gives_the_same_text() {
    let lm = crate::checkpoint::bundled();
    let prompt: Vec<TokenId> = (0..300).collect();
    let options = || Options::sampled(1).max_new_tokens(4);
    let plain = Generation::new(&lm.model, &prompt, options()).expect("a prompt");
    let mut whole = Generation::new(&lm.model, &prompt, options()).expect("a prompt").whole();
    for chosen in plain {
        let again = whole.next_watched(&mut NoWatch).expect("a turn").expect("a token");
        assert_eq!(again, chosen.expect("a token"));
    }
}
