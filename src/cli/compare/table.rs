//! The table of `gpt2 compare`, 80 columns wide.

use super::super::failure::Failure;
use super::super::report::{Speculated, output};
use super::super::text::shorten;
use super::{Report, Run};
use gpt2::bpe::Bpe;
use std::io::{self, Write};

/// Width of the table in columns of a terminal.
const WIDTH: usize = 80;

/// The most runs side by side, so that a cell has room for a word and a number.
const MOST_RUNS: usize = 5;

/// Width of a run's name in columns.
const INDENT: usize = 13;

pub fn print(report: &Report, bpe: &Bpe) -> Result<(), Failure> {
    let out = &mut output();
    let (greedy, others) = (&report.runs[0], &report.runs[1..]);
    let (drafted, sampled): (Vec<&Run>, Vec<&Run>) = others.iter().partition(|run| run.speculated.is_some());
    writeln!(out, "running log-probability in nats; = same token as greedy, > first that differs;")?;
    writeln!(out, "pass: the pass of the model that produced the token of the speculative text")?;
    for block in sampled.chunks(MOST_RUNS - 1).chain(sampled.is_empty().then_some(&sampled[..])) {
        writeln!(out)?;
        steps(&[&[greedy], block].concat(), &drafted, bpe, out)?;
    }
    writeln!(out)?;
    for run in &report.runs {
        paragraph(&format!("{}:", shorten(&run.name, INDENT - 2)), &run.text, out)?;
    }
    writeln!(out)?;
    writeln!(out, "{:INDENT$}   nats  per token  diverges at  behind greedy  by that choice", "")?;
    for run in &report.runs {
        facts(run, greedy, out)?;
    }
    writeln!(out, "nats: the text's log-probability; behind greedy: nats lost to greedy over the")?;
    writeln!(out, "tokens that both texts have; by that choice: nats lost at the diverging token")?;
    writeln!(out, "seed {}", report.seed)?;
    Ok(out.flush()?)
}

/// Prints one line per token, with one column per run.
fn steps(columns: &[&Run], drafted: &[&Run], bpe: &Bpe, out: &mut impl Write) -> io::Result<()> {
    let lines = columns.iter().map(|run| run.ids.len()).max().unwrap_or(0);
    let step = lines.to_string().len().max(2);
    let lowest = columns.iter().flat_map(|run| &run.running).fold(0.0, |low: f64, sum| low.min(*sum));
    let number = format!("{lowest:.1}").len();
    let width = ((WIDTH - step - 5 * drafted.len()) / columns.len()).min(22);
    write!(out, "{:step$}", "")?;
    for run in columns {
        write!(out, "  {:<1$}", shorten(&run.name, width - 2), width - 2)?;
    }
    writeln!(out, "{}", if drafted.is_empty() { "" } else { " pass" })?;
    for i in 0..lines {
        let mut line = format!("{:>step$}", i + 1);
        for (column, run) in columns.iter().enumerate() {
            let Some(id) = run.ids.get(i) else {
                line += &" ".repeat(width);
                continue;
            };
            let token = bpe.token_text(*id).unwrap_or_else(|| id.to_string());
            let (mark, token) = match i {
                _ if column == 0 => (' ', &token[..]),
                _ if i < run.shared => ('=', ""),
                _ if i == run.shared => ('>', &token[..]),
                _ => (' ', &token[..]),
            };
            let room = (width - 3).saturating_sub(number);
            line += &format!(" {mark}{:<room$} {:>number$.1}", shorten(token, room), run.running[i]);
        }
        for run in drafted {
            line += &run.passes.get(i).map_or(String::new(), |pass| format!(" {pass:>4}"));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints a text wrapped to the table's width, with its own line breaks escaped.
fn paragraph(name: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    let visible = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    let visible: String = text.chars().map(visible).collect();
    let mut line = format!("{name:<INDENT$}");
    let mut used = INDENT;
    for word in visible.split_inclusive(' ') {
        for piece in pieces(word, WIDTH - INDENT) {
            let len = piece.chars().count();
            if used + piece.trim_end().chars().count() > WIDTH {
                writeln!(out, "{}", line.trim_end())?;
                (line, used) = (" ".repeat(INDENT), INDENT);
            }
            line += piece;
            used += len;
        }
    }
    writeln!(out, "{}", line.trim_end())
}

/// Cuts a word into pieces of at most `room` characters.
fn pieces(word: &str, room: usize) -> impl Iterator<Item = &str> {
    let starts = word.char_indices().step_by(room).map(|(at, _)| at);
    let ends = word.char_indices().step_by(room).skip(1).map(|(at, _)| at).chain([word.len()]);
    starts.zip(ends).map(|(start, end)| &word[start..end])
}

/// Prints a run's totals and how it compares with the greedy text.
fn facts(run: &Run, greedy: &Run, out: &mut impl Write) -> io::Result<()> {
    let name = shorten(&run.name, INDENT - 1);
    if let Some(Speculated { drafted, accepted, .. }) = &run.speculated {
        let bits = |run: &Run| run.logprobs.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
        let same = (&greedy.ids, bits(greedy)) == (&run.ids, bits(run));
        let same = if same { "the bits of greedy" } else { "NOT the bits of greedy" };
        let passes = run.passes.last().unwrap_or(&0);
        return writeln!(
            out,
            "{name:<INDENT$}{same} in {passes} passes; {accepted} of {drafted} guesses right"
        );
    }
    let (tokens, sum) = (run.ids.len(), run.running.last().unwrap_or(&0.0));
    write!(out, "{name:<INDENT$}{sum:>7.1}{:>11.2}", sum / tokens.max(1) as f64)?;
    if let (Some(chosen), Some(likeliest)) = (run.logprobs.get(run.shared), greedy.logprobs.get(run.shared)) {
        let until = tokens.min(greedy.ids.len()) - 1; // the last token that both have
        let behind = greedy.running[until] - run.running[until];
        write!(out, "{:>13}{behind:>15.1}{:>16.1}", run.shared + 1, likeliest - chosen)?;
    }
    writeln!(out)
}
