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
    static ANSWER: RefCell<Vec<u8>> = RefCell::default();
}

/// A piece of memory of this length, aligned to 8 bytes; 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn take(length: usize) -> *mut u8 {
    let mut bytes: Vec<u64> = Vec::new();
    match bytes.try_reserve_exact(length.div_ceil(8)) {
        Ok(()) => std::mem::ManuallyDrop::new(bytes).as_mut_ptr().cast(),
        Err(_) => std::ptr::null_mut(),
    }
}

/// What [`take`] gave and the page filled.
///
/// # Safety
/// `at` came from `take(length)` and is not used again; all its bytes were written.
unsafe fn taken(at: *mut u8, length: usize) -> Vec<u8> {
    // SAFETY: the page wrote the bytes, as the caller says; they are copied, and the words are freed as they were taken.
    unsafe {
        let bytes = std::slice::from_raw_parts(at, length).to_vec();
        drop(Vec::<u64>::from_raw_parts(at.cast(), 0, length.div_ceil(8)));
        bytes
    }
}

/// Makes room for a file of the model and returns where its bytes go; 0 if it does not fit. The file before it is whole.
///
/// # Safety
/// As for `taken`, with the file's name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn file(name: *mut u8, length: usize, size: usize) -> *mut u8 {
    // SAFETY: the caller's
    let name = String::from_utf8_lossy(&unsafe { taken(name, length) }).into_owned();
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
///
/// # Safety
/// As for `taken`, with the text of the request and with its numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn answer(text: *mut u8, length: usize, numbers: *mut u8, bytes: usize) -> *const u8 {
    // SAFETY: the caller's
    let (text, numbers) = unsafe { (taken(text, length), taken(numbers, bytes)) };
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
