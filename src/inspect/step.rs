//! One turn of the loop, from ids to the next id, with every stage shown.

use crate::bpe::TokenId;
use crate::error::{Error, Result};
use crate::generate::{Options, check_ids};
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch, Sampling, Watch};
use crate::softmax::log_softmax;
use crate::trace::{Stage, Trace};

/// Reads all `ids` at once and chooses the next token; `trace` sees every stage, the logits of all positions included.
///
/// Where `sampling` is `None` the likeliest token is chosen, and `probs` are the model's own. The result is `None`
/// where no token can be chosen, because the logits are not finite: damaged weights can be traced too.
///
/// # Errors
/// [`Error::Input`] if there is no id, one is unknown, there are more than `n_positions`, or a sampling option is out
/// of its range.
pub fn next_token(
    model: &Gpt2,
    ids: &[TokenId],
    sampling: Option<&Sampling>,
    trace: &mut impl Trace,
) -> Result<Option<TokenId>> {
    let options = Options { sampling: sampling.cloned(), ..Options::default() };
    next_token_watched(model, ids, &options, trace, &mut NoWatch)
}

/// The same with all options of a generation, and every change of the scores shown to `watch`.
///
/// # Errors
/// As [`next_token`], and [`Error::Input`] if another option is out of its range.
pub fn next_token_watched(
    model: &Gpt2,
    ids: &[TokenId],
    options: &Options,
    trace: &mut impl Trace,
    watch: &mut (impl Watch + ?Sized),
) -> Result<Option<TokenId>> {
    check_ids(model, ids)?;
    let most = model.config.n_positions;
    if ids.is_empty() || ids.len() > most {
        let problem =
            format!("{} tokens; a trace needs from 1 to the model's n_positions, {most}", ids.len());
        return Err(Error::input(problem));
    }
    options.check(model)?;

    let logits = model.forward(ids, &mut model.new_cache(), trace); // [T, V]
    let last = logits.row(ids.len() - 1); // [V]
    let history = History { ids, prompt_len: ids.len(), eos: options.ends(model) };
    let id = options.choose(&mut last.to_vec(), &history, &mut options.uniform(), trace, watch);
    let id = id.filter(|id| log_softmax(last, *id as usize).is_finite());
    if let Some(id) = id {
        trace.record_ids(Stage::NextId, &[id]);
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::Generation;
    use crate::trace::{NoTrace, Recorder};

    #[test]
    fn it_is_the_first_turn_of_a_generation() {
        let lm = crate::checkpoint::bundled();
        let ids = lm.bpe.encode("There was once");
        for sampling in [None, Some(Sampling::with_seed(5))] {
            let options = Options { max_new_tokens: 1, sampling: sampling.clone(), ..Options::default() };
            let mut generation = Generation::new(&lm.model, &ids, options).expect("a prompt");
            let expected = generation.next().expect("a token").expect("a token").id;
            let mut recorder = Recorder::new();
            let got = next_token(&lm.model, &ids, sampling.as_ref(), &mut recorder).expect("a prompt");
            assert_eq!(got, Some(expected));
            assert_eq!(recorder.get("next_id").expect("an id").ids, [expected]);
            let probs = &recorder.get("probs").expect("probabilities").values;
            assert!((probs.iter().map(|p| f64::from(*p)).sum::<f64>() - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let lm = crate::checkpoint::bundled();
        let n = lm.model.config.n_positions;
        let hot = Sampling { temperature: -1.0, ..Sampling::with_seed(0) };
        for (ids, sampling, part) in [
            (vec![], None, "0 tokens"),
            (vec![1; n + 1], None, "n_positions"),
            (vec![u32::MAX], None, "vocab_size"),
            (vec![1], Some(&hot), "temperature"),
        ] {
            let error = next_token(&lm.model, &ids, sampling, &mut NoTrace).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn damaged_weights_can_be_traced() {
        let mut lm = crate::checkpoint::bundled();
        lm.model.ln_f.weight[3] = f32::NAN;
        for sampling in [None, Some(&Sampling::with_seed(5))] {
            let mut recorder = Recorder::new();
            assert_eq!(next_token(&lm.model, &[1, 2], sampling, &mut recorder).expect("ids"), None);
            assert!(recorder.get("lm_head").expect("logits").values.iter().all(|x| x.is_nan()));
            assert_eq!(recorder.get("next_id"), None);
        }
    }
}
