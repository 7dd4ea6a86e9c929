//! `gpt2 bench`: the speed of prefill and decoding, beside the machine's own limits.

mod limits;
mod report;

use super::failure::Failure;
use super::interrupt;
use super::model::{CacheArgs, Common, ModelArgs};
use super::progress;
use super::report::{print_json, remark};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gpt2::bpe::TokenId;
use gpt2::checkpoint::random;
use gpt2::kv_cache::{KvCache, Sequence};
use gpt2::model::Gpt2;
use gpt2::sampling::argmax;
use gpt2::simd::Simd;
use gpt2::tensor::Dtype;
use gpt2::trace::NoTrace;
use limits::{Meter, measure};
use report::{Decode, Prefill, Report};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Random weights of this size instead of a model
    #[arg(long, value_name = "SIZE", value_parser = ["124M", "355M", "774M", "1.5B"], conflicts_with = "model")]
    random: Option<String>,
    /// Number type of the random weights
    #[arg(long, value_name = "TYPE", default_value = "f32",
          value_parser = PossibleValuesParser::new(Dtype::ALL.map(Dtype::name)).try_map(|name| name.parse::<Dtype>()))]
    dtype: Dtype,
    #[command(flatten)]
    cache: CacheArgs,
    /// Lengths of the prompts to read, in tokens
    #[arg(long, value_name = "TOKENS,...", value_delimiter = ',', default_values_t = [64, 128, 512, 1023])]
    prefill: Vec<usize>,
    /// Decoding to measure: how many tokens came before, and how many texts are decoded together
    #[arg(long, value_name = "CONTEXTxBATCH,...", value_delimiter = ',', value_parser = context_and_batch,
          default_value = "32x1,32x8,900x1,900x8")]
    decode: Vec<(usize, usize)>,
    /// How often each measurement is repeated; the median is reported
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    repeat: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Decoding steps in one run: the first warms up, the others are timed together.
const STEPS: usize = 16;

/// Parses `900x8`: 900 tokens of context, 8 texts.
fn context_and_batch(text: &str) -> Result<(usize, usize), String> {
    let (context, batch) = text.split_once('x').ok_or("must look like 900x8")?;
    let number = |text: &str| text.parse().ok().filter(|n| (1..1 << 24).contains(n));
    number(context).zip(number(batch)).ok_or_else(|| "both must be whole numbers, at least 1".into())
}

pub fn run(args: &Args, _: &Common) -> Result<(), Failure> {
    let (name, mut model) = match &args.random {
        Some(size) => {
            let config = random::size(size).ok_or_else(|| Failure::Usage(format!("no size {size}")))?;
            (format!("random {size}"), random::random(config, args.dtype))
        }
        None => {
            let lm = args.model.open()?;
            (lm.name, lm.model)
        }
    };
    model.kv_cache_dtype = args.cache.kv_cache_dtype;
    let n = model.config.n_positions;
    let (prompts, too_long): (Vec<usize>, Vec<usize>) =
        args.prefill.iter().partition(|tokens| (1..=n).contains(*tokens));
    let (contexts, too_deep): (Vec<_>, Vec<_>) =
        args.decode.iter().partition(|(context, _)| context + STEPS <= n);
    let too_long = too_long.iter().map(|tokens| format!("prefill {tokens}"));
    let too_deep = too_deep.iter().map(|(context, batch)| format!("decode {context}x{batch}"));
    let left_out: Vec<String> = too_long.chain(too_deep).collect();
    if !left_out.is_empty() {
        remark(format_args!(
            "note: skipped {}: a length must be 1 to {n} (the model's positions), and decoding adds {STEPS}",
            left_out.join(", ")
        ));
    }

    let (mut meter, repeat) = (Meter::new(&model), usize::from(args.repeat));
    interrupt::watch()?; // what is measured by then is printed
    let bar = progress::steps(prompts.len() + contexts.len(), "measurements");
    let goes_on = || !interrupt::requested();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for tokens in prompts.into_iter().take_while(|_| goes_on()) {
        prefill.push(self::prefill(&model, tokens, repeat, &mut meter));
        bar.inc(1);
    }
    for (context, batch) in contexts.into_iter().take_while(|_| goes_on()) {
        decode.push(self::decode(&model, context, batch, repeat, &mut meter));
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (dtype, kv_cache_dtype) = (model.wte.dtype().name(), model.kv_cache_dtype.name());
    let (threads, simd, limits) = (rayon::current_num_threads(), Simd::current().name(), meter.limits());
    let report = Report { model: name, dtype, kv_cache_dtype, threads, simd, prefill, decode, limits };
    if args.json {
        print_json(&report)?
    } else {
        report::print(&report)?
    }
    interrupt::check()
}

/// Ids spread over the vocabulary.
fn some_ids(model: &Gpt2, count: usize) -> Vec<TokenId> {
    (0..count).map(|i| (i * 7919 % model.config.vocab_size) as TokenId).collect()
}

fn prefill(model: &Gpt2, tokens: usize, repeat: usize, meter: &mut Meter) -> Prefill {
    let ids = some_ids(model, tokens);
    let read = || {
        let begin = Instant::now();
        model.next_logits(&ids, &mut model.new_cache(), &mut NoTrace);
        begin.elapsed().as_secs_f64()
    };
    let (seconds, limit) = measure(repeat, || meter.peak(), read);
    let c = &model.config;
    // A multiply-add counts as two operations, in f32 or int8. Attention: scores and mix over the visible positions.
    let blocks = 2 * tokens * c.n_layer * (4 * c.n_embd * c.n_embd + 2 * c.n_embd * c.n_inner);
    let attention = 2 * c.n_layer * c.n_embd * tokens * (tokens + 1);
    let head = 2 * c.n_embd * c.vocab_size;
    let gflops = (blocks + attention + head) as f64 / seconds / 1e9;
    Prefill { tokens, tokens_per_s: tokens as f64 / seconds, gflops, of_peak: gflops / limit }
}

fn decode(model: &Gpt2, context: usize, batch: usize, repeat: usize, meter: &mut Meter) -> Decode {
    let ids = some_ids(model, context + batch);
    let texts = ids.windows(context).take(batch); // each has its own keys and values
    let mut caches: Vec<KvCache> = texts
        .map(|text| {
            let mut cache = model.new_cache();
            model.hidden(&mut [Sequence { ids: text, cache: &mut cache }], &mut NoTrace);
            cache
        })
        .collect();
    let write = || {
        let mut newest = some_ids(model, batch);
        caches.iter_mut().for_each(|cache| cache.truncate(context));
        step(model, &mut caches, &mut newest); // warms up the threads
        let begin = Instant::now();
        for _ in 1..STEPS {
            step(model, &mut caches, &mut newest);
        }
        begin.elapsed().as_secs_f64() / (STEPS - 1) as f64
    };
    let (seconds, limit) = measure(repeat, || meter.bandwidth(), write);
    let kept =
        KvCache::bytes_for(&model.config, model.kv_cache_dtype, 64) / 64 * (context + STEPS / 2) * batch;
    let gb_per_s = (model.weight_bytes() + kept) as f64 / seconds / 1e9;
    let (tokens_per_s, of_bandwidth) = (batch as f64 / seconds, gb_per_s / limit);
    Decode { context, batch, tokens_per_s, gb_per_s, of_bandwidth }
}

/// Generates one token for each sequence.
fn step(model: &Gpt2, caches: &mut [KvCache], newest: &mut [TokenId]) {
    let mut sequences: Vec<Sequence<'_>> =
        caches.iter_mut().zip(newest.chunks(1)).map(|(cache, ids)| Sequence { ids, cache }).collect();
    let x = model.hidden(&mut sequences, &mut NoTrace); // [batch, C]
    let logits = model.head(&x, &mut NoTrace); // [batch, V]
    for (i, id) in newest.iter_mut().enumerate() {
        *id = argmax(logits.row(i));
    }
}
