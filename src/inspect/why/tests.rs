use super::*;
use crate::checkpoint::bundled;
use crate::generate::Options;
use crate::inspect::how::tests::model;
use crate::tensor::Dtype;
use crate::trace::{NoTrace, Trace};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..crate::properties::config() })]
    #[test]
    fn the_parts_add_up(
        dtype in prop::sample::select(vec![Dtype::F32, Dtype::F16, Dtype::Bf16]),
        n_layer in 1usize..4,
        (n_head, d) in prop::sample::select(vec![(1, 8), (2, 12), (3, 100)]),
        tied: bool,
        ids in prop::collection::vec(0u32..61, 1..40),
        (token, against) in (0u32..61, prop::option::of(0u32..61)),
    ) {
        let model = model(&format!(
            r#"{{"n_layer": {n_layer}, "n_head": {n_head}, "n_embd": {}, "n_positions": 90, "vocab_size": 61,
            "tie_word_embeddings": {tied}}}"#, n_head * d
        ), dtype, Dtype::F32);
        let pass = Pass::of_prompt(&model, &ids, Options::default()).expect("a prompt");
        let why = why(&pass, token, against).expect("tokens");
        prop_assert_eq!(why.parts.len(), 3 + n_layer * (n_head + 2));
        let largest = why.parts.iter().map(|part| part.value.abs()).fold(0.0, f64::max);
        prop_assert!(why.rounding.abs() <= 1e-4 * largest, "{:?}", why);
        let logits = model.forward(&ids, &mut model.new_cache(), &mut NoTrace);
        let of = |id: u32| f64::from(logits.row(ids.len() - 1)[id as usize]);
        prop_assert_eq!(why.logit, of(token) - against.map_or(0.0, of));
        prop_assert_eq!(why.position, ids.len() - 1);
    }
}

/// Zeros in place of one stage.
struct Without(Stage, Option<usize>, Option<usize>);

impl Trace for Without {
    fn enter_block(&mut self, i: Option<usize>) {
        self.2 = i;
    }
    fn record(&mut self, stage: Stage, _: &[usize], values: &mut [f32]) {
        if (stage, self.2) == (self.0, self.1) {
            values.fill(0.0);
        }
    }
}

#[test]
fn a_part_that_is_switched_off_is_not_there() {
    let lm = bundled();
    let ids = lm.bpe.encode("Once upon a");
    let (time, day) = (lm.bpe.encode(" time")[0], lm.bpe.encode(" day")[0]);
    let pass = Pass::of_prompt(&lm.model, &ids, Options::default()).expect("a prompt");
    let mut why = why(&pass, time, Some(day)).expect("tokens");
    let mut steps = 0;
    why.switch_off(&pass, || steps += 1);
    assert_eq!(steps, why.parts.len());
    let without = |stage, block| {
        let trace = &mut Without(stage, block, None);
        let logits = lm.model.next_logits(&ids, &mut lm.model.new_cache(), trace);
        Some(f64::from(logits.row(0)[time as usize]) - f64::from(logits.row(0)[day as usize]))
    };
    let part = |name: &str| why.parts.iter().find(|part| part.name == name).expect(name).without;
    assert_eq!(part("transformer.wte"), without(Stage::Wte, None));
    assert_eq!(part("transformer.wpe"), without(Stage::Wpe, None));
    assert_eq!(part("transformer.h.2.mlp"), without(Stage::MlpCProj, Some(2)));
    // the last bias enters only the logit itself, so both measures of it agree
    let last = why.parts.last().expect("a part");
    assert!((why.logit - last.without.expect("a logit") - last.value).abs() < 1e-4, "{last:?}");
    // and so does what the last MLP adds, up to the scale of the last layer norm
    assert!(why.parts.iter().all(|part| part.without.expect("a logit").is_finite()));
}

#[test]
fn edits_of_the_pass_count() {
    let lm = bundled();
    let ids = lm.bpe.encode("Once upon a time");
    let mut pass = Pass::of_prompt(&lm.model, &ids, Options::default()).expect("a prompt");
    pass.edits = vec![Edit::Attention { block: 1 }, Edit::Mlp { block: 2 }, Edit::Head { block: 0, head: 1 }];
    let why = why(&pass, 11, None).expect("a token");
    assert!(why.rounding.abs() < 1e-4, "{why:?}");
    let zero: Vec<&str> = why.parts.iter().filter(|part| part.value == 0.0).map(|part| &*part.name).collect();
    let h1 =
        ["head.0", "head.1", "head.2", "head.3", "bias"].map(|part| format!("transformer.h.1.attn.{part}"));
    let all = [&["transformer.h.0.attn.head.1".to_string()][..], &h1, &["transformer.h.2.mlp".to_string()]];
    assert_eq!(zero, all.concat());
}

#[test]
fn unknown_tokens_are_named() {
    let lm = bundled();
    let pass = Pass::of_prompt(&lm.model, &[1], Options::default()).expect("a prompt");
    for (token, against) in [(99_999, None), (1, Some(99_999))] {
        assert!(why(&pass, token, against).expect_err("a token").to_string().contains("99999"));
    }
}
