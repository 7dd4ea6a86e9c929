use super::*;
use crate::config::Config;
use crate::kv_cache::{KvCache, Sequence};
use crate::simd::tests::under_each;
use crate::trace::{NoTrace, Recorder};
use proptest::prelude::*;

/// Numbers from -4 to 4.
fn numbers(rows: usize, cols: usize, seed: u64) -> Matrix {
    let mut state = seed | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 21) as f32 - 4.0
    };
    Matrix::from_vec(rows, cols, (0..rows * cols).map(|_| next()).collect())
}

fn config(n_head: usize, d: usize) -> Config {
    let c = n_head * d;
    let json = format!(r#"{{"n_layer": 1, "n_embd": {c}, "n_head": {n_head}, "n_positions": 1024}}"#);
    Config::from_json(json.as_bytes()).expect("a configuration")
}

/// Attention whose linear layers are out of the way: what is compared is what lies between them.
fn attention(n_head: usize, d: usize) -> Attention {
    let none = || Linear { weight: Weights::from_f32(0, 0, &[]), bias: Vec::new() };
    Attention { n_head, scale: 1.0 / (d as f32).sqrt(), c_attn: none(), c_proj: none() }
}

/// The heads of several texts, read together in pieces of up to `piece` positions.
fn in_pieces(attn: &Attention, config: &Config, texts: &[Matrix], piece: usize) -> Vec<Vec<f32>> {
    let mut caches = vec![KvCache::new(config); texts.len()];
    let mut heads = vec![Vec::new(); texts.len()];
    let longest = texts.iter().map(Matrix::rows).max().unwrap_or(0);
    for begin in (0..longest).step_by(piece) {
        let unread: Vec<usize> = (0..texts.len()).filter(|i| texts[*i].rows() > begin).collect();
        let rows = |i: usize| begin..texts[i].rows().min(begin + piece);
        let qkv: Vec<f32> =
            (unread.iter()).flat_map(|i| rows(*i).flat_map(|row| texts[*i].row(row).to_vec())).collect();
        let qkv = Matrix::from_vec(qkv.len() / (3 * config.n_embd), 3 * config.n_embd, qkv);
        let ids = vec![0; piece];
        let mut batch: Vec<Sequence<'_>> = (caches.iter_mut().enumerate())
            .filter(|(i, _)| unread.contains(i))
            .map(|(i, cache)| Sequence { ids: &ids[..rows(i).len()], cache })
            .collect();
        let mut cache = LayerCache::new(&mut batch, 0);
        cache.append(&qkv);
        let mixed = attn.heads(&qkv, &cache);
        let mut row = 0;
        for i in &unread {
            for _ in rows(*i) {
                heads[*i].extend_from_slice(mixed.row(row));
                row += 1;
            }
        }
        for Sequence { ids, cache } in batch {
            cache.advance(ids.len());
        }
    }
    heads
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..crate::properties::config() })]

    #[test]
    fn parts_give_the_bits_of_the_plain_loop(
        lengths in prop::collection::vec(1usize..100, 1..4),
        n_head in 1usize..6,
        d in prop::sample::select(vec![1, 8, 20, 64]),
        piece in 1usize..100,
        seed: u64,
    ) {
        let (attn, config) = (attention(n_head, d), config(n_head, d));
        let texts: Vec<Matrix> = (0..).zip(&lengths).map(|(i, len)| numbers(*len, 3 * n_head * d, seed ^ i)).collect();
        let expected: Vec<Vec<u32>> = texts.iter().map(|qkv| bits(plain(qkv, n_head, attn.scale).data())).collect();
        under_each(|simd| {
            for piece in [piece, usize::MAX >> 1].map(|piece| piece.min(100)) {
                for (got, expected) in in_pieces(&attn, &config, &texts, piece).iter().zip(&expected) {
                    assert!(bits(got) == *expected, "{simd:?}, {lengths:?} in pieces of {piece}");
                }
            }
        });
    }
}

/// More positions than a block of a sum, and than a page of the cache.
#[test]
fn a_long_text() {
    let (attn, config, qkv) = (attention(3, 66), config(3, 66), numbers(530, 3 * 3 * 66, 5));
    let expected = bits(plain(&qkv, 3, attn.scale).data());
    for piece in [530, 41] {
        assert!(bits(&in_pieces(&attn, &config, std::slice::from_ref(&qkv), piece)[0]) == expected);
    }
}

/// Parts write to the result without a lock: each row of each head belongs to exactly one part.
#[test]
fn parts_cover_the_result_once() {
    let (config, lengths) = (config(3, 4), [1, 8, 9, 30]);
    let mut caches = lengths.map(|_| KvCache::new(&config));
    let ids = [0; 30];
    let mut batch: Vec<Sequence<'_>> =
        lengths.iter().zip(&mut caches).map(|(len, cache)| Sequence { ids: &ids[..*len], cache }).collect();
    let t: usize = lengths.iter().sum();
    let qkv = numbers(t, 3 * 3 * 4, 1);
    let mut cache = LayerCache::new(&mut batch, 0);
    cache.append(&qkv);
    let written = std::sync::Mutex::new(vec![0; t * 3]);
    parts::each_head(&qkv, &cache, 3, |part| {
        let mut written = written.lock().expect("no panic");
        part.rows.clone().for_each(|row| written[row * 3 + part.h] += 1);
    });
    assert_eq!(written.into_inner().expect("no panic"), vec![1; t * 3]);
}

/// A trace gets the scores and weights that the heads are computed from.
#[test]
fn a_trace_gets_the_scores_and_weights_that_are_used() {
    let (n_head, d, past, new) = (2, 5, 9, 12);
    let (attn, config, qkv) =
        (attention(n_head, d), config(n_head, d), numbers(past + new, 3 * n_head * d, 3));
    let mut cache = KvCache::new(&config);
    let ids = vec![0; past + new];
    let rows = |range: std::ops::Range<usize>| qkv.select(&range.collect::<Vec<_>>());
    let mut batch = [Sequence { ids: &ids[..past], cache: &mut cache }];
    LayerCache::new(&mut batch, 0).append(&rows(0..past));
    cache.advance(past);

    let mut batch = [Sequence { ids: &ids[past..], cache: &mut cache }];
    let mut layer = LayerCache::new(&mut batch, 0);
    let newest = rows(past..past + new);
    layer.append(&newest);
    let mut recorder = Recorder::new();
    recorder.enter_block(Some(0));
    show::scores_and_weights(&attn, &newest, &layer, &mut recorder);
    let heads = attn.heads(&newest, &layer);
    show::scores_and_weights(&attn, &newest, &layer, &mut NoTrace);

    let stages = &recorder.stages;
    assert_eq!(stages.iter().map(|s| s.stage).collect::<Vec<_>>(), [Stage::AttnScores, Stage::AttnWeights]);
    let s = past + new;
    assert_eq!((&stages[0].shape, &stages[1].shape), (&vec![n_head, new, s], &vec![n_head, new, s]));
    let (scores, weights) = (&stages[0].values, &stages[1].values);
    for h in 0..n_head {
        for t in 0..new {
            let start = (h * new + t) * s;
            let (mut row, weights) = (scores[start..][..s].to_vec(), &weights[start..][..s]);
            assert!(row[..past + t + 1].iter().all(|score| score.is_finite()));
            assert!(row[past + t + 1..].iter().all(|score| *score == f32::NEG_INFINITY));
            softmax(&mut row);
            assert_eq!(bits(&row), bits(weights));
            for j in 0..d {
                let value = |s: usize| qkv.row(s)[2 * n_head * d + h * d + j];
                let mixed = (0..s).fold(0.0f32, |sum, s| weights[s].mul_add(value(s), sum));
                assert_eq!(heads.row(t)[h * d + j].to_bits(), mixed.to_bits());
            }
        }
    }
}
