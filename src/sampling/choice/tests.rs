//! Custom processors and samplers.

use super::*;
use crate::sampling::Effects;
use crate::trace::NoTrace;
use std::sync::Arc;

/// Bans the newest token.
#[derive(Debug)]
struct NotTwice;

impl Processor for NotTwice {
    fn name(&self) -> &str {
        "not-twice"
    }
    fn apply(&self, scores: &mut [f32], history: &History<'_>) {
        if let Some(id) = history.ids.last() {
            scores[*id as usize] = f32::NEG_INFINITY;
        }
    }
}

/// Takes the given id, or the last id of the vocabulary if the given one has probability 0.
#[derive(Debug)]
struct This(TokenId);

impl Sampler for This {
    fn draw(&self, probabilities: &[f32], u: f64) -> Option<TokenId> {
        assert!((0.0..1.0).contains(&u));
        let possible = probabilities.get(self.0 as usize).is_none_or(|p| *p > 0.0);
        Some(if possible { self.0 } else { probabilities.len() as TokenId - 1 })
    }
}

fn choose(options: &Options) -> (Option<TokenId>, Vec<String>) {
    let history = History { ids: &[2], prompt_len: 1, eos: &[] };
    let (mut scores, mut effects) = ([0.0, 1.0, 3.0, 2.0, -1.0], Effects::default());
    let id = options.choose(&mut scores, &history, 0.5, &mut NoTrace, &mut effects);
    (id, effects.0.into_iter().map(|effect| effect.step).collect())
}

#[test]
fn a_custom_processor() {
    let greedy = Options::default().no_repeat_ngram_size(3);
    assert_eq!(choose(&greedy).0, Some(2));
    let own = greedy.processor(Arc::new(NotTwice));
    assert_eq!(choose(&own), (Some(3), vec!["no-repeat-ngram-size".into(), "not-twice".into()]));
    let drawn = own.clone().sample(true).top_k(1);
    let steps = ["no-repeat-ngram-size", "not-twice", "temperature", "top-k"];
    assert_eq!(choose(&drawn), (Some(3), steps.map(String::from).to_vec()));
    assert_eq!(serde_json::json!(own)["processors"], "[NotTwice]");
}

#[test]
fn a_custom_sampler() {
    let drawn = |id| choose(&Options::plain(0).sampler(Arc::new(This(id)))).0;
    assert_eq!([drawn(0), drawn(4), drawn(5)], [Some(0), Some(4), None], "there are ids up to 4");
    let cut = Options::plain(0).top_k(2).sampler(Arc::new(This(0)));
    assert_eq!(choose(&cut).0, Some(4), "it sees what is left");
    assert_eq!(choose(&cut.sample(false)).0, Some(2), "nothing is drawn");
}

#[test]
fn custom_steps_are_equal_only_to_themselves() {
    let processor: Arc<dyn Processor> = Arc::new(NotTwice);
    let with = |processor: &Arc<dyn Processor>| Options::default().processor(processor.clone());
    assert_eq!(with(&processor), with(&processor).clone());
    assert_ne!(with(&processor), with(&(Arc::new(NotTwice) as Arc<dyn Processor>)));
    assert_ne!(Options::default(), Options::default().sampler(Arc::new(This(1))));
}
