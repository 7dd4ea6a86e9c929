//! The list of tensors is that of a checkpoint.

use super::*;
use crate::checkpoint::{open, random};
use std::path::Path;

#[test]
fn the_list_is_that_of_a_checkpoint() {
    for fixture in ["base", "untied", "odd-heads"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(fixture);
        let lm = open(&folder).expect("a fixture");
        let file = &lm.tensors.tensors;
        let list = lm.model.tensors();
        for (spec, weights) in &list {
            let tensor = &file[&spec.name];
            assert_eq!((&tensor.shape, &*tensor.bytes), (&spec.shape, weights.stored()), "{}", spec.name);
        }
        let buffers = file.keys().filter(|name| name.ends_with(".attn.bias") || name.contains("masked_bias"));
        assert_eq!(list.len() + buffers.count(), file.len(), "{fixture}");
    }
}

#[test]
fn the_124m_has_so_many_parameters() {
    let mut model = Gpt2::without_tensors(random::size("124M").expect("a size"));
    assert_eq!(model.list().0.iter().map(|(spec, _)| spec.len()).sum::<usize>(), 124_439_808);
}

#[test]
fn each_tensor_has_its_place() {
    let json = br#"{"n_layer": 2, "n_embd": 8, "n_head": 2, "n_inner": 7, "vocab_size": 9, "tie_word_embeddings": false}"#;
    let config = Config::from_json(json).expect("a configuration");
    let mut names = Vec::new();
    let model = Gpt2::build(config, |spec| {
        names.push(spec.name.clone());
        let [rows, cols] = spec.matrix();
        Ok::<_, ()>(Weights::from_f32(rows, cols, &vec![names.len() as f32; rows * cols]))
    });
    let model = model.expect("no error");
    let number = |name: &str| 1.0 + names.iter().position(|n| n == name).expect("a name") as f32;
    let block = &model.h[1];
    assert_eq!(model.wpe.to_f32()[0], number("transformer.wpe.weight"));
    assert_eq!(block.ln_1.bias, [number("transformer.h.1.ln_1.bias"); 8]);
    assert_eq!(block.attn.c_proj.weight.to_f32(), [number("transformer.h.1.attn.c_proj.weight"); 64]);
    assert_eq!(block.mlp.c_fc.bias, [number("transformer.h.1.mlp.c_fc.bias"); 7]);
    assert_eq!(model.lm_head.to_f32()[0], number("lm_head.weight"));
    let doubled = model.map_tensors(|_, weights| {
        let twice: Vec<f32> = weights.to_f32().iter().map(|x| 2.0 * x).collect();
        Weights::from_f32(weights.rows(), weights.cols(), &twice)
    });
    for ((spec, weights), name) in doubled.tensors().iter().zip(&names) {
        assert_eq!((&spec.name, weights.to_f32()[0]), (name, 2.0 * number(name)));
    }
    assert_eq!(model.weight_bytes(), 4 * model.parameters());
}

#[test]
#[should_panic(expected = "the shape of transformer.wte.weight")]
fn shapes_are_checked() {
    let config = Config::from_json(br#"{"n_layer": 1, "vocab_size": 9}"#).expect("a configuration");
    let _ = Gpt2::build(config, |_| Ok::<_, ()>(Weights::from_f32(1, 1, &[0.0])));
}
