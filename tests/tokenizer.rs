//! The tokenizer equals tiktoken and Hugging Face tokenizers, whose results `make_tokenizer_fixtures.py` recorded; and
//! it refuses invalid files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use gpt2::bpe::{Bpe, StreamDecoder, TokenId};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

#[path = "common/properties.rs"]
mod properties;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures/tokenizer").join(name)
}

/// The lines of a fixture; at least one.
fn cases(name: &str) -> Vec<Value> {
    let text = fs::read_to_string(fixture(name)).expect("a fixture");
    let cases: Vec<_> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(!cases.is_empty());
    cases
}

fn ids(case: &Value) -> Vec<TokenId> {
    case.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as TokenId).collect()
}

fn text(case: &Value) -> &str {
    case["text"].as_str().expect("a text")
}

/// GPT-2's tokenizer as compiled into the library.
fn gpt2() -> &'static Bpe {
    static GPT2: LazyLock<Bpe> = LazyLock::new(Bpe::gpt2);
    &GPT2
}

/// GPT-2's tokenizer from its two files. A trailing space keeps the library from recognising them as GPT-2's, so it
/// reads them like any other files.
fn gpt2_from_files() -> Bpe {
    let file = |name: &str| fs::read_to_string(root().join("data/tales-8m").join(name)).expect("a file");
    from_texts(file("vocab.json") + " ", file("merges.txt")).expect("GPT-2's files")
}

/// Checks everything that holds for a text and its ids.
fn check(bpe: &Bpe, text: &str, plain: &[TokenId], special: &[TokenId]) {
    assert_eq!(bpe.encode(text), plain, "{text:?}");
    assert_eq!(bpe.encode_with_special(text), special, "{text:?}");
    for (ids, allow_special) in [(plain, false), (special, true)] {
        assert_eq!(bpe.decode(ids).expect("known ids"), text.as_bytes(), "{text:?}");
        assert_eq!(bpe.decode_lossy(ids).expect("known ids"), text);
        check_tokens(bpe, text.as_bytes(), ids, allow_special);
        let merges = bpe.merges(text.as_bytes(), allow_special);
        let last =
            merges.iter().flat_map(|piece| piece.states().last().unwrap_or_else(|| piece.symbols.clone()));
        assert_eq!(last.collect::<Vec<_>>(), ids, "{text:?}");
    }
}

/// The tokens cover the text without gaps, and each token's bytes are those of its range.
fn check_tokens(bpe: &Bpe, text: &[u8], ids: &[TokenId], allow_special: bool) {
    let tokens = bpe.tokens(text, allow_special);
    assert!(tokens.iter().map(|token| token.id).eq(ids.iter().copied()));
    let mut end = 0;
    for token in tokens {
        assert_eq!(token.start, end);
        assert_eq!(bpe.token_bytes(token.id), text.get(token.start..token.end));
        end = token.end;
    }
    assert_eq!(end, text.len());
}

#[test]
fn ids_are_those_of_vocab_json() {
    let vocab: Value =
        serde_json::from_slice(&fs::read(root().join("data/tales-8m/vocab.json")).expect("a file"))
            .expect("JSON");
    let vocab = vocab.as_object().expect("an object");
    let files = gpt2_from_files();
    let folder = root().join("data/tales-8m");
    let recognised = Bpe::from_files(&folder.join("vocab.json"), &folder.join("merges.txt")).expect("files");
    for bpe in [gpt2(), &files, &recognised] {
        assert_eq!((bpe.vocab_size(), bpe.end_of_text()), (50_257, Some(50_256)));
        for (text, id) in vocab {
            let id = id.as_u64().expect("an id") as TokenId;
            assert_eq!(bpe.token_text(id).as_ref(), Some(text));
            assert_eq!(bpe.token_bytes(id), gpt2().token_bytes(id));
        }
        assert_eq!((bpe.token_text(50_257), bpe.token_bytes(50_257)), (None, None));
    }
    // Both have the same merges: encode the bytes of every token.
    for id in 0..50_256 {
        let bytes = gpt2().token_bytes(id).expect("a token");
        assert_eq!(gpt2().merges(bytes, false), files.merges(bytes, false));
    }
}

#[test]
fn conformance() {
    let files = gpt2_from_files();
    let cases = cases("conformance.jsonl");
    assert!(cases.len() >= 300);
    for case in &cases {
        let plain = ids(&case["ids"]);
        let special = case.get("ids_with_special").map_or_else(|| plain.clone(), ids);
        check(gpt2(), text(case), &plain, &special);
        check(&files, text(case), &plain, &special);
        let spelled: Vec<_> = plain.iter().map(|&id| gpt2().token_text(id)).collect();
        assert_eq!(json!(spelled), case["tokens"]);
    }
}

#[test]
fn random_strings() {
    for case in cases("random.jsonl") {
        let plain = ids(&case["ids"]);
        let special = case.get("ids_with_special").map_or_else(|| plain.clone(), ids);
        check(gpt2(), text(&case), &plain, &special);
    }
}

#[test]
fn broken_characters_decode_as_in_python() {
    for case in cases("decoding.jsonl") {
        let ids = ids(&case["ids"]);
        assert_eq!(gpt2().decode_lossy(&ids).expect("known ids"), text(&case));
        let mut stream = StreamDecoder::new(gpt2());
        let mut shown: String =
            ids.iter().map(|&id| stream.push(id).expect("a known id").to_owned()).collect();
        shown += &stream.finish();
        assert_eq!(shown, text(&case));
    }
}

/// The committed strings, and, if `GPT2_TOKENIZER_CORPUS` names a folder, the corpus of many megabytes that
/// `make_tokenizer_fixtures.py --corpus FOLDER` wrote there.
#[test]
fn corpus() {
    let mut compared = 0;
    for case in cases("conformance.jsonl").iter().chain(&cases("random.jsonl")) {
        assert_eq!(gpt2().encode(text(case)), ids(&case["ids"]));
        compared += 1;
    }
    assert!(compared >= 1000);
    let Some(folder) = std::env::var_os("GPT2_TOKENIZER_CORPUS") else { return };
    let corpus = fs::read(Path::new(&folder).join("corpus.bin")).expect("the corpus");
    let mut rest = corpus.as_slice();
    let (mut strings, mut bytes, mut tokens) = (0, 0, 0);
    while !rest.is_empty() {
        let len = number(&mut rest) as usize;
        let text = rest.split_off(..len).expect("a whole text");
        let mut list = || (0..number(&mut rest)).map(|_| number(&mut rest)).collect::<Vec<TokenId>>();
        let (plain, special) = (list(), list());
        assert_eq!(gpt2().encode(text), plain, "{:?}", String::from_utf8_lossy(text));
        assert_eq!(gpt2().encode_with_special(text), special, "{:?}", String::from_utf8_lossy(text));
        assert_eq!(gpt2().decode(&plain).expect("known ids"), text);
        strings += 1;
        bytes += len;
        tokens += plain.len();
    }
    println!("{strings} strings, {bytes} bytes, {tokens} tokens: all equal");
    assert!(strings > 100_000);
}

/// Takes a little-endian number off the front of `bytes`.
fn number(bytes: &mut &[u8]) -> u32 {
    let number = bytes.split_off(..4).expect("a whole number");
    u32::from_le_bytes(number.try_into().expect("four bytes"))
}

/// A piece of a million bytes needs about as many merges. A merge must not scan the whole piece: that would take hours.
#[test]
fn long_runs_do_not_take_quadratic_time() {
    for unit in ["a", " ", "^", "-", "7", "\n", "ab", "🙂", "👩‍👩‍👧", "é", "\u{a0}", "\0", "the", " \t"]
    {
        let text = unit.repeat(1_000_000 / unit.len());
        let ids = gpt2().encode(&text);
        assert_eq!(gpt2().decode(&ids).expect("known ids"), text.as_bytes());
    }
    let markers = "<|endoftext".repeat(90_000);
    assert_eq!(gpt2().encode_with_special(&markers), gpt2().encode(&markers));
}

#[test]
fn special_tokens_are_text_unless_allowed() {
    let text = "a<|endoftext|>b";
    assert_eq!(gpt2().encode(text), [64, 27, 91, 437, 1659, 5239, 91, 29, 65]);
    assert_eq!(gpt2().encode_with_special(text), [64, 50_256, 65]);
    let merges = gpt2().merges(text.as_bytes(), true);
    let special = &merges[1];
    assert_eq!(
        (special.start, special.end, &special.symbols[..], &special.merges[..]),
        (1, 14, &[50_256][..], &[][..])
    );
}

#[test]
fn merges_show_their_steps() {
    let merges = gpt2().merges(b"a lower", false);
    let piece = &merges[1];
    let spell =
        |ids: &[TokenId]| ids.iter().filter_map(|&id| gpt2().token_text(id)).collect::<Vec<_>>().join(" ");
    assert_eq!((piece.start, piece.end, spell(&piece.symbols)), (1, 7, "Ġ l o w e r".into()));
    let states: Vec<_> = piece.states().map(|state| spell(&state)).collect();
    assert_eq!(states, ["Ġ l o w er", "Ġl o w er", "Ġl ow er", "Ġl ower", "Ġlower"]);
    assert_eq!(
        json!(piece.merges[0]),
        json!({"rank": 7, "left": 68, "right": 81, "merged": 263, "at": 5}) // "e" and "r" are at byte 5
    );
}

#[test]
fn unknown_ids_are_errors_that_name_them() {
    let error = gpt2().decode(&[0, 1, 50_257]).expect_err("no such id").to_string();
    assert_eq!(error, "id 50257, number 3 of the list, is not a token: the vocabulary has 50257 ids");
    assert!(gpt2().decode_lossy(&[TokenId::MAX]).is_err());
}

#[test]
fn a_tokenizer_serves_many_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    shared(gpt2());
}

proptest! {
    #![proptest_config(properties::config())]
    #[test]
    fn any_bytes_come_back(text in prop::collection::vec(any::<u8>(), 0..300), allow_special: bool) {
        let ids = if allow_special { gpt2().encode_with_special(&text) } else { gpt2().encode(&text) };
        prop_assert_eq!(gpt2().decode(&ids).expect("known ids"), &text[..]);
        check_tokens(gpt2(), &text, &ids, allow_special);
    }

    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        prop_assert_eq!(gpt2().decode_lossy(&gpt2().encode(&text)).expect("known ids"), text);
    }

    /// Invalid UTF-8 does not change the pieces around it.
    #[test]
    fn broken_bytes_stay_where_they_are(before in "[a-z]{1,8}", after in " [a-z]{1,8}", byte in 0x80..=0xffu8) {
        let text = [before.as_bytes(), &[byte], after.as_bytes()].concat();
        let parts = [gpt2().encode(before), gpt2().encode([byte]), gpt2().encode(after)];
        prop_assert_eq!(gpt2().encode(text), parts.concat());
    }

    #[test]
    fn any_ids_decode(ids in prop::collection::vec(0..50_257u32, 0..100)) {
        let bytes = gpt2().decode(&ids).expect("known ids");
        let each: Vec<u8> = ids.iter().flat_map(|&id| gpt2().token_bytes(id).expect("a token")).copied().collect();
        prop_assert_eq!(bytes, each);
    }
}

// ---- Files

/// The small tokenizer of the fixtures, as JSON that tests can damage.
fn small() -> Value {
    serde_json::from_slice(&fs::read(fixture("small/tokenizer.json")).expect("a fixture")).expect("JSON")
}

/// The result of `from_tokenizer_json` for a file with this text.
fn from_json(text: impl AsRef<[u8]>) -> Result<Bpe, String> {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, text).expect("a file");
    Bpe::from_tokenizer_json(&path).map_err(|error| one_line(&error.to_string()))
}

/// The result of `from_files` for files with these texts.
fn from_texts(vocab: impl AsRef<[u8]>, merges: impl AsRef<[u8]>) -> Result<Bpe, String> {
    let folder = TempDir::new().expect("a folder");
    let [vocab_path, merges_path] = ["vocab.json", "merges.txt"].map(|name| folder.path().join(name));
    fs::write(&vocab_path, vocab).expect("a file");
    fs::write(&merges_path, merges).expect("a file");
    Bpe::from_files(&vocab_path, &merges_path).map_err(|error| one_line(&error.to_string()))
}

fn one_line(message: &str) -> String {
    assert!(!message.contains('\n') && message.len() < 600, "{message}");
    message.to_owned()
}

/// The error must contain each of `parts`.
fn refused(result: Result<Bpe, String>, parts: &[&str]) {
    let message = result.expect_err("it must be refused");
    assert!(parts.iter().all(|part| message.contains(part)), "not all of {parts:?} in: {message}");
}

fn small_texts() -> (String, String) {
    let read = |name| fs::read_to_string(fixture(name)).expect("a fixture");
    (read("small/vocab.json"), read("small/merges.txt"))
}

/// The small vocabulary after `change`.
fn vocab_with(change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> String {
    let mut vocab = small()["model"]["vocab"].take();
    change(vocab.as_object_mut().expect("an object"));
    vocab.to_string()
}

#[test]
fn ids_in_any_order_and_added_tokens() {
    let pairs = from_json(small().to_string()).expect("a valid file");
    let mut old = small(); // the format of merges before 2024
    for merge in old["model"]["merges"].as_array_mut().expect("merges") {
        *merge = json!(format!("{} {}", merge[0].as_str().expect("left"), merge[1].as_str().expect("right")));
    }
    let strings = from_json(old.to_string()).expect("a valid file");
    let (vocab, merges) = small_texts();
    let files = from_texts(vocab, merges).expect("valid files");
    for case in cases("small/cases.jsonl") {
        let expected = ids(&case["ids_with_special"]);
        for bpe in [&pairs, &strings] {
            assert_eq!(bpe.encode_with_special(text(&case)), expected, "{:?}", text(&case));
            assert_eq!(bpe.decode_lossy(&expected).expect("known ids"), text(&case));
        }
        if expected.iter().all(|&id| id < 400) {
            assert_eq!(files.encode(text(&case)), expected); // without added tokens
        }
    }
    assert_eq!((pairs.vocab_size(), pairs.end_of_text()), (404, Some(400)));
    assert_eq!((files.vocab_size(), files.end_of_text()), (400, None));
    assert_eq!(pairs.encode("un été").last(), Some(&402)); // not special, so it is always found
    assert_ne!(pairs.encode("<a b>"), [403]);
    assert_eq!(pairs.encode_with_special("<a b>"), [403]);
    assert_eq!(pairs.token_text(403).as_deref(), Some("<a b>"));
}

#[test]
fn ids_with_gaps() {
    let (vocab, merges) = small_texts();
    let dense = from_texts(vocab, &merges).expect("valid files");
    let spread = |id: u64| 40_000 * id + 7;
    let vocab = vocab_with(|vocab| {
        vocab.values_mut().for_each(|id| *id = json!(spread(id.as_u64().expect("an id"))));
    });
    let sparse = from_texts(vocab, &merges).expect("valid files");
    let expected: Vec<_> =
        dense.encode("Once upon a time").iter().map(|&id| spread(id.into()) as TokenId).collect();
    assert_eq!(sparse.encode("Once upon a time"), expected);
    assert_eq!(sparse.decode(&expected).expect("known ids"), b"Once upon a time");
    assert_eq!(sparse.vocab_size(), 40_000 * 399 + 8);
    assert_eq!((sparse.token_bytes(8), sparse.token_text(8)), (None, None));
    assert!(sparse.decode(&[7, 8]).expect_err("a gap").to_string().contains("id 8, number 2"));
}

#[test]
fn end_of_text_is_found_by_its_spelling() {
    let (_, merges) = small_texts();
    let vocab = vocab_with(|vocab| drop(vocab.insert("<|endoftext|>".into(), json!(5000))));
    let bpe = from_texts(vocab, merges).expect("valid files");
    assert_eq!((bpe.vocab_size(), bpe.end_of_text()), (5001, Some(5000)));
    assert_eq!(bpe.encode_with_special("<|endoftext|>"), [5000]);
}

#[test]
fn harmless_differences_are_accepted() {
    let (vocab, merges) = small_texts();
    let expected = from_texts(&vocab, &merges).expect("valid files").encode("Once upon a time");
    let body = merges.split_once('\n').expect("lines").1;
    let without_end = merges.trim_end();
    for merges in [
        merges.clone(),
        body.into(),                  // no version line
        merges.replace('\n', "\r\n"), // line breaks of Windows
        format!("\u{feff}{merges}"),  // a byte-order mark
        merges.replace('\n', "\n\n"), // blank lines
        without_end.into(),           // no line feed at the end
    ] {
        let bpe = from_texts(format!("\u{feff}{vocab}\r\n"), &merges).expect("valid files");
        assert_eq!(bpe.encode("Once upon a time"), expected);
    }
    // A template that adds nothing, as transformers 5 writes it, is accepted; one that adds a token is refused.
    let mut template = small();
    template["post_processor"] =
        json!({"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]});
    assert_eq!(from_json(template.to_string()).expect("a valid file").encode("Once upon a time"), expected);
    template["post_processor"]["single"] = json!([{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}]);
    refused(from_json(template.to_string()), &["post_processor TemplateProcessing"]);
    // Without merges every byte is a token.
    assert_eq!(from_texts(&vocab, "").expect("valid files").encode("Once").len(), 4);
    // A token not spelled in byte symbols stands for its own text. No merge produces it.
    let odd = vocab_with(|vocab| drop(vocab.insert("日本 🙂".into(), json!(900))));
    let bpe = from_texts(odd, &merges).expect("valid files");
    assert_eq!(
        (bpe.decode_lossy(&[900]).expect("known"), bpe.token_text(900)),
        ("日本 🙂".into(), Some("日本 🙂".into()))
    );
    assert_eq!(bpe.encode("Once upon a time"), expected);
    // If a merge occurs twice, the last one counts, as in HF's tokenizers.
    let first = body.lines().next().expect("a merge");
    let twice = from_texts(&vocab, format!("{body}{first}\n")).expect("valid files");
    let last = from_texts(&vocab, format!("{}{first}\n", &body[first.len() + 1..])).expect("valid files");
    assert_eq!(twice.encode("Once upon a time"), last.encode("Once upon a time"));
}

#[test]
fn invalid_vocabularies_are_refused() {
    let (vocab, merges) = small_texts();
    let with = |token: &str, id: Value| vocab_with(|vocab| drop(vocab.insert(token.into(), id)));
    let long = "x".repeat(70_000);
    let used = small()["model"]["vocab"]["A"].clone();
    let cases: Vec<(String, &[&str])> = vec![
        (String::new(), &["vocab.json", "EOF", "line 1"]),
        ("{".into(), &["vocab.json", "EOF", "line 1, column 1"]),
        (vocab[..vocab.len() / 2].into(), &["vocab.json", "EOF", "fetch the file again"]),
        ("[]".into(), &["expected an object"]),
        ("{}".into(), &["vocab.json", "no byte has a token"]),
        (json!({"[UNK]": 0, "##ing": 1, "日": 2}).to_string(), &["no byte has a token"]),
        (with("zz", json!(1u64 << 63)), &["`zz`", "9223372036854775808", "below 16777216"]),
        (with("zz", json!(u64::MAX)), &["`zz`", "18446744073709551615"]),
        (with("zz", json!(1 << 24)), &["`zz`", "16777216"]),
        (with("zz", json!(-1)), &["integer `-1`"]),
        (with("zz", json!(1.5)), &["floating point `1.5`"]),
        (with("zz", json!("1")), &["string \"1\""]),
        (with("zz", json!(long)), &["invalid type: string \"xxxx"]),
        (with("zz", json!(null)), &["null"]),
        (with("zz", used.clone()), &["two tokens have the id", "each needs its own"]),
        (with(&long, json!(900)), &["longer than 65,535 bytes", "xxx...`"]),
        (vocab.replacen('{', r#"{"A": 999, "#, 1), &["`A`", "twice"]),
        (vocab.replacen('{', r#"{"\ud800": 999, "#, 1), &["line 1"]),
    ];
    for (vocab, parts) in cases {
        refused(from_texts(vocab, &merges), parts);
    }
    refused(from_texts(b"\xff{}", &merges), &["vocab.json", "the byte at 0 is not UTF-8"]);
    // Control characters from a file do not reach the terminal.
    let message = from_texts(with("\u{1b}[31m\n", json!(1u64 << 40)), &merges).expect_err("refused");
    assert!(message.contains(r"\u{1b}[31m\n"), "{message}");
}

#[test]
fn invalid_merges_are_refused() {
    let (vocab, merges) = small_texts();
    let with = |line: &str| merges.replacen('\n', &format!("\n{line}\n"), 1);
    let last = merges.lines().count() + 1;
    let cases: Vec<(String, Vec<String>)> = vec![
        (
            with("qqq r"),
            vec!["merges.txt".into(), "line 2".into(), "the token `qqq`".into(), "same model".into()],
        ),
        (with("q qqq"), vec!["line 2".into(), "the token `qqq`".into()]),
        (with("q z"), vec!["line 2".into(), "the token `qz`".into()]),
        (with("q"), vec!["line 2".into(), "`q` is not a merge".into(), "one space".into()]),
        (with("q r s"), vec!["line 2".into()]),
        (with("q  r"), vec!["line 2".into()]),
        (with(" r"), vec!["line 2".into()]),
        (with("q "), vec!["line 2".into()]),
        (with("q\tr"), vec!["line 2".into()]),
        (format!("{merges}q \0"), vec![format!("line {last}"), r"`\u{0}`".into()]),
        (format!("{merges}#version: 0.2"), vec![format!("line {last}")]),
        (merges.replacen("#version", "# version", 1), vec!["line 1".into()]),
        ("x".repeat(1_000_000), vec!["line 1".into()]),
    ];
    for (merges, parts) in cases {
        refused(from_texts(&vocab, merges), &parts.iter().map(String::as_str).collect::<Vec<_>>());
    }
    refused(from_texts(&vocab, b"a b\n\xc3\x28"), &["merges.txt", "the byte at 4 is not UTF-8"]);
}

#[test]
fn missing_files_are_errors_that_name_them() {
    let folder = TempDir::new().expect("a folder");
    let (vocab, merges) = (fixture("small/vocab.json"), fixture("small/merges.txt"));
    let none = folder.path().join("none");
    let message = |result: gpt2::error::Result<Bpe>| result.expect_err("no such file").to_string();
    assert!(message(Bpe::from_files(&none, &merges)).contains("none"));
    assert!(message(Bpe::from_files(&vocab, &none)).contains("none"));
    assert!(message(Bpe::from_tokenizer_json(&none)).contains("none"));
    assert!(Bpe::from_tokenizer_json(folder.path()).is_err());
}

/// A huge file is not read. (This one is sparse: it takes no space on disk.)
#[test]
fn huge_files_are_refused() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("vocab.json");
    fs::File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
    let error = Bpe::from_files(&path, &fixture("small/merges.txt")).expect_err("too long").to_string();
    assert!(error.contains("longer than 256 MiB"), "{error}");
}

#[test]
fn other_tokenizers_are_refused_by_name() {
    let cases: [(&str, Value, &str); 21] = [
        ("/model/type", json!("WordPiece"), "model type `WordPiece`"),
        ("/model/type", json!("Unigram"), "model type `Unigram`"),
        ("/model/dropout", json!(0.1), "dropout"),
        ("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix"),
        ("/model/end_of_word_suffix", json!("</w>"), "end_of_word_suffix"),
        ("/model/byte_fallback", json!(true), "byte_fallback"),
        ("/model/ignore_merges", json!(true), "ignore_merges"),
        ("/normalizer", json!({"type": "NFC"}), "normalizer NFC"),
        ("/normalizer", json!([]), "normalizer of unknown type"),
        ("/pre_tokenizer", json!(null), "pre_tokenizer null"),
        ("/pre_tokenizer", json!({"type": "Whitespace"}), "pre_tokenizer Whitespace"),
        ("/pre_tokenizer", json!({"type": "Sequence", "pretokenizers": []}), "pre_tokenizer Sequence"),
        ("/pre_tokenizer/add_prefix_space", json!(null), "add_prefix_space"),
        ("/pre_tokenizer/use_regex", json!(false), "use_regex"),
        ("/post_processor", json!({"type": "TemplateProcessing"}), "post_processor TemplateProcessing"),
        ("/decoder", json!({"type": "WordPiece"}), "decoder WordPiece"),
        ("/added_tokens/0/content", json!(""), "is empty"),
        ("/added_tokens/0/content", json!("a".repeat(2000)), "longer than 1024 bytes"),
        ("/model/merges/3", json!(["a"]), "merge 3: `[\"a\"]`"),
        ("/model/merges/3", json!("a b c"), "merge 3"),
        ("/model/merges/3", json!(["qqq", "r"]), "merge 3: the merge of `qqq` and `r` needs the token `qqq`"),
    ];
    for (pointer, value, problem) in cases {
        let mut spoilt = small();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        match spoilt.pointer_mut(parent).expect("the parent") {
            Value::Array(parent) => parent[key.parse::<usize>().expect("a number")] = value,
            parent => parent[key] = value,
        }
        refused(from_json(spoilt.to_string()), &["tokenizer.json", problem]);
    }
    let mut added = small();
    let e = &added["model"]["vocab"]["é"]; // in byte symbols, é is one byte, not the character é
    added["added_tokens"] = json!([{"id": e, "content": "é"}]);
    refused(from_json(added.to_string()), &["`é`", "spells other bytes"]);
    refused(from_json("{}"), &["tokenizer.json", "missing field `model`"]);
    refused(from_json(r#"{"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}"#), &["model type `Unigram`"]);
    refused(from_json("[".repeat(100_000)), &["tokenizer.json"]);
    let text = small().to_string();
    refused(from_json(&text[..text.len() / 2]), &["EOF"]);
}

#[test]
fn bytes_without_a_token_are_left_out_and_noted() {
    let (_, merges) = small_texts();
    let vocab = vocab_with(|vocab| ["Z", "ł"].into_iter().for_each(|symbol| drop(vocab.remove(symbol)))); // 0x5a, 0xa0
    let bpe = from_texts(vocab, &merges).expect("valid files");
    assert_eq!(
        bpe.notes(),
        ["no token for 2 bytes, the first 0x5a (`Z`): a text loses them, as in transformers"]
    );
    let whole = from_texts(vocab_with(|_| ()), &merges).expect("valid files");
    assert_eq!((bpe.encode(b"tZZhe \xa0Z"), whole.notes().len()), (whole.encode("the "), 0));
    let tokens = bpe.tokens(b"Zt\xa0\xc0", false);
    let places: Vec<_> = tokens.iter().map(|token| (token.start, token.end)).collect();
    assert_eq!(places, [(1, 2), (3, 4)]);
    let merges = bpe.merges(b"tZhe", false);
    assert_eq!(merges[0].states().last(), Some(bpe.encode("the")));
    assert_eq!(merges[0].merges.iter().map(|merge| merge.at).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn ids_of_added_tokens_follow_the_vocabulary() {
    let known = small()["model"]["vocab"]["A"].as_u64().expect("an id");
    for (id, content, found) in [(1u64 << 63, "<x>", 400), (405, "<x>", 400), (400, "A", known)] {
        let mut file = small();
        file["added_tokens"] = json!([{"id": id, "content": content, "special": true}]);
        let bpe = from_json(file.to_string()).expect("a valid file");
        assert_eq!(bpe.encode_with_special(content), [found as TokenId]);
        let note =
            format!("the added token `{content}` has the id {id} in its file, but {found} in transformers");
        assert!(bpe.notes()[0].starts_with(&note), "{:?}", bpe.notes());
    }
}

#[test]
fn an_unknown_token_that_cannot_occur_is_accepted() {
    let mut file = small();
    file["model"]["unk_token"] = json!("<unk>");
    assert!(from_json(file.to_string()).is_ok());
    file["model"]["vocab"].as_object_mut().expect("an object").remove("Z");
    refused(from_json(file.to_string()), &["unk_token `<unk>`, which is not supported"]);
}

#[test]
fn places_are_those_of_the_text_as_it_is() {
    let mut file = small();
    file["pre_tokenizer"]["add_prefix_space"] = json!(true);
    file["post_processor"] = json!({
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "x"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "x"}}],
        "special_tokens": {"x": {"id": "x", "ids": [400], "tokens": ["<|endoftext|>"]}},
    });
    let bpe = from_json(file.to_string()).expect("a valid file");
    let places = |text: &str| -> Vec<_> {
        bpe.tokens(text.as_bytes(), true).into_iter().map(|t| (t.id, t.start, t.end)).collect()
    };
    let the = from_json(small().to_string()).expect("a valid file").encode(" the")[0];
    assert_eq!(places("the"), [(400, 0, 0), (the, 0, 3), (400, 3, 3)]);
    assert_eq!(
        places("the<|endoftext|>the"),
        [(400, 0, 0), (the, 0, 3), (400, 3, 16), (the, 16, 19), (400, 19, 19)]
    );
    assert_eq!(places(" the the"), [(400, 0, 0), (the, 0, 4), (the, 4, 8), (400, 8, 8)]);
    assert_eq!(bpe.encode_part("the", false), [the]);
    assert_eq!(bpe.encode(""), [400, 400]);
    let merges = bpe.merges(b"the", false);
    assert_eq!(
        merges.iter().map(|piece| (piece.start, piece.end)).collect::<Vec<_>>(),
        [(0, 0), (0, 3), (3, 3)]
    );
    assert_eq!(merges[1].states().last(), Some(vec![the]));
}

proptest! {
    #![proptest_config(properties::config())]
    /// Damaged files give an error, or a tokenizer that still decodes what it encodes.
    #[test]
    fn damaged_files_do_no_harm(at in 0..13_000usize, len in 0..40usize, new in "[\\[\\]{}\",: a0é\n]{0,4}") {
        let spoil = |text: &str| {
            let mut bytes = text.as_bytes().to_vec();
            let at = at % bytes.len();
            let end = (at + len).min(bytes.len());
            bytes.splice(at..end, new.bytes());
            bytes
        };
        let (vocab, merges) = small_texts();
        let json = fs::read_to_string(fixture("small/tokenizer.json")).expect("a fixture");
        for bpe in [from_texts(spoil(&vocab), &merges), from_texts(&vocab, spoil(&merges)), from_json(spoil(&json))] {
            let Ok(bpe) = bpe else { continue };
            if !bpe.notes().is_empty() {
                continue; // it has no token for some bytes
            }
            let text = b"Once upon a time, it's  \xff<|endoftext|>";
            prop_assert_eq!(bpe.decode(&bpe.encode(text)).expect("known ids"), text);
        }
    }
}
