//! GPT-2's own vocabulary is that of its files.

use super::*;

#[test]
fn gpt2s_own_files_are_recognised() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tales-8m");
    let read =
        Bpe::from_files(&folder.join("vocab.json"), &folder.join("merges.txt")).expect("GPT-2's files");
    assert!(Arc::ptr_eq(&read.vocabulary, &Bpe::gpt2().vocabulary));
}

#[test]
fn gpt2s_merges_as_ids_are_its_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/tales-8m");
    let [vocab, merges] = ["vocab.json", "merges.txt"].map(|name| folder.join(name));
    let files = folder::plain((&vocab, GPT2_VOCAB), (&merges, GPT2_MERGES)).expect("GPT-2's files");
    let own = Bpe::gpt2().vocabulary;
    assert_eq!(files.ranks.len(), 50_000);
    assert!(own.ranks == files.ranks && own.merged == files.merged);
    assert_eq!((own.byte_ids, own.end_of_text), (files.byte_ids, files.end_of_text));
    let (own, files) = (Bpe::gpt2(), Bpe { vocabulary: files.into() });
    assert_eq!(own.vocab_size(), files.vocab_size());
    for id in 0..own.vocab_size() as TokenId {
        assert_eq!(own.token_bytes(id), files.token_bytes(id));
        assert_eq!(own.token_text(id), files.token_text(id));
    }
}
