//! Continues a prompt: `cargo run --release --example generate "Once upon a time"`.

use gpt2::generate::Options;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let prompt = std::env::args().nth(1).unwrap_or("Once upon a time".into());
    let lm = gpt2::checkpoint::bundled(); // or gpt2::checkpoint::open("path/to/gpt2")?
    let options = Options::sampled(2).max_new_tokens(40); // a seed of 2: the same text every time
    let text: String = lm.generate(&prompt, options)?.collect::<Result<_, _>>()?;
    println!("{prompt}{text}");
    Ok(())
}
