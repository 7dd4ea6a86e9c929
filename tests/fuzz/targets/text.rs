//! Tokenizers from files, and any text for GPT-2's own.

use super::{is_one_line, join, sections, slow_bpe, tiny};
use gpt2::bpe::{Bpe, StreamDecoder};
use gpt2::format::Folder;

/// The files of a tokenizer, and a `text`.
pub fn tokenizer(data: &[u8]) {
    let (mut files, mut text) = (Vec::new(), &b"hello <s>the end"[..]);
    for (name, body) in sections(data) {
        match &*name {
            "text" => text = &body[..body.len().min(1000)],
            _ => files.push((name, body.to_vec())),
        }
    }
    let bpe = match Bpe::from_folder(files.into_iter().collect::<Folder>()) {
        Ok(Some(bpe)) => bpe,
        Ok(None) => return,
        Err(error) => return is_one_line(&error),
    };
    is_consistent(&bpe, text);
    if let Ok(json) = bpe.to_tokenizer_json() {
        let folder = [("tokenizer.json", json.into_bytes())].into_iter().collect::<Folder>();
        let copy = Bpe::from_folder(folder).expect("a copy opens").expect("a file");
        for special in [false, true] {
            assert_eq!(bpe.encode_part(text, special), copy.encode_part(text, special));
        }
    }
}

/// What encodes comes back, and every way to encode and to decode says the same.
fn is_consistent(bpe: &Bpe, text: &[u8]) {
    for special in [false, true] {
        let ids = if special { bpe.encode_with_special(text) } else { bpe.encode(text) };
        let tokens = bpe.tokens(text, special);
        assert!(tokens.iter().map(|token| token.id).eq(ids.iter().copied()));
        assert!(tokens.iter().all(|token| token.start <= token.end && token.end <= text.len()));
        assert!(ids.iter().all(|id| (*id as usize) < bpe.vocab_size() && bpe.token_bytes(*id).is_some()));
        let whole = bpe.decode_lossy(&ids).expect("known ids");
        let mut stream = StreamDecoder::new(bpe);
        let mut pieces = String::new();
        ids.iter().for_each(|id| pieces.push_str(stream.push(*id).expect("a known id")));
        pieces.push_str(&stream.finish());
        assert_eq!(pieces, whole);
    }
}

/// GPT-2's tokenizer against a slow one that shares no code with it.
pub fn encode(data: &[u8]) {
    let text = &data[..data.len().min(4096)];
    let bpe = Bpe::gpt2();
    let ids = bpe.encode(text);
    assert_eq!(ids, slow_bpe::encode(text));
    assert_eq!(bpe.decode(&ids).expect("known ids"), text);
    is_consistent(&bpe, text);
}

pub fn encode_seeds() -> Vec<Vec<u8>> {
    let texts: [&[u8]; 6] = [
        b"Once upon a time, there weren't 3 dogs; they'll    bark\n\n\tand we've 12345 more.",
        "Ｆull-width ½ Ⅷ 漢字 привет 🤖👩‍👩‍👧 e\u{301} \u{a0}\u{3000} <|endoftext|>".as_bytes(),
        b"\xff\xfe\xc3\x28 \xf0\x9f\xa4 's 'S '",
        b"   aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa aaaaaaaa   ",
        b"fn main() { println!(\"{:?}\", x[0]); }\r\n",
        b"",
    ];
    texts.map(<[u8]>::to_vec).into()
}

pub fn tokenizer_seeds() -> Vec<Vec<u8>> {
    let [vocab, merges] = &*tiny::TOKENIZER;
    let small = |name: &str, text: &str| (name.to_string(), text.to_string());
    let two = vec![small(vocab.0, &vocab.1), small(merges.0, &merges.1)];
    let one = vec![small("tokenizer.json", &tiny::LM.bpe.to_tokenizer_json().expect("it can be written"))];
    let settings = r#"{"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true, "add_bos_token": true, "bos_token": "<s>",
        "unk_token": {"content": "<|endoftext|>", "lstrip": true, "rstrip": true, "normalized": true, "single_word": true},
        "added_tokens_decoder": {"259": {"content": "<s>", "special": true, "lstrip": false, "rstrip": true, "single_word": false, "normalized": false}}}"#;
    let special = r#"{"bos_token": "<s>", "eos_token": "<|endoftext|>", "additional_special_tokens": ["<a>", {"content": "<b>"}]}"#;
    let more = [small("tokenizer_config.json", settings), small("special_tokens_map.json", special)];
    let added = [small("added_tokens.json", r#"{"<a>": 260, "<b>": 261}"#)];
    let text = [small("text", "the end<s> he<a> <|endoftext|>hehe")];
    let with = |first: &[(String, String)]| {
        let all: Vec<_> = first.iter().chain(&more).chain(&added).chain(&text).cloned().collect();
        let all: Vec<(&str, &String)> = all.iter().map(|(name, body)| (&**name, body)).collect();
        join(&all)
    };
    let alone = |files: &[(String, String)]| {
        join(&files.iter().map(|(name, body)| (&**name, body)).collect::<Vec<_>>())
    };
    vec![alone(&two), alone(&one), with(&two), with(&one)]
}
