//! What `check.mjs` calls, as C would: with numbers, and addresses in the module's memory.

#[path = "../bits/golden.rs"]
#[allow(dead_code)]
mod golden;
#[path = "../bits/matrix.rs"]
#[allow(dead_code, unused_imports)]
mod matrix;
#[path = "../bits/models.rs"]
mod models;

use gpt2::checkpoint::{self, random};
use gpt2::model::Gpt2;
use gpt2::tensor::Dtype;
use gpt2::trace::NoTrace;
use std::cell::RefCell;
use std::collections::BTreeMap;

type Files = Vec<(String, Vec<u8>)>;

thread_local! {
    /// The files that were given, by the names of their folders.
    static FOLDERS: RefCell<BTreeMap<String, Files>> = const { RefCell::new(BTreeMap::new()) };
}

/// The models in those folders.
fn fixtures() -> Vec<(String, Gpt2)> {
    let open = |(name, files): (&String, &Files)| {
        (name.clone(), checkpoint::open_files(name, files.clone()).expect("a checkpoint").model)
    };
    FOLDERS.with_borrow(|folders| folders.iter().map(open).collect())
}

/// Memory for `len` bytes, which are the callee's.
#[unsafe(no_mangle)]
extern "C" fn alloc(len: usize) -> *mut u8 {
    Vec::leak(vec![0; len]).as_mut_ptr()
}

/// Takes a file. Both parts are from [`alloc`]; `path` is `FOLDER/FILE`.
///
/// # Safety
/// They have these lengths.
#[unsafe(no_mangle)]
unsafe extern "C" fn file(path: *mut u8, path_len: usize, bytes: *mut u8, len: usize) {
    // SAFETY: `alloc` leaked two vectors of these lengths.
    let [path, bytes] =
        [(path, path_len), (bytes, len)].map(|(start, len)| unsafe { Vec::from_raw_parts(start, len, len) });
    let path = String::from_utf8(path).expect("a path");
    let (folder, name) = path.split_once('/').expect("a folder");
    FOLDERS.with_borrow_mut(|folders| folders.entry(folder.into()).or_default().push((name.into(), bytes)));
}

/// The text of the snapshot: where it begins, after four bytes of its length.
#[unsafe(no_mangle)]
extern "C" fn hashes() -> *const u8 {
    let text = golden::lines();
    Vec::leak([&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat()).as_ptr()
}

/// Decodes this many tokens: with the bundled model (0), or one of the shape of GPT-2 124M in bf16 (1) or int8 (2).
#[unsafe(no_mangle)]
extern "C" fn decode(model: u32, tokens: u32) {
    thread_local! {
        static OPEN: RefCell<BTreeMap<u32, Gpt2>> = const { RefCell::new(BTreeMap::new()) };
    }
    let random = |dtype| random::random(random::size("124M").expect("a size"), dtype);
    let open = || match model {
        0 => models::bundled().model,
        1 => random(Dtype::Bf16),
        _ => random(Dtype::I8),
    };
    OPEN.with_borrow_mut(|all| {
        let model = all.entry(model).or_insert_with(open);
        let mut cache = model.new_cache();
        (0..tokens).for_each(|id| drop(model.next_logits(&[id], &mut cache, &mut NoTrace)));
    });
}
