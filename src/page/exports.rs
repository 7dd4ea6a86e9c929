//! The engine as a WebAssembly module, for the worker in the page. A module has one engine and one model; another model
//! takes another module.
//!
//! Memory belongs to the module. The page takes a piece with `take`, fills it, and passes it on; `answer` returns a piece
//! that the page copies and gives back:
//!
//! ```text
//! u32 bytes of JSON | u32 count of numbers | JSON | padding to 4 bytes | f32 numbers
//! ```

use super::Engine;
use crate::checkpoint;
use serde_json::json;
use std::cell::RefCell;

thread_local! {
    static ENGINE: RefCell<Engine<'static>> = RefCell::default();
    /// The files of the model, with their names. The page fills the last one.
    static FILES: RefCell<Vec<(String, Vec<u8>)>> = RefCell::default();
    /// The pieces of memory that the page has.
    static TAKEN: RefCell<Vec<Vec<u64>>> = RefCell::default();
    static ANSWER: RefCell<Vec<u8>> = RefCell::default();
}

/// A piece of memory of this length, aligned to 8 bytes; 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn take(length: usize) -> *mut u8 {
    let mut piece: Vec<u64> = Vec::new();
    if piece.try_reserve_exact(length.div_ceil(8)).is_err() {
        return std::ptr::null_mut();
    }
    piece.resize(length.div_ceil(8), 0);
    let at = piece.as_mut_ptr().cast();
    TAKEN.with_borrow_mut(|pieces| pieces.push(piece));
    at
}

/// The first `length` bytes of the piece that [`take`] gave at this address. The module has it no longer.
///
/// # Panics
/// If it gave none there, or a shorter one.
fn taken(at: *mut u8, length: usize) -> Vec<u8> {
    let piece = TAKEN.with_borrow_mut(|pieces| {
        let i = pieces.iter().position(|piece| piece.as_ptr().cast() == at.cast_const());
        pieces.swap_remove(i.expect("a piece from `take`"))
    });
    bytemuck::cast_slice(&piece)[..length].to_vec()
}

/// Makes room for a file of the model and returns where its bytes go; 0 if it does not fit. The file before it is whole.
#[unsafe(no_mangle)]
pub extern "C" fn file(name: *mut u8, length: usize, size: usize) -> *mut u8 {
    let name = String::from_utf8_lossy(&taken(name, length)).into_owned();
    let mut bytes = Vec::new();
    if bytes.try_reserve_exact(size).is_err() {
        return std::ptr::null_mut();
    }
    bytes.resize(size, 0);
    FILES.with_borrow_mut(|files| {
        files.push((name, bytes));
        files.last_mut().map_or(std::ptr::null_mut(), |(_, bytes)| bytes.as_mut_ptr())
    })
}

/// Answers a request: see [`Engine::answer`]. `{"op": "open", "name": ..}` opens the model of the files given before.
#[unsafe(no_mangle)]
pub extern "C" fn answer(text: *mut u8, length: usize, numbers: *mut u8, bytes: usize) -> *const u8 {
    let (text, numbers) = (taken(text, length), taken(numbers, bytes));
    let text = String::from_utf8_lossy(&text);
    let numbers: Vec<f32> = numbers.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
    let answer = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(request) if request["op"] == "open" => open(request["name"].as_str().unwrap_or("model")),
        _ => ENGINE.with_borrow_mut(|engine| engine.answer(&text, &numbers)),
    };
    let mut json = answer.json.to_string().into_bytes();
    let length = json.len() as u32;
    json.resize(json.len().next_multiple_of(4), b' ');
    let count = answer.numbers.len() as u32;
    let all = [&length.to_le_bytes()[..], &count.to_le_bytes(), &json, bytemuck::cast_slice(&answer.numbers)]
        .concat();
    ANSWER.set(all);
    ANSWER.with_borrow(|answer| answer.as_ptr())
}

/// Frees the last answer.
#[unsafe(no_mangle)]
pub extern "C" fn give_back() {
    ANSWER.take();
}

/// Opens the model of the given files.
fn open(name: &str) -> super::Answer {
    let json = match checkpoint::open_files(name, FILES.take()) {
        Ok(lm) => {
            ENGINE.set(Engine::new(Box::leak(Box::new(lm)))); // lives as long as the module
            json!(null)
        }
        Err(error) => json!({"error": error.to_string()}),
    };
    super::Answer { json, numbers: Vec::new() }
}
