//! The page as one file: its text, its style, its program, and the numbers, compressed and in base64.
//!
//! ```text
//! gzip(u32 length of JSON | JSON | all first bytes of the numbers | all second bytes | ...)
//! ```
//!
//! The first bytes of many numbers resemble each other, so they compress better side by side.

use base64::{Engine, prelude::BASE64_STANDARD};
use flate2::{Compression, write::GzEncoder};
use gpt2::checkpoint::bundled_files;
use gpt2::error::Result;
use gpt2::format::write_whole;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;

const PAGE: &str = include_str!("../../page/web/page.html");
const STYLE: &str = include_str!("../../page/web/page.css");
const SCRIPT: [&str; 8] = [
    include_str!("../../page/web/data.js"),
    include_str!("../../page/web/show.js"),
    include_str!("../../page/web/text.js"),
    include_str!("../../page/web/path.js"),
    include_str!("../../page/web/attention.js"),
    include_str!("../../page/web/choice.js"),
    include_str!("../../page/web/after.js"),
    concat!(include_str!("../../page/web/live.js"), include_str!("../../page/web/main.js")),
];

/// This crate as WebAssembly, compressed; `.ci/wasm --engine` builds it.
const ENGINE: &[u8] = include_bytes!("../../../data/engine.wasm.gz");

/// What a page holds.
pub struct Parts {
    /// Everything but long lists of numbers.
    pub json: Value,
    pub numbers: Vec<f32>,
    /// What a browser without JavaScript shows.
    pub text: String,
    /// Whether the bundled model is inside.
    pub model: bool,
}

impl Parts {
    /// Writes the page and returns its size in bytes.
    pub fn write(&self, path: &Path) -> Result<usize> {
        let mut numbers = Vec::with_capacity(4 * self.numbers.len());
        apart(bytemuck::cast_slice(&self.numbers), 4, &mut numbers);
        let data = packed(&self.json, &numbers);
        let model = if self.model { model() } else { Vec::new() };
        let script = format!("'use strict';\n{}", SCRIPT.concat());
        let text = self.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let values = [
            ("{{style}}", STYLE),
            ("{{fallback}}", &text),
            ("{{data}}", &BASE64_STANDARD.encode(data)),
            ("{{engine}}", &BASE64_STANDARD.encode(ENGINE)),
            ("{{model}}", &BASE64_STANDARD.encode(model)),
            ("{{script}}", &script),
        ];
        // each mark once, in the order of the page: a value that contains a mark stays as it is
        let (mut page, mut rest) = (String::new(), PAGE);
        for (mark, value) in values {
            let (before, after) = rest.split_once(mark).expect("the page has each mark");
            page += before;
            page += value;
            rest = after;
        }
        page += rest;
        write_whole(path, page.as_bytes())?;
        Ok(page.len())
    }
}

/// The files of the bundled model.
fn model() -> Vec<u8> {
    let (mut list, mut bytes) = (Vec::new(), Vec::new());
    for (name, content) in bundled_files() {
        let width = if name.ends_with(".safetensors") && content.len() % 2 == 0 { 2 } else { 1 };
        list.push(json!({"name": name, "size": content.len(), "width": width}));
        apart(content, width, &mut bytes);
    }
    packed(&list.into(), &bytes)
}

/// JSON and bytes, compressed.
fn packed(json: &Value, bytes: &[u8]) -> Vec<u8> {
    let json = json.to_string();
    gzip(&[&(json.len() as u32).to_le_bytes(), json.as_bytes(), bytes])
}

fn gzip(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    parts.iter().for_each(|part| encoder.write_all(part).expect("memory takes all bytes"));
    encoder.finish().expect("memory takes all bytes")
}

/// Appends all first bytes of items of this width, then all second bytes, and so on.
fn apart(bytes: &[u8], width: usize, to: &mut Vec<u8>) {
    (0..width).for_each(|byte| to.extend(bytes.iter().skip(byte).step_by(width)));
}
