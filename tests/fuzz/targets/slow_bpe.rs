//! GPT-2's tokenizer as its paper and its pattern say, straight from the two files, and slow.

use gpt2::bpe::TokenId;
use std::collections::HashMap;
use std::sync::LazyLock;
use unicode_general_category::{GeneralCategory, get_general_category};

type Token = Vec<u8>;

/// `merges.txt` and `vocab.json`, in bytes.
type Files = (HashMap<(Token, Token), usize>, HashMap<Token, TokenId>);

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let merges = include_str!("../../../data/tales-8m/merges.txt");
    let vocab: HashMap<String, TokenId> =
        serde_json::from_str(include_str!("../../../data/tales-8m/vocab.json")).expect("JSON");
    let pairs = merges.lines().skip(1).filter_map(|line| line.split_once(' '));
    let ranks = pairs.enumerate().map(|(rank, (a, b))| ((bytes(a), bytes(b)), rank)).collect();
    (ranks, vocab.into_iter().map(|(token, id)| (bytes(&token), id)).collect())
});

/// A token of the files in bytes: printable bytes stand for themselves, the others for U+0100, U+0101, ... in order.
fn bytes(token: &str) -> Token {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let others: Vec<u8> = (0..=255).filter(|byte| !printable(byte)).collect();
    token
        .chars()
        .map(|c| if u32::from(c) < 256 { c as u32 as u8 } else { others[c as usize - 256] })
        .collect()
}

/// The ids of a text.
pub fn encode(text: &[u8]) -> Vec<TokenId> {
    pieces(&characters(text)).into_iter().flat_map(merged).collect()
}

/// All merges of one piece: always the pair with the lowest rank, everywhere from left to right.
fn merged(piece: Token) -> Vec<TokenId> {
    let (ranks, vocab) = &*FILES;
    let mut tokens: Vec<Token> = piece.into_iter().map(|byte| vec![byte]).collect();
    loop {
        let pairs = tokens.windows(2).filter_map(|pair| ranks.get(&(pair[0].clone(), pair[1].clone())));
        let Some(lowest) = pairs.min() else { break };
        let mut i = 0;
        while i + 1 < tokens.len() {
            if ranks.get(&(tokens[i].clone(), tokens[i + 1].clone())) == Some(lowest) {
                let right = tokens.remove(i + 1);
                tokens[i].extend(right);
            }
            i += 1;
        }
    }
    tokens.iter().map(|token| vocab[token]).collect()
}

/// The characters of a text with their bytes. A byte that is not part of one is alone.
fn characters(text: &[u8]) -> Vec<(Option<char>, Token)> {
    let mut all = Vec::new();
    for chunk in text.utf8_chunks() {
        all.extend(chunk.valid().chars().map(|c| (Some(c), c.to_string().into_bytes())));
        all.extend(chunk.invalid().iter().map(|byte| (None, vec![*byte])));
    }
    all
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`, one alternative after the other.
fn pieces(text: &[(Option<char>, Token)]) -> Vec<Token> {
    use GeneralCategory::*;
    let letter = |c: Option<char>| {
        let category = c.map(get_general_category);
        matches!(
            category,
            Some(UppercaseLetter | LowercaseLetter | TitlecaseLetter | ModifierLetter | OtherLetter)
        )
    };
    let number = |c: Option<char>| {
        matches!(c.map(get_general_category), Some(DecimalNumber | LetterNumber | OtherNumber))
    };
    let space = |c: Option<char>| c.is_some_and(char::is_whitespace);
    let other = |c: Option<char>| !letter(c) && !number(c) && !space(c);
    let kinds: [&dyn Fn(Option<char>) -> bool; 3] = [&letter, &number, &other];
    let mut all = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let c = |i: usize| text.get(i).map(|(c, _)| *c);
        let run = |from: usize, kind: &dyn Fn(Option<char>) -> bool| {
            (from..text.len()).take_while(|i| kind(text[*i].0)).count()
        };
        let ending = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"]
            .iter()
            .find(|ending| ending.chars().enumerate().all(|(i, e)| c(at + i) == Some(Some(e))));
        let first = usize::from(c(at) == Some(Some(' ')));
        let word = kinds.iter().map(|kind| run(at + first, kind)).find(|len| *len > 0);
        let spaces = run(at, &space);
        let len = match (ending, word) {
            (Some(ending), _) => ending.len(),
            (None, Some(len)) => first + len,
            (None, None) if at + spaces == text.len() || spaces == 1 => spaces,
            (None, None) => spaces - 1,
        };
        all.push(text[at..at + len].iter().flat_map(|(_, bytes)| bytes.clone()).collect());
        at += len;
    }
    all
}
