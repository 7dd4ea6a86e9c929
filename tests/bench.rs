//! `gpt2 bench` reports what the flags ask for, with the keys of the contract.

mod common;

use common::{fixture, gpt2};
use predicates::prelude::*;
use serde_json::Value;

fn report(arguments: &[&str]) -> Value {
    let mut command = gpt2();
    command.args(["bench", "--json", "--repeat", "1", "--threads", "2", "--model"]).arg(fixture("base"));
    let output = command.args(arguments).assert().success();
    serde_json::from_slice(&output.get_output().stdout).expect("one JSON object")
}

#[test]
fn every_number_is_there_and_positive() {
    let report = report(&["--prefill", "5,40,65", "--decode", "4x1,30x3,60x1", "--kv-cache-dtype", "f16"]);
    assert_eq!(report["dtype"], "f32");
    assert_eq!(report["kv_cache_dtype"], "f16");
    assert_eq!(report["threads"], 2);
    assert!(report["model"].is_string() && report["simd"].is_string());
    let list = |key: &str, keys: &[&str]| -> Vec<Value> {
        let list = report[key].as_array().expect(key).clone();
        for entry in &list {
            for key in keys {
                assert!(entry[key].as_f64().is_some_and(|x| x > 0.0 && x.is_finite()), "{key} of {entry}");
            }
        }
        list
    };
    // base has 64 positions: 65 tokens do not fit, nor do 16 steps after 60
    let prefill = list("prefill", &["tokens_per_s", "gflops", "of_peak"]);
    assert_eq!(prefill.iter().map(|p| &p["tokens"]).collect::<Vec<_>>(), [5, 40]);
    let decode = list("decode", &["tokens_per_s", "gb_per_s", "of_bandwidth"]);
    assert_eq!(decode.iter().map(|d| &d["context"]).collect::<Vec<_>>(), [4, 30]);
    assert_eq!(decode.iter().map(|d| &d["batch"]).collect::<Vec<_>>(), [1, 3]);
    for key in ["read_gb_per_s", "fma_gflops"] {
        assert!(report["limits"][key].as_f64().is_some_and(|x| x > 0.0), "{key}");
    }
}

#[test]
fn a_table_for_people() {
    let output =
        gpt2().args(["bench", "--repeat", "1", "--prefill", "3", "--decode", "2x2"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).expect("UTF-8");
    for part in ["tales-8m, bf16", "this machine: reads", "tokens/s", "of peak", "of bandwidth"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn what_does_not_fit_is_named() {
    let mut command = gpt2();
    command.args(["bench", "--repeat", "1", "--prefill", "3,65", "--decode", "2x2,60x1", "--model"]);
    let note = "note: skipped prefill 65, decode 60x1: a length must be 1 to 64 (the model's positions), and \
                decoding adds 16\n";
    command.arg(fixture("base")).assert().success().stderr(predicate::eq(note));
}

#[test]
fn bad_usage() {
    for (flag, value) in [
        ("--decode", "900"),
        ("--decode", "0x1"),
        ("--decode", "1x0"),
        ("--decode", "1x99999999999999999999"),
        ("--prefill", "-1"),
        ("--prefill", "x"),
        ("--repeat", "0"),
        ("--random", "7B"),
    ] {
        gpt2().args(["bench", flag, value]).assert().code(2);
    }
}
