//! The README's picture: a text grows token by token.
//!
//! `cargo run --release --example picture light > data/pictures/writing-light.svg`, and `dark` for the other theme.

use gpt2::checkpoint::LanguageModel;
use gpt2::generate::Options;
use gpt2::sampling::Explanation;
use gpt2::sampling::candidates::{Candidate, percent};
use std::fmt::Write;

const PROMPT: &str = "Once upon a time";
const STEPS: usize = 8;

/// Where the line from 0 to 1 begins, and its length. In pixels.
const LEFT: f64 = 348.0;
const LENGTH: f64 = 560.0;
/// The height of a row, and the width of a character.
const ROW: f64 = 38.0;
const CHAR: f64 = 7.8;

/// Text, quiet text, the chosen token, the text on it, and the other tokens.
fn colors(theme: &str) -> [&'static str; 5] {
    match theme {
        "dark" => ["#e6edf3", "#9198a1", "#f0883e", "#0d1117", "#30363d"],
        _ => ["#1f2328", "#59636e", "#bc4c00", "#ffffff", "#e4e8ed"],
    }
}

fn main() -> Result<(), gpt2::error::Error> {
    print!("{}", svg(&std::env::args().nth(1).unwrap_or_default())?);
    Ok(())
}

/// One row per step: the text so far, and the line from 0 to 1 that the next token is drawn from.
pub fn svg(theme: &str) -> Result<String, gpt2::error::Error> {
    let lm = gpt2::checkpoint::bundled();
    let mut generation = lm.generation(&lm.bpe.encode(PROMPT), Options::sampled(2))?;
    let [ink, quiet, accent, ..] = colors(theme);
    let height = ROW * (STEPS + 1) as f64 + 6.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 920 {height}\" font-size=\"13\" \
         font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\">\n\
         <title>A text grows by one token per row</title>\n\
         <text x=\"{}\" y=\"22\" text-anchor=\"end\" fill=\"{quiet}\">the text so far</text>\n\
         <text x=\"{LEFT}\" y=\"22\" fill=\"{quiet}\">the next token: the longer, the likelier; orange is drawn</text>\n",
        LEFT - 20.0
    );
    let (mut text, mut newest) = (PROMPT.to_string(), String::new());
    for step in 1..=STEPS {
        let mut explanation = Explanation::new(6);
        let id = generation.next_watched(&mut explanation).expect("a text without an end")?.id;
        let y = ROW * step as f64;
        let (x, base) = (LEFT - 20.0, y + 20.0);
        let [old, new] = [&text, &newest].map(|text| escape(text));
        writeln!(
            svg,
            "<text x=\"{x}\" y=\"{base}\" text-anchor=\"end\" xml:space=\"preserve\" fill=\"{ink}\">{old}\
             <tspan fill=\"{accent}\" font-weight=\"bold\">{new}</tspan></text>"
        )
        .expect("a string");
        let chosen = explanation.chosen.as_ref().expect("a token");
        let chosen = Candidate { id, probability: chosen.probability };
        let mut parts = explanation.steps.last().expect("a step").after.clone();
        if !parts.contains(&chosen) {
            *parts.last_mut().expect("six tokens") = chosen;
        }
        svg += &line(&lm, &parts, id, y, theme);
        text += &newest;
        newest = lm.bpe.decode_lossy(&[id])?;
    }
    Ok(svg + "</svg>\n")
}

/// The parts of a few tokens, with the chosen one in its color, and the rest of the line.
fn line(lm: &LanguageModel, parts: &[Candidate], chosen: u32, y: f64, theme: &str) -> String {
    let [ink, quiet, accent, on_accent, other] = colors(theme);
    let mut svg = String::new();
    let mut x = LEFT;
    let rest = 1.0 - parts.iter().map(|part| f64::from(part.probability)).sum::<f64>();
    let parts = parts.iter().map(|part| (Some(part.id), f64::from(part.probability)));
    for (id, probability) in parts.chain([(None, rest)]) {
        let width = LENGTH * probability;
        let text = id.map_or("others".into(), |id| lm.bpe.decode_lossy(&[id]).unwrap_or_default());
        let label = [format!("{} {}", text.trim(), percent(probability)), text.trim().into(), String::new()];
        let label = label.iter().find(|label| (label.chars().count() as f64) * CHAR + 8.0 < width);
        let (fill, color) = match id {
            Some(id) if id == chosen => (accent, on_accent),
            Some(_) => (other, ink),
            None => ("none", quiet),
        };
        let [begin, width, label_x] = [x, (width - 2.0).max(1.0), x + 5.0].map(|x| format!("{x:.1}"));
        writeln!(
            svg,
            "<rect x=\"{begin}\" y=\"{}\" width=\"{width}\" height=\"28\" rx=\"3\" fill=\"{fill}\"/>\
             <text x=\"{label_x}\" y=\"{}\" fill=\"{color}\">{}</text>",
            y + 2.0,
            y + 20.0,
            escape(label.map_or("", |label| label))
        )
        .expect("a string");
        x += LENGTH * probability;
    }
    svg
}

/// Text as XML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
