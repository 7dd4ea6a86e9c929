//! Which files of a folder say how its texts become tokens?
//!
//! The rules are those of `AutoTokenizer` in Hugging Face's transformers 5.23:
//!
//! 1. `tokenizer_class` names one of two readings. `GPT2Tokenizer`, also where none is named, takes tokens and merges
//!    from the files, and everything else from `tokenizer_config.json`. `PreTrainedTokenizerFast` takes a
//!    `tokenizer.json` as it is.
//! 2. Tokens and merges are those of `tokenizer.json`, else of `vocab.json` and `merges.txt`.
//! 3. Added tokens come from `added_tokens_decoder`; without it from `added_tokens.json` and `tokenizer.json`. The named
//!    ones (`bos_token`, ...) and the list of further special ones follow, where they are still unknown.
//! 4. Added tokens that the vocabulary lacks get the next free ids in this order, whatever ids the files give them.

use super::Bpe;
use super::added::AddedToken;
use super::builder::Builder;
use super::files;
use super::pieces::Frame;
use super::tokenizer_config::Settings;
use super::tokenizer_json::{Added, TokenizerJson};
use super::vocabulary::{END_OF_TEXT, Vocabulary};
use crate::error::{Error, Result};
use crate::format::Folder;
use std::path::{Path, PathBuf};

/// The files of tokenizers of GPT-2's kind.
const VOCAB: &str = "vocab.json";
const MERGES: &str = "merges.txt";
const JSON: &str = "tokenizer.json";

/// The files of tokenizers of other kinds.
const OTHERS: [(&str, &str); 8] = [
    ("vocab.txt", "BERT's WordPiece"),
    ("spiece.model", "SentencePiece"),
    ("sentencepiece.bpe.model", "SentencePiece"),
    ("tokenizer.model", "SentencePiece or tiktoken"),
    ("tiktoken.model", "tiktoken"),
    ("tekken.json", "Mistral's tekken"),
    ("bpe.codes", "fastBPE"),
    (
        "vocab.bpe",
        "GPT-2's under OpenAI's names: rename vocab.bpe to merges.txt and encoder.json to vocab.json",
    ),
];

/// The tokenizer of a folder, if it has one.
pub fn open(folder: &Folder) -> Result<Option<Bpe>> {
    let [vocab, merges, json] = [VOCAB, MERGES, JSON].map(|name| folder.path(name));
    let on_disk = matches!(folder, Folder::Disk(..));
    let not_plain = |path: &&PathBuf| on_disk && path.exists() && !path.is_file();
    if let Some(path) = [&vocab, &merges, &json].into_iter().find(not_plain) {
        return Err(Error::file(path, "is not a plain file"));
    }
    let settings = Settings::open(folder)?;
    let as_it_is = settings.takes_the_file_as_it_is()? && folder.has(JSON);
    if folder.has(JSON) {
        let file = TokenizerJson::parse(&json, &files::read_in(folder, JSON)?)?;
        let of_file: Vec<_> = file.added().iter().map(|Added { id, token }| (*id, token.clone())).collect();
        let tokens = settings.tokens(of_file.iter().cloned(), !as_it_is)?;
        let known: Vec<_> = of_file.into_iter().filter(|_| as_it_is).collect();
        let additions = tokens.additions(&known.iter().map(|(_, token)| token.clone()).collect::<Vec<_>>());
        let known = known.into_iter().map(|(id, token)| (Some(id), token));
        let prefix_space = if as_it_is { file.frame.prefix_space } else { settings.prefix_space()? };
        let frame = Frame { prefix_space, ..file.frame.clone() };
        let all: Vec<_> = known.chain(additions).collect();
        let builder =
            file.builder(!as_it_is).and_then(|builder| add(builder, &all)).map_err(Error::in_file(&json))?;
        return Ok(Some(Bpe { vocabulary: builder.finish(frame).into() }));
    }
    match (folder.has(VOCAB), folder.has(MERGES)) {
        (true, true) => (),
        (true, false) => {
            return Err(Error::file(
                folder.place(),
                "there is a vocab.json but no merges.txt; both are needed",
            ));
        }
        (false, true) => {
            return Err(Error::file(
                folder.place(),
                "there is a merges.txt but no vocab.json; both are needed",
            ));
        }
        (false, false) => {
            return match OTHERS.iter().find(|(name, _)| folder.has(name)) {
                Some((name, what)) => Err(Error::file(
                    folder.path(name),
                    format!(
                        "the folder's tokenizer is {what}, and not vocab.json and merges.txt, or tokenizer.json, of GPT-2's kind"
                    ),
                )),
                None => Ok(None),
            };
        }
    }
    let texts = [files::read_in(folder, VOCAB)?, files::read_in(folder, MERGES)?];
    let tokens = settings.tokens(std::iter::empty(), true)?;
    let additions = tokens.additions(&[]);
    let usual = additions.iter().all(|(_, token)| *token == AddedToken::special(END_OF_TEXT));
    if files::are_gpt2s(&texts) && usual && settings.is_plain()? {
        return Ok(Some(Bpe::gpt2()));
    }
    let of_vocab = files::vocab(&vocab, &texts[0])?;
    let builder = files::builder(&of_vocab, &vocab, (&merges, &texts[1]))?;
    let builder = add(builder, &additions).map_err(Error::in_file(&vocab))?;
    let frame = settings.frame(&tokens, &builder)?;
    Ok(Some(Bpe { vocabulary: builder.finish(frame).into() }))
}

/// Adds the added tokens, in order.
fn add<'a>(mut builder: Builder<'a>, tokens: &'a [(Option<u64>, AddedToken)]) -> Result<Builder<'a>, String> {
    tokens.iter().try_for_each(|(stored, token)| builder.added(token, *stored))?;
    Ok(builder)
}

/// `vocab.json` and `merges.txt` without any other file, each with its text.
pub fn plain(vocab: (&Path, &str), merges: (&Path, &str)) -> Result<Vocabulary> {
    let (tokens, end) = (files::vocab(vocab.0, vocab.1)?, AddedToken::special(END_OF_TEXT));
    let mut builder = files::builder(&tokens, vocab.0, merges)?;
    if builder.id(END_OF_TEXT).is_some() {
        builder.added(&end, None).map_err(Error::in_file(vocab.0))?;
    }
    Ok(builder.finish(Frame::default()))
}

/// A `tokenizer.json` without any other file.
pub fn tokenizer_json(path: &Path) -> Result<Vocabulary> {
    let file = TokenizerJson::parse(path, &files::read(path)?)?;
    let mut builder = file.builder(false).map_err(Error::in_file(path))?;
    let added = file.added().iter().try_for_each(|Added { id, token }| builder.added(token, Some(*id)));
    added.map_err(Error::in_file(path))?;
    Ok(builder.finish(file.frame.clone()))
}
