//! Explanations of choices, drawn and greedy.

use super::*;
use crate::sampling::{History, NoWatch, Options, Uniform};
use crate::trace::NoTrace;

fn options() -> Options {
    Options::plain(1).top_k(3).logit_bias(vec![(0, f32::NEG_INFINITY)])
}

fn explain(options: &Options, logits: &[f32]) -> (Option<TokenId>, Explanation) {
    let history = History { ids: &[1], prompt_len: 1, eos: &[] };
    let (mut explanation, mut scores) = (Explanation::new(2), logits.to_vec());
    let id = options.choose(&mut scores, &history, options.uniform().at(0), &mut NoTrace, &mut explanation);
    let mut unseen = logits.to_vec();
    let same = options.choose(&mut unseen, &history, options.uniform().at(0), &mut NoTrace, &mut NoWatch);
    assert_eq!(id, same, "looking changes nothing");
    (id, explanation)
}

#[test]
fn every_step_and_the_draw_are_explained() {
    let logits = [0.4f32, 0.1, 0.3, 0.15, 0.05].map(f32::ln);
    let (id, explanation) = explain(&options(), &logits);
    let chosen = explanation.chosen.clone().expect("a token");
    assert_eq!(Some(chosen.id), id);
    assert_eq!(explanation.model.iter().map(|c| c.id).collect::<Vec<_>>(), [0, 2]);
    let steps: Vec<_> = explanation.steps.iter().map(|t| (&*t.effect.step, t.effect.removed)).collect();
    assert_eq!(steps, [("logit-bias", 1), ("temperature", 0), ("top-k", 1)]);
    assert!((explanation.steps[0].effect.removed_mass - 0.4).abs() < 1e-6);
    assert_eq!(explanation.steps[0].after[0].id, 2);
    let u = chosen.uniform.expect("a number");
    assert_eq!(u, Uniform::new(1).draw());
    assert!(chosen.stretch[0] <= u && u < chosen.stretch[1], "{chosen:?}");
    assert!((chosen.stretch[1] - chosen.stretch[0] - f64::from(chosen.probability)).abs() < 1e-6);
    assert_eq!((chosen.candidates, chosen.alternatives.len()), (3, 2));
    assert!(chosen.alternatives.iter().all(|c| c.id != chosen.id));
    assert_eq!(chosen.model_rank, chosen.rank + 1, "the likeliest was banned");
}

#[test]
fn greedy_draws_nothing() {
    let greedy = options().sample(false);
    let (id, explanation) = explain(&greedy, &[1.0, 0.0, 2.0, 2.0]);
    let chosen = explanation.chosen.clone().expect("a token");
    assert_eq!((id, chosen.rank, chosen.uniform), (Some(2), 1, None));
    let lines = explanation.lines(|id| format!("<{id}>")).join("\n");
    assert!(lines.contains("the likeliest      <2>: rank 1 of 3"), "{lines}");
    assert!(lines.contains("instead of         <3>"), "{lines}");
}

#[test]
fn nothing_to_choose() {
    for logits in [[f32::NAN; 3], [f32::NEG_INFINITY; 3], [f32::INFINITY; 3]] {
        for options in [Options::default(), Options::sampled(1)] {
            let (_, explanation) = explain(&options, &logits);
            assert!(!explanation.lines(|id| id.to_string()).is_empty());
            assert!(explanation.json(|id| id.to_string())["steps"].is_array());
        }
    }
}

#[test]
fn as_json_with_texts() {
    let (id, explanation) = explain(&options(), &[0.4f32, 0.1, 0.3, 0.15, 0.05].map(f32::ln));
    let json = explanation.json(|id| format!("<{id}>"));
    assert_eq!(json["chosen"]["token"], format!("<{}>", id.expect("a token")));
    assert_eq!(json["steps"][2]["step"], "top-k");
    assert_eq!(json["steps"][2]["removed"], 1);
    assert_eq!(json["steps"][0]["after"][0]["token"], "<2>");
    assert_eq!(json["model"][0]["token"], "<0>");
}
