//! How likely is each token of a text? `cargo run --release --example score "The cat sat on the mat."`

use gpt2::score::{Windows, mean_nll, score};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = std::env::args().nth(1).unwrap_or("Once upon a time there was a king.".into());
    let lm = gpt2::checkpoint::bundled();
    let ids = lm.bpe.encode(&text);
    let logprobs = score(&lm.model, &ids, Windows::of(&lm.model), |_| ())?;
    for (id, logprob) in ids.iter().zip(&logprobs) {
        let logprob = logprob.map_or("-".into(), |logprob| format!("{logprob:.2}"));
        println!("{logprob:>7}  {:?}", lm.bpe.decode_lossy(&[*id])?);
    }
    match mean_nll(&logprobs) {
        Some(nll) => println!("{nll:.2} nats per token, perplexity {:.1}", nll.exp()),
        None => println!("nothing to score: the first token has no context"),
    }
    Ok(())
}
