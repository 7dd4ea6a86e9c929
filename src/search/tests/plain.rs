//! HF's loop, translated literally: no cache, no batch, no sharing, placeholders of score -1e9.

use super::{Found, TokenId};
use crate::generate::Options;
use crate::model::Gpt2;
use crate::sampling::{History, NoWatch, draw};
use crate::search::{Beams, EarlyStopping};
use crate::softmax::{log_probabilities, softmax};
use crate::trace::NoTrace;

/// A beam of the plain search: its ids and score.
pub type Plain = (Vec<TokenId>, f32);

/// A group of the plain search: running beams, finished beams (`false` marks a placeholder), and whether it is closed.
type PlainGroup = (Vec<Plain>, Vec<(Plain, bool)>, bool);

/// The expected result of the search: ids and the bits of the scores.
pub fn plain(model: &Gpt2, prompt: &[TokenId], options: &Options, beams: &Beams) -> Found {
    let (k, ends) = (beams.num_beams / beams.num_beam_groups, options.ends(model));
    let most = k * 2.max(1 + ends.len());
    let mut uniform = options.uniform();
    let placeholders = |first: f32| -> Vec<Plain> {
        (0..k).map(|i| (prompt.to_vec(), if i == 0 { first } else { -1e9 })).collect()
    };
    let mut groups: Vec<PlainGroup> = (0..beams.num_beam_groups)
        .map(|_| (placeholders(0.0), placeholders(-1e9).into_iter().map(|p| (p, false)).collect(), false))
        .collect();
    let mut begin = 0; // start of the window that the model sees
    for length in 1..=options.max_new_tokens {
        let len = prompt.len() + length - 1;
        if len - begin > model.config.n_positions {
            begin = len - model.config.n_positions / 2;
        }
        let mut taken: Vec<TokenId> = Vec::new();
        for (run, finished, closed) in groups.iter_mut().filter(|group| !group.2) {
            let mut all: Vec<(usize, TokenId, f32)> = Vec::new();
            for (beam, (ids, score)) in run.iter().enumerate() {
                let logits = model.next_logits(&ids[begin..], &mut model.new_cache(), &mut NoTrace);
                let mut x = logits.row(0).to_vec();
                log_probabilities(&mut x);
                taken.iter().for_each(|id| x[*id as usize] -= beams.diversity_penalty);
                let history = History { ids, prompt_len: prompt.len(), eos: ends };
                options.process(&mut x, &history, &mut NoWatch);
                if options.sample {
                    options.warp(&mut x, 2.max(1 + ends.len()), &mut NoWatch);
                }
                all.extend((0..).zip(x).map(|(id, x)| (beam, id, x + score)));
            }
            if options.sample {
                let mut weights: Vec<f32> = all.iter().map(|c| c.2).collect();
                softmax(&mut weights);
                let mut next = || {
                    let place = draw(&weights, uniform.draw())? as usize;
                    weights[place] = 0.0;
                    Some(all[place])
                };
                all = (0..most).map_while(|_| next()).collect();
            } else {
                all.sort_by(|a, b| b.2.total_cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
                all.truncate(most);
            }
            let hits: Vec<bool> =
                all.iter().map(|c| ends.contains(&c.1) || length == options.max_new_tokens).collect();
            let grown = |c: &(usize, TokenId, f32)| [&run[c.0].0[..], &[c.1]].concat();
            let mut next: Vec<Plain> = all
                .iter()
                .zip(&hits)
                .map(|(c, hit)| (grown(c), c.2 + if *hit { -1e9 } else { 0.0 }))
                .collect();
            next.sort_by(|a, b| b.1.total_cmp(&a.1));
            next.truncate(k);
            for (rank, (c, hit)) in all.iter().zip(&hits).enumerate() {
                let ended = *hit && rank < k;
                let score = c.2 / (length as f64).powf(beams.length_penalty) as f32;
                finished.push(((grown(c), score + if ended { 0.0 } else { -1e9 }), ended));
            }
            finished.sort_by(|a, b| b.0.1.total_cmp(&a.0.1));
            finished.truncate(k);
            *run = next;
            let go_on = all.iter().filter(|c| !ends.contains(&c.1) && c.2 > -1e8);
            taken.extend(go_on.take(k).map(|c| c.1));
            let all_done = finished.iter().all(|f| f.1);
            let never = beams.early_stopping == EarlyStopping::Never && beams.length_penalty > 0.0;
            let l = if never { options.max_new_tokens } else { length };
            let best = run[0].1 / (l as f64).powf(beams.length_penalty) as f32;
            let worst = finished.last().expect("placeholders at least").0.1;
            let open = !all_done || best > worst;
            let enough = all_done && beams.early_stopping == EarlyStopping::True;
            *closed = !open || enough || hits.iter().all(|hit| *hit);
        }
    }
    let mut found: Vec<Plain> = groups.into_iter().flat_map(|g| g.1).map(|f| f.0).collect();
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    found.retain(|f| f.1 > -1e8);
    found.truncate(beams.num_return_sequences);
    found.into_iter().map(|(ids, score)| (ids[prompt.len()..].to_vec(), score.to_bits())).collect()
}
