//! What every file and every text must leave whole, whatever it says: no panic, no hang, and one line for an error.
//!
//! A target takes any bytes. `.ci/fuzz` gives it bytes that reach ever more of the code. The unit test below gives it the
//! cases that once failed (`tests/fuzz/cases/TARGET/`), the seeds, and seeds with some bytes changed.

mod commands;
mod files;
mod options;
mod slow_bpe;
mod text;
mod tiny;

use gpt2::error::Error;

/// What is tried, and inputs to begin with.
pub struct Target {
    pub name: &'static str,
    run: fn(&[u8]),
    #[cfg_attr(not(test), allow(dead_code))] // the unit test writes them for the fuzzer
    seeds: fn() -> Vec<Vec<u8>>,
}

pub const TARGETS: [Target; 10] = [
    Target { name: "safetensors", run: files::safetensors, seeds: files::safetensors_seeds },
    Target { name: "gguf", run: files::gguf, seeds: files::gguf_seeds },
    Target { name: "llmc", run: files::llmc, seeds: files::llmc_seeds },
    Target { name: "config", run: files::config, seeds: files::config_seeds },
    Target { name: "tokenizer", run: text::tokenizer, seeds: text::tokenizer_seeds },
    Target { name: "encode", run: text::encode, seeds: text::encode_seeds },
    Target { name: "traces", run: files::traces, seeds: files::traces_seeds },
    Target { name: "stepper", run: commands::stepper, seeds: commands::stepper_seeds },
    Target { name: "batch", run: commands::batch, seeds: commands::batch_seeds },
    Target { name: "options", run: options::options, seeds: options::options_seeds },
];

/// Runs the target of this name.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    (target.run)(data);
}

/// An error says what is wrong in one line of limited length.
fn is_one_line(error: &Error) {
    line(&error.to_string());
}

fn line(message: &str) {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}');
    assert!(!message.is_empty() && !message.contains(breaks), "{message:?}");
    assert!(message.chars().count() <= 1000, "{} characters: {message}", message.chars().count());
}

/// Several files in one input: each begins with a line `=== NAME`.
fn sections(data: &[u8]) -> Vec<(String, &[u8])> {
    let mut all = Vec::new();
    let mut rest = data.strip_prefix(b"=== ");
    while let Some(section) = rest {
        let Some(end) = section.iter().position(|byte| *byte == b'\n') else { break };
        let (name, body) = (String::from_utf8_lossy(&section[..end]).into_owned(), &section[end + 1..]);
        let next = body.windows(5).position(|window| window == b"\n=== ");
        all.push((name, &body[..next.unwrap_or(body.len())]));
        rest = next.map(|next| &body[next + 5..]);
    }
    all
}

/// The input for [`sections`].
fn join<B: AsRef<[u8]>>(files: &[(&str, B)]) -> Vec<u8> {
    let mut all = Vec::new();
    for (name, body) in files {
        all.extend_from_slice(if all.is_empty() { b"=== " } else { b"\n=== " });
        all.extend_from_slice(name.as_bytes());
        all.push(b'\n');
        all.extend_from_slice(body.as_ref());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Random numbers that are the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % n
        }

        /// Changes, removes, repeats or swaps in a few bytes.
        fn mutate(&mut self, bytes: &mut Vec<u8>) {
            for _ in 0..=self.below(4) {
                if bytes.is_empty() {
                    return;
                }
                let at = self.below(bytes.len());
                let end = (at + 1 + self.below(8)).min(bytes.len());
                match self.below(5) {
                    0 => bytes[at] ^= 1 << self.below(8),
                    1 => bytes[at] = b"\"{}[],:0919-eE.\\ \n=\xff"[self.below(20)],
                    2 => drop(bytes.drain(at..end)),
                    3 => bytes.extend_from_within(at..end),
                    _ => bytes[at] = self.below(256) as u8,
                }
            }
        }
    }

    /// With `GPT2_FUZZ_SEEDS=FOLDER` it also writes the seeds there, for the fuzzer.
    fn check(target: &Target) {
        let seeds = (target.seeds)();
        assert!(!seeds.is_empty());
        if let Some(folder) = std::env::var_os("GPT2_FUZZ_SEEDS") {
            let folder = Path::new(&folder).join(target.name);
            std::fs::create_dir_all(&folder).expect("a folder");
            for (i, seed) in seeds.iter().enumerate() {
                std::fs::write(folder.join(i.to_string()), seed).expect("a file");
            }
        }
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/cases").join(target.name);
        for case in std::fs::read_dir(kept).into_iter().flatten() {
            run(target.name, &std::fs::read(case.expect("a file").path()).expect("a file"));
        }
        let mut random = Random(1);
        for n in 0..400 {
            let mut data = seeds[n % seeds.len()].clone();
            if n >= seeds.len() {
                random.mutate(&mut data);
            }
            (target.run)(&data);
        }
    }

    macro_rules! tests {
        ($($name:ident)*) => {
            $( #[test] fn $name() {
                check(TARGETS.iter().find(|target| target.name == stringify!($name)).expect("a target"));
            } )*
            const NAMES: &[&str] = &[$(stringify!($name)),*];
        };
    }
    tests!(safetensors gguf llmc config tokenizer encode traces stepper batch options);

    #[test]
    fn every_target_is_a_program_of_the_fuzzer() {
        let manifest = include_str!("../Cargo.toml");
        assert_eq!(TARGETS.map(|target| target.name), NAMES);
        for name in NAMES {
            assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"target.rs\"")), "{name}");
        }
    }
}
