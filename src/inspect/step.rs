//! One step of the loop, from ids to the next id, with every stage traced.

use crate::config::TokenId;
use crate::error::{Error, Result};
use crate::generate::{ContextPolicy, Generation, Options};
use crate::model::Gpt2;
use crate::sampling::{NoWatch, Watch};
use crate::trace::Trace;

/// Reads all `ids` in one pass and chooses the next token. `trace` sees every stage, including the logits of all
/// positions.
///
/// Without sampling, the likeliest token is chosen, and `probs` are the model's own. The result is `None` if no token
/// can be chosen, for example because the logits are not finite; so damaged weights can be traced too.
///
/// # Errors
/// [`Error::Input`] if there is no id, one is unknown, or there are more than `n_positions`; [`Error::Option`] if an
/// option is out of its range.
pub fn next_token(
    model: &Gpt2,
    ids: &[TokenId],
    options: &Options,
    trace: &mut impl Trace,
) -> Result<Option<TokenId>> {
    next_token_watched(model, ids, options, trace, &mut NoWatch)
}

/// Like [`next_token`], but also reports every change of the scores to `watch`.
///
/// # Errors
/// As [`next_token`].
pub fn next_token_watched(
    model: &Gpt2,
    ids: &[TokenId],
    options: &Options,
    trace: &mut impl Trace,
    watch: &mut dyn Watch,
) -> Result<Option<TokenId>> {
    let most = model.config.n_positions;
    if ids.is_empty() || ids.len() > most {
        let problem =
            format!("{} tokens; a trace needs from 1 to the model's n_positions, {most}", ids.len());
        return Err(Error::input(problem));
    }
    let options =
        options.clone().max_new_tokens(options.max_new_tokens.max(1)).context_policy(ContextPolicy::Slide);
    let mut generation = Generation::with_trace(model, ids, options, trace)?.whole();
    match generation.next_watched(watch) {
        Some(Ok(chosen)) => Ok(Some(chosen.id)),
        None | Some(Err(Error::NoToken | Error::NotFinite)) => Ok(None),
        Some(Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{NoTrace, Recorder};

    #[test]
    fn it_is_the_first_step_of_a_generation() {
        let lm = crate::checkpoint::bundled();
        let ids = lm.bpe.encode("There was once");
        for options in [Options::default(), Options::sampled(5)] {
            let options = options.max_new_tokens(1);
            let mut generation = Generation::new(&lm.model, &ids, options.clone()).expect("a prompt");
            let expected = generation.next().expect("a token").expect("a token").id;
            let mut recorder = Recorder::new();
            let got = next_token(&lm.model, &ids, &options, &mut recorder).expect("a prompt");
            assert_eq!(got, Some(expected));
            assert_eq!(recorder.get("next_id").expect("an id").ids, [expected]);
            let probs = &recorder.get("probs").expect("probabilities").values;
            assert!((probs.iter().map(|p| f64::from(*p)).sum::<f64>() - 1.0).abs() < 1e-4);
        }
    }

    #[test]
    fn bad_input_is_an_error() {
        let lm = crate::checkpoint::bundled();
        let n = lm.model.config.n_positions;
        let (greedy, cold) = (Options::default(), Options::sampled(0).temperature(-1.0));
        for (ids, options, part) in [
            (vec![], &greedy, "0 tokens"),
            (vec![1; n + 1], &greedy, "n_positions"),
            (vec![u32::MAX], &greedy, "vocab_size"),
            (vec![1], &cold, "temperature"),
        ] {
            let error = next_token(&lm.model, &ids, options, &mut NoTrace).expect_err(part);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn damaged_weights_can_be_traced() {
        let mut lm = crate::checkpoint::bundled();
        lm.model.ln_f.weight[3] = f32::NAN;
        for options in [Options::default(), Options::sampled(5)] {
            let mut recorder = Recorder::new();
            assert_eq!(next_token(&lm.model, &[1, 2], &options, &mut recorder).expect("ids"), None);
            assert!(recorder.get("lm_head").expect("logits").values.iter().all(|x| x.is_nan()));
            assert_eq!(recorder.get("next_id"), None);
        }
    }
}
