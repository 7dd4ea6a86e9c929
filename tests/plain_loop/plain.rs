//! The loop that writes a text, and nothing else: each token from a pass over the whole window, with an empty cache.

use super::chain::{self, History, argmax, choose, logprob};
use gpt2::config::TokenId;
use gpt2::error::Error;
use gpt2::generate::{ContextPolicy, FinishReason, Options};
use gpt2::model::Gpt2;
use gpt2::trace::NoTrace;
use rand::{Rng, SeedableRng, rngs::ChaCha12Rng};

/// The text of the first tokens; the others have none. A character may need two of them.
pub const TOKENS: [(&[u8], &str); 7] =
    [(b"a", "a"), (b"b", "b"), (b"ab", "ab"), (b"ba", "ba"), (b"aab", "aab"), (b"\xc3", "Ã"), (b"\xa9", "©")];

/// A whole text, with the bits of the log-probabilities.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub ids: Vec<TokenId>,
    pub logprobs: Vec<u64>,
    pub slides: usize,
    /// The text, if there was no error.
    pub text: String,
    pub end: Option<Result<FinishReason, Kind>>,
}

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Input,
    Option,
    NoToken,
    NotFinite,
    NoPositions,
}

impl Kind {
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Input(_) => Self::Input,
            Error::Option(_) => Self::Option,
            Error::NoToken => Self::NoToken,
            Error::NotFinite => Self::NotFinite,
            Error::NoPositions { .. } => Self::NoPositions,
            other => panic!("{other}"),
        }
    }
}

/// Number `n` of a stream of random numbers: the upper 53 bits of the generator's `n`-th u64.
fn uniform(seed: u64, stream: u64, n: usize) -> f64 {
    let mut generator = ChaCha12Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    let numbers: Vec<u64> = (0..=n).map(|_| generator.next_u64()).collect();
    (numbers[n] >> 11) as f64 / (1u64 << 53) as f64
}

/// The logits after `ids`, of which the model sees the window from `begin` on.
pub fn logits(model: &Gpt2, ids: &[TokenId], begin: usize) -> Vec<f32> {
    let window = &ids[begin..];
    let logits = model.forward(window, &mut model.new_cache(), &mut NoTrace); // [T, V]
    logits.row(window.len() - 1).to_vec()
}

/// Why the model cannot begin after this prompt.
pub fn refused(model: &Gpt2, prompt: &[TokenId], o: &Options) -> Option<Kind> {
    let fits = o.context_policy == ContextPolicy::Slide || prompt.len() <= model.config.n_positions;
    let known = prompt.iter().all(|id| (*id as usize) < model.config.vocab_size);
    match () {
        _ if !known || prompt.is_empty() => Some(Kind::Input),
        _ if o.min_new_tokens > o.max_new_tokens => Some(Kind::Option),
        _ => (!fits).then_some(Kind::Input),
    }
}

/// Writes a text; new token `n` takes number `n` of stream `stream(n)`.
pub fn write(model: &Gpt2, prompt: &[TokenId], o: &Options, stream: impl Fn(usize) -> u64) -> Written {
    let mut written = Written::default();
    if let Some(kind) = refused(model, prompt, o) {
        return Written { end: Some(Err(kind)), ..written };
    }
    let eos = if o.ignore_eos { &[][..] } else { &model.config.eos_token_ids };
    let n_positions = model.config.n_positions;
    let (mut ids, mut begin) = (prompt.to_vec(), 0);
    let full = |ids: &[TokenId]| o.context_policy == ContextPolicy::Stop && ids.len() >= n_positions;
    if o.max_new_tokens == 0 || full(&ids) {
        return Written { end: Some(Ok(FinishReason::Length)), ..written };
    }
    let end = loop {
        if o.context_policy == ContextPolicy::Error && ids.len() >= n_positions {
            break Err(Kind::NoPositions);
        }
        if ids.len() - begin > n_positions {
            begin = ids.len() - (n_positions / 2).max(1);
            written.slides += 1;
        }
        let n = written.ids.len();
        let logits = logits(model, &ids, begin);
        let history = History { ids: &ids, prompt_len: prompt.len(), eos };
        let id = choose(&logits, o, history, uniform(o.seed, stream(n), n));
        let Some(id) = id.filter(|id| logprob(&logits, *id).is_finite()) else {
            let finite = logits.iter().all(|x| x.is_finite());
            break Err(if finite { Kind::NoToken } else { Kind::NotFinite });
        };
        written.logprobs.push(logprob(&logits, id).to_bits());
        written.ids.push(id);
        ids.push(id);
        let (text, stops) = text(&written.ids, eos, &o.stop);
        written.text = text;
        if eos.contains(&id) {
            break Ok(FinishReason::Eos);
        }
        if stops {
            break Ok(FinishReason::Stop);
        }
        if written.ids.len() >= o.max_new_tokens || full(&ids) {
            break Ok(FinishReason::Length);
        }
    };
    written.text = if end.is_ok() { written.text } else { String::new() };
    Written { end: Some(end), ..written }
}

/// The text of the ids up to the first complete stop string, and whether there is one.
fn text(ids: &[TokenId], eos: &[TokenId], stop: &[String]) -> (String, bool) {
    let ids = ids.iter().filter(|id| !eos.contains(id));
    let bytes: Vec<u8> =
        ids.flat_map(|id| TOKENS.get(*id as usize).map_or(&b""[..], |t| t.0)).copied().collect();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let complete = stop.iter().filter(|stop| text[..end].ends_with(*stop)).map(String::len).max();
        if let Some(longest) = complete {
            return (text[..end - longest].into(), true);
        }
    }
    (text, false)
}

/// One beam without end tokens: the best sum of log-probabilities at each step. Gives the new ids, and the bits of the
/// score: their mean.
pub fn one_beam(model: &Gpt2, prompt: &[TokenId], o: &Options) -> Result<(Vec<TokenId>, u32), Kind> {
    if let Some(kind) = refused(model, prompt, o) {
        return Err(kind);
    }
    let n_positions = model.config.n_positions;
    let (mut ids, mut begin, mut run) = (prompt.to_vec(), 0, 0.0);
    let most = match o.context_policy {
        ContextPolicy::Stop => o.max_new_tokens.min(n_positions - prompt.len()),
        _ => o.max_new_tokens,
    };
    for _ in 0..most {
        if o.context_policy == ContextPolicy::Error && ids.len() >= n_positions {
            return Err(Kind::NoPositions);
        }
        if ids.len() - begin > n_positions {
            begin = ids.len() - (n_positions / 2).max(1);
        }
        let logits = logits(model, &ids, begin);
        if logits.iter().any(|x| !x.is_finite()) {
            return Err(Kind::NotFinite);
        }
        let mut x = chain::log_softmax(&logits);
        chain::process(&mut x, o, History { ids: &ids, prompt_len: prompt.len(), eos: &[] });
        x.iter_mut().for_each(|x| *x += run);
        let id = argmax(&x).ok_or(Kind::Input)?;
        run = x[id as usize];
        ids.push(id);
    }
    let mean = if most > 0 { run / most as f32 } else { 0.0 };
    Ok((ids.split_off(prompt.len()), mean.to_bits()))
}

/// The log-probability of each token in the window that gives it the most context: the first that reaches it.
pub fn score(model: &Gpt2, ids: &[TokenId], window: usize, stride: usize) -> Vec<Option<u64>> {
    let one = |i: usize| {
        let begin = (0..).step_by(stride).find(|begin| i < begin + window).expect("a window");
        (i > begin).then(|| logprob(&logits(model, &ids[..i], begin), ids[i]).to_bits())
    };
    (0..ids.len()).map(one).collect()
}
