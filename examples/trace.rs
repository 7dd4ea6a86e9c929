//! Every number between the prompt and the next token: `cargo run --release --example trace`.

use gpt2::generate::Options;
use gpt2::inspect::next_token;
use gpt2::trace::{Recorder, render};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lm = gpt2::checkpoint::bundled();
    let ids = lm.bpe.encode("Once upon a");
    let mut recorder = Recorder::new();
    let next = next_token(&lm.model, &ids, &Options::default(), &mut recorder)?;
    print!("{}", render(&recorder.stages)); // one line per stage

    let weights = recorder.get("transformer.h.2.attn.weights").ok_or("no such stage")?; // [H, T, T]
    let (heads, t) = (weights.shape[0], weights.shape[1]);
    println!("\nattention of each head of block 2 from the last position to the previous one:");
    for head in 0..heads {
        println!("  head {head}: {:.3}", weights.values[(head * t + t - 1) * t + t - 2]);
    }
    println!("next: {:?}", lm.bpe.decode_lossy(&next.into_iter().collect::<Vec<_>>())?);
    Ok(())
}
