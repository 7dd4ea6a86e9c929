//! Splits a line into words, and reads numbers from them.

use std::ops::RangeInclusive;

/// A word of a line, and whether it was in quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub text: String,
    pub quoted: bool,
}

/// Splits a line at spaces. Inside quotes, spaces belong to the word, and `\n`, `\t`, `\"` and `\\` are escapes.
pub fn split(line: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(words);
        }
        let quoted = rest.next_if_eq(&'"').is_some();
        let mut text = String::new();
        loop {
            match rest.next_if(|c| quoted || !c.is_whitespace()) {
                None if quoted => return Err("an opening quote is not closed".into()),
                Some('"') if quoted => break,
                Some('\\') if quoted => text.push(match rest.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(c @ ('"' | '\\')) => c,
                    _ => return Err("after \\ only n, t, \" or \\ may follow".into()),
                }),
                Some(c) => text.push(c),
                None => break,
            }
        }
        words.push(Word { text, quoted });
    }
}

/// A number; `what` names it in the error.
pub fn number(word: &Word, what: &str) -> Result<usize, String> {
    word.text.parse().map_err(|_| format!("{:?} is not {what}", word.text))
}

/// The only word.
pub fn one<'w>(name: &str, words: &'w [Word], what: &str) -> Result<&'w Word, String> {
    if let [word] = words { Ok(word) } else { Err(format!("{name} needs {what}")) }
}

/// A count of at least 1; 1 if left out.
pub fn count(name: &str, words: &[Word]) -> Result<usize, String> {
    let n = if words.is_empty() { 1 } else { number(one(name, words, "one number")?, "a number")? };
    if n == 0 { Err(format!("{name} 0 does nothing; give at least 1")) } else { Ok(n) }
}

/// A range, `A` or `A-B`, including both ends.
pub fn range(word: &Word) -> Result<RangeInclusive<usize>, String> {
    let wrong = || format!("{:?} is neither a number nor a range like 3-7", word.text);
    let parse = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (from, to) = match word.text.split_once('-') {
        None => (parse(&word.text)?, parse(&word.text)?),
        Some((from, to)) => (parse(from)?, parse(to)?),
    };
    if from <= to { Ok(from..=to) } else { Err(wrong()) }
}
