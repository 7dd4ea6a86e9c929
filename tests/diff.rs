//! A port of GPT-2 that shares only the weights with this library. The tests plant one mistake at a time in the port;
//! `gpt2 diff` must name the stage with the mistake.

mod common;

use common::{Checkpoint, fixture, gpt2};
use gpt2::format::safetensors::{Slot, Writer};
use gpt2::layer_norm::LayerNorm;
use gpt2::linear::Linear;
use gpt2::model::Gpt2;
use gpt2::tensor::Weights;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Common mistakes in ports.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    OtherGelu,
    CAttnTransposed,
    CProjTransposed,
    LnFSkipped,
    LnFMissing,
    PositionOffByOne,
    FixedEpsilon,
    SmallEpsilon,
    NoScale,
    NormedResidual,
    NoMask,
    KeysAndValuesSwapped,
    HeadsNotSideBySide,
    NoMlpBias,
    TiedHead,
}

const IDS: [usize; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// `[T, width]`, row after row.
type Rows = Vec<Vec<f64>>;

/// The port: plain loops in f64.
struct Port<'a> {
    model: &'a Gpt2,
    bug: Bug,
    stages: Vec<(String, Vec<usize>, Vec<f64>)>,
}

impl Port<'_> {
    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    fn keep(&mut self, name: &str, rows: &Rows) {
        self.stages.push((name.into(), vec![rows.len(), rows[0].len()], rows.concat()));
    }

    fn linear(&self, x: &Rows, linear: &Linear, transposed: bool) -> Rows {
        let (n, w) = (linear.weight.cols(), linear.weight.to_f32());
        let k = linear.weight.rows();
        let weight = |i: usize, o: usize| f64::from(if transposed { w[o * k + i] } else { w[i * n + o] });
        let dot = |x: &Vec<f64>, o: usize| x.iter().enumerate().map(|(i, x)| x * weight(i, o)).sum::<f64>();
        x.iter().map(|x| (0..n).map(|o| dot(x, o) + f64::from(linear.bias[o])).collect()).collect()
    }

    fn norm(&self, x: &Rows, ln: &LayerNorm) -> Rows {
        let eps = match self.bug {
            Bug::FixedEpsilon => 1e-5,
            Bug::SmallEpsilon => 1e-12, // BERT's
            _ => f64::from(ln.eps),
        };
        let normed = |x: &Vec<f64>| {
            let c = x.len() as f64;
            let mean = x.iter().sum::<f64>() / c;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / c;
            let affine = ln.weight.iter().zip(&ln.bias);
            x.iter()
                .zip(affine)
                .map(|(x, (w, b))| (x - mean) / (variance + eps).sqrt() * f64::from(*w) + f64::from(*b))
                .collect()
        };
        x.iter().map(normed).collect()
    }

    /// Scores and weights of one head `[T, T]`, and its output `[T, D]`.
    fn head(&self, qkv: &Rows, h: usize, scale: f64) -> (Rows, Rows, Rows) {
        let (c, t) = (qkv[0].len() / 3, qkv.len());
        let d = c / self.model.config.n_head;
        let part = |i: usize, t: usize| &qkv[t][i * c + h * d..][..d];
        let (key, value) = if self.has(Bug::KeysAndValuesSwapped) { (2, 1) } else { (1, 2) };
        let scale = if self.has(Bug::NoScale) { 1.0 } else { scale };
        let score = |t: usize, s: usize| match s > t && !self.has(Bug::NoMask) {
            true => f64::NEG_INFINITY,
            false => part(0, t).iter().zip(part(key, s)).map(|(q, k)| q * k).sum::<f64>() * scale,
        };
        let scores: Rows = (0..t).map(|t| (0..qkv.len()).map(|s| score(t, s)).collect()).collect();
        let softmax = |x: &Vec<f64>| {
            let e: Vec<f64> = x.iter().map(|x| x.exp()).collect();
            e.iter().map(|x| x / e.iter().sum::<f64>()).collect()
        };
        let weights: Rows = scores.iter().map(softmax).collect();
        let mix = |w: &Vec<f64>, i: usize| w.iter().enumerate().map(|(s, w)| w * part(value, s)[i]).sum();
        let mixed = weights.iter().map(|w| (0..d).map(|i| mix(w, i)).collect()).collect();
        (scores, weights, mixed)
    }

    fn attention(&mut self, i: usize, x: &Rows) -> Rows {
        let (attn, name) = (&self.model.h[i].attn, |part: &str| format!("transformer.h.{i}.attn.{part}"));
        let qkv = self.linear(x, &attn.c_attn, self.has(Bug::CAttnTransposed));
        self.keep(&name("c_attn"), &qkv);
        let heads: Vec<_> = (0..attn.n_head).map(|h| self.head(&qkv, h, f64::from(attn.scale))).collect();
        let shape = vec![attn.n_head, x.len(), x.len()];
        self.stages.push((name("scores"), shape.clone(), heads.iter().flat_map(|h| h.0.concat()).collect()));
        self.stages.push((name("weights"), shape, heads.iter().flat_map(|h| h.1.concat()).collect()));
        let side_by_side: Rows =
            (0..x.len()).map(|t| heads.iter().flat_map(|h| h.2[t].clone()).collect()).collect();
        let one_after_another: Vec<f64> = heads.iter().flat_map(|h| h.2.concat()).collect(); // no transpose
        let mixed = match self.bug {
            Bug::HeadsNotSideBySide => one_after_another.chunks(x[0].len()).map(<[f64]>::to_vec).collect(),
            _ => side_by_side,
        };
        self.keep(&name("heads"), &mixed);
        let y = self.linear(&mixed, &attn.c_proj, self.has(Bug::CProjTransposed));
        self.keep(&name("c_proj"), &y);
        y
    }

    fn mlp(&mut self, i: usize, x: &Rows) -> Rows {
        let (mlp, name) = (&self.model.h[i].mlp, |part: &str| format!("transformer.h.{i}.mlp.{part}"));
        let mut c_fc = mlp.c_fc.clone();
        if self.has(Bug::NoMlpBias) {
            c_fc.bias.fill(0.0);
        }
        let x = self.linear(x, &c_fc, false);
        self.keep(&name("c_fc"), &x);
        let x = x.iter().map(|x| x.iter().map(|x| gelu(*x, self.has(Bug::OtherGelu))).collect()).collect();
        self.keep(&name("act"), &x);
        let y = self.linear(&x, &mlp.c_proj, false);
        self.keep(&name("c_proj"), &y);
        y
    }

    fn forward(&mut self) {
        let model = self.model;
        let wte = rows(&model.wte);
        let first = usize::from(self.has(Bug::PositionOffByOne));
        let wpe = rows(&model.wpe)[first..][..IDS.len()].to_vec();
        let tokens: Rows = IDS.iter().map(|id| wte[*id].clone()).collect();
        self.keep("transformer.wte", &tokens);
        self.keep("transformer.wpe", &wpe);
        let mut x = sum(&tokens, &wpe);
        self.keep("transformer.drop", &x);
        for (i, block) in model.h.iter().enumerate() {
            let normed = self.norm(&x, &block.ln_1);
            self.keep(&format!("transformer.h.{i}.ln_1"), &normed);
            let attention = self.attention(i, &normed);
            x = sum(if self.has(Bug::NormedResidual) { &normed } else { &x }, &attention);
            self.keep(&format!("transformer.h.{i}.attn_residual"), &x);
            let normed = self.norm(&x, &block.ln_2);
            self.keep(&format!("transformer.h.{i}.ln_2"), &normed);
            x = sum(&x, &self.mlp(i, &normed));
            self.keep(&format!("transformer.h.{i}"), &x);
        }
        if !self.has(Bug::LnFSkipped) && !self.has(Bug::LnFMissing) {
            x = self.norm(&x, &model.ln_f);
        }
        if !self.has(Bug::LnFMissing) {
            self.keep("transformer.ln_f", &x);
        }
        let head = if self.has(Bug::TiedHead) { wte } else { rows(&model.lm_head) };
        let dot = |x: &Vec<f64>, w: &Vec<f64>| x.iter().zip(w).map(|(x, w)| x * w).sum();
        let logits = x.iter().map(|x| head.iter().map(|w| dot(x, w)).collect()).collect();
        self.keep("lm_head", &logits);
    }

    /// The port's trace file: F32, no ids.
    fn write(&self, path: &Path) {
        let slot = |(name, shape, _): &(String, Vec<usize>, _)| Slot {
            name: name.clone(),
            dtype: "F32",
            shape: shape.clone(),
        };
        let slots: Vec<Slot> = self.stages.iter().map(slot).collect();
        let mut writer = Writer::create(path, &slots, &BTreeMap::new()).expect("a file");
        for (name, _, values) in &self.stages {
            let bytes: Vec<u8> = values.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
            writer.write(name, &bytes).expect("a stage");
        }
        writer.finish().expect("a file");
    }
}

fn rows(weights: &Weights) -> Rows {
    weights.to_f32().chunks(weights.cols()).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect()
}

fn sum(a: &Rows, b: &Rows) -> Rows {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a + b).collect()).collect()
}

/// GELU with tanh, as in OpenAI's GPT-2, or with erf, as in the definition.
fn gelu(x: f64, with_erf: bool) -> f64 {
    if !with_erf {
        return 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    }
    // erf by its series: 2 / sqrt(pi) * sum of (-1)^n z^(2n + 1) / (n! (2n + 1))
    let z = (x / std::f64::consts::SQRT_2).clamp(-4.5, 4.5);
    let (mut power, mut erf) = (z, z);
    for n in 1..120 {
        power *= -z * z / f64::from(n);
        erf += power / f64::from(2 * n + 1);
    }
    0.5 * x * (1.0 + erf * std::f64::consts::FRAC_2_SQRT_PI)
}

/// Writes our trace of a fixture, and the trace of the port with this mistake.
fn traces(name: &str, bug: Bug, ours: &Path, theirs: &Path) {
    let lm = gpt2::checkpoint::open(fixture(name)).expect("a fixture");
    let mut port = Port { model: &lm.model, bug, stages: Vec::new() };
    port.forward();
    port.write(theirs);
    let ids = IDS.map(|id| id.to_string()).join(",");
    let mut command = gpt2();
    command
        .args(["trace", "--ids", &ids, "--out"])
        .arg(ours)
        .arg("--model")
        .arg(fixture(name))
        .assert()
        .success();
}

/// What `gpt2 diff` says about our trace of a fixture and the trace of the port with this mistake.
fn diff(name: &str, bug: Bug) -> (Value, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    traces(name, bug, &ours, &theirs);
    let output = |json: bool| {
        let mut command = gpt2();
        command.arg("diff").args([&ours, &theirs]).args(json.then_some("--json"));
        let output = command.output().expect("a program");
        assert!(output.stderr.is_empty(), "{output:?}");
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let ((code, json), (same_code, text)) = (output(true), output(false));
    let report: Value = serde_json::from_str(&json).expect("JSON");
    let expected = i32::from(!report["first"].is_null());
    assert_eq!((code, same_code), (Some(expected), Some(expected)), "{text}");
    (report, text)
}

#[test]
fn a_port_without_mistakes() {
    for name in ["base", "untied"] {
        let (report, text) = diff(name, Bug::None);
        assert_eq!((&report["first"], &report["jump"]), (&Value::Null, &Value::Null), "{text}");
        assert!(text.contains("none beyond 1e-4"), "{text}");
    }
}

#[test]
fn the_mistake_is_where_the_first_difference_is() {
    for (bug, name, stage) in [
        (Bug::CAttnTransposed, "base", "transformer.h.0.attn.c_attn"),
        (Bug::CProjTransposed, "base", "transformer.h.0.attn.c_proj"),
        (Bug::LnFSkipped, "base", "transformer.ln_f"),
        (Bug::LnFMissing, "base", "lm_head"),
        (Bug::PositionOffByOne, "base", "transformer.wpe"),
        (Bug::FixedEpsilon, "scaled", "transformer.h.0.ln_1"),
        (Bug::NoScale, "base", "transformer.h.0.attn.scores"),
        (Bug::NormedResidual, "base", "transformer.h.0.attn_residual"),
        (Bug::NoMask, "base", "transformer.h.0.attn.scores"),
        (Bug::KeysAndValuesSwapped, "base", "transformer.h.0.attn.scores"),
        (Bug::HeadsNotSideBySide, "base", "transformer.h.0.attn.heads"),
        (Bug::NoMlpBias, "base", "transformer.h.0.mlp.c_fc"),
        (Bug::TiedHead, "untied", "lm_head"),
    ] {
        let (report, text) = diff(name, bug);
        assert_eq!((&report["first"], &report["jump"]), (&stage.into(), &stage.into()), "{text}");
        assert!(text.contains(&format!("the first stage beyond 1e-4 is {stage} = ")), "{text}");
        if bug == Bug::LnFMissing {
            assert!(text.contains("B lacks transformer.ln_f = ln_f(x)"), "{text}");
        }
    }
}

/// Mistakes whose first difference is below the tolerance: the difference jumps where the mistake is.
#[test]
fn a_small_mistake_is_where_the_difference_jumps() {
    for (bug, name, stage) in [
        (Bug::OtherGelu, "base", "transformer.h.0.mlp.act"),
        (Bug::SmallEpsilon, "base", "transformer.h.0.ln_1"),
    ] {
        let (report, text) = diff(name, bug);
        assert_eq!(report["jump"], stage, "{text}");
        assert!(text.contains(&format!("in {stage} = ")) && text.contains("look there first"), "{text}");
        if bug == Bug::OtherGelu {
            let verdict = text.split_once("\n\n").expect("a verdict").1;
            for line in verdict.lines().take(3) {
                // the port's f64 may round differently on another machine
                let stable = line.split(": ").next().unwrap_or(line);
                assert!(
                    include_str!("../src/guide/port.md").contains(stable),
                    "port.md lacks the line\n{line}"
                );
            }
        }
    }
}

/// With the model, each wrong stage is called wrong, no other is, and the mistake is named.
#[test]
fn with_the_model_mistakes_have_names() {
    for (bug, name, stages, words) in [
        (Bug::None, "base", "", ""),
        (Bug::None, "untied", "", ""),
        (Bug::OtherGelu, "base", "mlp.act", "gelu instead of gelu_new"),
        (Bug::CAttnTransposed, "base", "attn.c_attn", "transposed weights"),
        (Bug::CProjTransposed, "base", "attn.c_proj", "transposed weights"),
        (Bug::LnFSkipped, "base", "ln_f", "no layer norm"),
        (Bug::LnFMissing, "base", "lm_head", "no layer norm in transformer.ln_f"),
        (Bug::PositionOffByOne, "base", "wpe", "positions shifted by 1"),
        (Bug::FixedEpsilon, "scaled", "ln_1 ln_2 ln_f", "epsilon"),
        (Bug::SmallEpsilon, "base", "ln_1 ln_2 ln_f", "epsilon"),
        (Bug::NoScale, "base", "attn.scores", "scores that are not divided by sqrt(D)"),
        (Bug::NormedResidual, "base", "attn_residual", "a residual connection from the layer norm's result"),
        (Bug::NoMask, "base", "attn.scores attn.weights", "no mask"),
        (
            Bug::KeysAndValuesSwapped,
            "base",
            "attn.scores attn.heads",
            "c_attn split as q, v, k instead of q, k, v",
        ),
        (Bug::HeadsNotSideBySide, "base", "attn.heads", "[H, T, D] reshaped to [T, C]"),
        (Bug::NoMlpBias, "base", "mlp.c_fc", "no bias"),
        (Bug::TiedHead, "untied", "lm_head", "wte as the output head"),
    ] {
        let (code, text) = with_model(name, bug, &["--json"]);
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(code, Some(i32::from(bug != Bug::None)), "{text}");
        let all = report["stages"].as_array().expect("stages");
        assert!(
            all.iter()
                .all(|stage| ["own", "inherited", "mistake"].iter().all(|key| stage.get(key).is_some()))
        );
        let wrong: Vec<_> = all.iter().filter(|stage| stage["verdict"] == "wrong").collect();
        assert_eq!(wrong.is_empty(), bug == Bug::None, "{bug:?}: {text}");
        for stage in wrong {
            let place = stage["stage"].as_str().expect("a name");
            assert!(stages.split(' ').any(|end| place.ends_with(end)), "{bug:?}: {stage}");
            assert!(
                stage["mistake"].as_str().is_some_and(|mistake| mistake.contains(words)),
                "{bug:?}: {stage}"
            );
        }
        let (_, table) = with_model(name, bug, &[]);
        assert!(table.contains(words) && table.contains("verdict"), "{table}");
        if bug == Bug::OtherGelu {
            // the port's f64 may round differently on another machine
            let stable = |line: &str| line.split(": equal within").next().unwrap_or(line).to_string();
            for line in table.split_once("\n\n").expect("a conclusion").1.lines().map(stable) {
                assert!(
                    include_str!("../src/guide/port.md").contains(&line),
                    "port.md lacks the line\n{line}"
                );
            }
        }
    }
}

fn with_model(name: &str, bug: Bug, flags: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, port] = ["ours", "port"].map(|name| folder.path().join(format!("{name}.safetensors")));
    traces(name, bug, &ours, &port);
    let mut command = gpt2();
    let output =
        command.arg("diff").args([&ours, &port]).arg("--model").arg(fixture(name)).args(flags).output();
    let output = output.expect("it runs");
    (
        output.status.code(),
        String::from_utf8(output.stdout).expect("UTF-8") + &String::from_utf8_lossy(&output.stderr),
    )
}

/// llm.c's debug state: a batch of ids, targets and logits.
#[test]
fn the_debug_state_of_llm_c() {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, state] = ["ours", "state.bin"].map(|name| folder.path().join(name));
    let (ids, model) =
        ([3i32, 1, 4, 1, 5], gpt2::checkpoint::open(fixture("base")).expect("a fixture").model);
    gpt2()
        .args(["trace", "--ids", "3,1,4,1,5", "--model"])
        .arg(fixture("base"))
        .arg("--out")
        .arg(&ours)
        .assert()
        .success();
    for skip_ln_f in [false, true] {
        let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
        let mut port = model.clone();
        if skip_ln_f {
            port.ln_f.bias.fill(0.0);
        }
        let logits = port.forward(&ids, &mut port.new_cache(), &mut gpt2::trace::NoTrace);
        let mut numbers = vec![20_240_327i32, 2, 2, 5];
        numbers.resize(256, 0);
        numbers.extend([&ids[..], &ids, &ids, &ids].concat().iter().map(|id| *id as i32));
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes.extend([logits.data(), logits.data(), &[1.0]].concat().iter().flat_map(|x| x.to_le_bytes()));
        std::fs::write(&state, &bytes).expect("a file");
        let output = gpt2()
            .arg("diff")
            .args([&ours, &state])
            .arg("--model")
            .arg(fixture("base"))
            .output()
            .expect("it runs");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(output.status.code(), Some(i32::from(skip_ln_f)), "{text}");
        assert_eq!(text.contains("no bias in transformer.ln_f"), skip_ln_f, "{text}");
    }
}

#[test]
fn with_another_model_or_prompt() {
    let folder = tempfile::tempdir().expect("a folder");
    let [ours, port, other] =
        ["ours", "port", "other"].map(|name| folder.path().join(format!("{name}.safetensors")));
    traces("base", Bug::None, &ours, &port);
    gpt2()
        .args(["trace", "--ids", "3,1", "--model"])
        .arg(fixture("base"))
        .arg("--out")
        .arg(&other)
        .assert()
        .success();
    for (files, model, part) in [
        ([&ours, &port], "scaled", "no stage has the shape that 9 ids give"),
        ([&other, &port], "base", "no stage has the shape that 2 ids give"),
        ([&ours, &other], "base", "input_ids are not those of"),
        ([&ours, &folder.path().join("none")], "base", "none"),
        ([&ours, &fixture("base").join("model.safetensors")], "base", "has no"),
    ] {
        let assert =
            gpt2().arg("diff").args(files).arg("--model").arg(fixture(model)).assert().code(1).stdout("");
        let error = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
        assert!(
            error.starts_with("error: ") && error.contains(part) && error.lines().count() == 1,
            "{error}"
        );
    }
    let changed = Checkpoint::copy("base");
    changed.configure("layer_norm_epsilon", 0.1);
    let assert = gpt2().arg("diff").args([&ours, &port]).arg("--model").arg(changed.path()).assert().code(1);
    assert.stderr(predicates::str::contains("transformer.h.0.ln_1 is not what the model gives"));
}
