use super::*;
use crate::activation::Activation;
use crate::checkpoint::bundled;
use crate::format::Bytes;
use crate::format::safetensors::Tensor;
use crate::inspect::diff::TOLERANCE;
use crate::inspect::how::tests::model;
use crate::math;
use crate::tensor::Dtype;
use crate::trace::{Recorder, Trace};

const IDS: [u32; 7] = [7454, 2402, 257, 640, 612, 373, 257];

/// A port: our model, where some stages are replaced by what `change` makes of what was recorded so far.
struct Planted<F> {
    recorder: Recorder,
    block: Option<usize>,
    change: F,
}

impl<F: FnMut(Place, &Recorder, &mut [f32]) + Send> Trace for Planted<F> {
    fn wants(&self, _: Stage) -> bool {
        true
    }
    fn enter_block(&mut self, i: Option<usize>) {
        self.block = i;
        self.recorder.enter_block(i);
    }
    fn record(&mut self, stage: Stage, shape: &[usize], values: &mut [f32]) {
        (self.change)(Place::new(stage, self.block), &self.recorder, values);
        self.recorder.record(stage, shape, values);
    }
    fn record_ids(&mut self, stage: Stage, ids: &[u32]) {
        self.recorder.record_ids(stage, ids);
    }
}

/// The stages of a recorder as a file.
fn file(recorder: &Recorder, prefix: &str) -> SafeTensors {
    let mut file = SafeTensors::default();
    for stage in &recorder.stages {
        let (dtype, bytes): (&str, Vec<u8>) = if stage.stage.is_ids() {
            ("I32", stage.ids.iter().flat_map(|id| id.to_le_bytes()).collect())
        } else {
            ("F32", bytemuck::cast_slice(&stage.values).to_vec())
        };
        let shape = [&[1], &stage.shape[..]].concat(); // with a batch
        let tensor = Tensor { dtype: dtype.into(), shape, bytes: Bytes::aligned_copy(&bytes) };
        file.tensors.insert(format!("{prefix}{}", stage.name()), tensor);
    }
    file
}

fn port(model: &Gpt2, ids: &[u32], change: impl FnMut(Place, &Recorder, &mut [f32]) + Send) -> SafeTensors {
    let mut trace = Planted { recorder: Recorder::new(), block: None, change };
    model.forward(ids, &mut model.new_cache(), &mut trace);
    file(&trace.recorder, "")
}

/// The wrong stages with their mistakes.
fn wrong(findings: &[Finding]) -> Vec<(String, String)> {
    let wrong = findings.iter().filter(|f| f.verdict == Verdict::Wrong);
    wrong.map(|f| (f.place.to_string(), f.mistake.clone().unwrap_or_default())).collect()
}

#[test]
fn a_sound_port_passes() {
    let lm = bundled();
    let findings = examine(&lm.model, &port(&lm.model, &IDS, |_, _, _| ()), None, TOLERANCE).expect("stages");
    assert_eq!(findings.len(), 3 + 6 * 12 + 2);
    assert!(findings.iter().all(|f| f.verdict == Verdict::Right), "{:?}", wrong(&findings));
    assert!(findings.iter().all(|f| f.own == Some(0.0)), "our own bits: {findings:?}");
}

#[test]
fn two_mistakes_are_named_although_one_changes_the_input_of_the_other() {
    let lm = bundled();
    let last = Place::new(Stage::MlpAct, Some(4));
    let two = port(&lm.model, &IDS, |place, before, values| {
        if place == Place::new(Stage::Block, Some(1)) {
            // the residual connection from ln_2
            let [norm, mlp] =
                ["ln_2", "mlp.c_proj"].map(|name| before.get(&format!("h.1.{name}")).expect("a stage"));
            for (i, x) in values.iter_mut().enumerate() {
                *x = norm.values[i] + mlp.values[i];
            }
        }
        if place == last {
            let x = &before.get("h.4.mlp.c_fc").expect("a stage").values;
            for (y, x) in values.iter_mut().zip(x) {
                *y = x / (1.0 + math::exp(-1.702 * x));
            }
        }
    });
    let findings = examine(&lm.model, &two, None, TOLERANCE).expect("stages");
    let wrong = wrong(&findings);
    let names: Vec<&str> = wrong.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["transformer.h.1", "transformer.h.4.mlp.act"]);
    assert!(wrong[0].1.starts_with("a residual connection from the layer norm's result"), "{wrong:?}");
    assert!(wrong[1].1.starts_with("quick_gelu instead of gelu_new: equal within"), "{wrong:?}");
    let inherited = findings.iter().filter(|f| f.verdict == Verdict::Inherited).count();
    assert!(inherited > 30, "{inherited}");
}

#[test]
fn a_mistake_where_stages_are_missing() {
    let lm = bundled();
    let mut sparse = port(&lm.model, &IDS, |place, before, values| {
        if place.stage == Stage::MlpAct {
            let block = place.block.expect("a block");
            let x = &before.get(&format!("h.{block}.mlp.c_fc")).expect("a stage").values;
            let erf = Activation::GeluErf.forward(Matrix::from_vec(1, x.len(), x.clone()));
            values.copy_from_slice(erf.data());
        }
    });
    let is_block = |name: &str| Place::parse(name).is_some_and(|place| place.stage == Stage::Block);
    sparse.tensors.retain(|name, _| is_block(name) || name == "input_ids");
    let findings = examine(&lm.model, &sparse, None, TOLERANCE).expect("stages");
    let wrong = wrong(&findings);
    assert_eq!(wrong.len(), 6, "{wrong:?}");
    let words = "gelu instead of gelu_new in transformer.h.{i}.mlp.act: equal within";
    assert!(wrong.iter().all(|(_, mistake)| mistake.starts_with(words)), "{wrong:?}");
    // only the logits are there
    sparse = port(&lm.model, &IDS, |place, before, values| {
        if place.stage == Stage::LnF {
            values.copy_from_slice(&before.get("h.5").expect("a stage").values);
        }
    });
    sparse.tensors.retain(|name, _| ["lm_head", "input_ids"].contains(&&**name));
    let findings = examine(&lm.model, &sparse, None, TOLERANCE).expect("stages");
    let last = findings.last().expect("the logits");
    assert_eq!(last.verdict, Verdict::Wrong);
    let mistake = last.mistake.as_ref().expect("a mistake");
    assert!(mistake.contains("no layer norm in transformer.ln_f"), "{mistake}");
}

/// Step 1 reads one token through the cache; its position begins at 0 again.
#[test]
fn steps_of_a_generation() {
    let lm = bundled();
    let mut cache = lm.model.new_cache();
    let mut steps = SafeTensors::default();
    for (step, ids) in [&IDS[..4], &IDS[4..5], &IDS[5..6]].into_iter().enumerate() {
        let change = |place: Place, _: &Recorder, values: &mut [f32]| {
            if place.stage == Stage::Wpe && step == 1 {
                lm.model.wpe.read_row(0, values);
            }
        };
        let mut trace = Planted { recorder: Recorder::new(), block: None, change };
        lm.model.forward(ids, &mut cache, &mut trace);
        let prefix = if step == 0 { String::new() } else { format!("step.{step}.") };
        steps.tensors.extend(file(&trace.recorder, &prefix).tensors);
    }
    let findings = examine(&lm.model, &steps, None, TOLERANCE).expect("stages");
    let wrong = wrong(&findings);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].0, "step.1.transformer.wpe");
    assert!(wrong[0].1.starts_with("positions that begin at 0 in each step"), "{wrong:?}");
}

/// A file of ids alone: `input_ids`, then one id for each step.
fn ids_alone(steps: &[&[u32]]) -> SafeTensors {
    let mut file = SafeTensors::default();
    for (step, ids) in steps.iter().enumerate() {
        let bytes = Bytes::aligned_copy(bytemuck::cast_slice(ids));
        let tensor = Tensor { dtype: "U32".into(), shape: vec![ids.len()], bytes };
        file.tensors.insert(Place::new(Stage::InputIds, None).at(step).to_string(), tensor);
    }
    file
}

#[test]
fn ids_are_those_of_our_trace_and_fit_the_model() {
    let model = model(
        r#"{"n_layer": 1, "n_head": 1, "n_embd": 8, "n_positions": 4, "vocab_size": 61}"#,
        Dtype::F32,
        Dtype::F32,
    );
    for (port, ours, part) in [
        (ids_alone(&[&[1, 2, 3]]), ids_alone(&[&[1, 2, 4]]), "input_ids are not those of our trace"),
        // each goes its own way after the prompt
        (ids_alone(&[&[1, 2, 3], &[5]]), ids_alone(&[&[1, 2, 3], &[6]]), "no stage of this model"),
        (ids_alone(&[&[1, 2, 3], &[5], &[6]]), SafeTensors::default(), "4 earlier and 1 new ids"),
        (ids_alone(&[&[1, 2, 3], &[61]]), SafeTensors::default(), "61"),
        (SafeTensors::default(), ids_alone(&[&[1, 2, 3]]), "no stage"),
    ] {
        let error = examine(&model, &port, Some(&ours), TOLERANCE).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn rounded_values_and_other_layouts() {
    let lm = bundled();
    let round = |place: Place, _: &Recorder, values: &mut [f32]| {
        if place == Place::new(Stage::MlpCProj, Some(2)) {
            values.iter_mut().for_each(|x| *x = round::Round::Bf16.apply()(*x));
        }
    };
    let rounded = port(&lm.model, &IDS, round);
    let found = wrong(&examine(&lm.model, &rounded, None, TOLERANCE).expect("stages"));
    assert_eq!(found, [("transformer.h.2.mlp.c_proj".to_string(), "values rounded to bf16".to_string())]);

    // a file of f16; the logits of the last position alone; heads as [T, H, D]
    let mut other = port(&lm.model, &IDS, |_, _, _| ());
    for (name, tensor) in &mut other.tensors {
        let numbers: Vec<f32> = bytemuck::cast_slice(&tensor.bytes).to_vec();
        if name == "lm_head" {
            let last = &numbers[6 * 50_257..];
            *tensor = Tensor {
                shape: vec![50_257],
                bytes: Bytes::aligned_copy(bytemuck::cast_slice(last)),
                ..tensor.clone()
            };
        } else if name.ends_with("heads") {
            tensor.shape = vec![1, 7, 4, 32];
        } else if name.ends_with("ln_2") {
            let halves: Vec<u16> = numbers.iter().map(|x| crate::simd::round_f16(*x)).collect();
            let bytes = Bytes::aligned_copy(bytemuck::cast_slice(&halves));
            *tensor = Tensor { dtype: "F16".into(), bytes, ..tensor.clone() };
        }
    }
    let findings = examine(&lm.model, &other, None, TOLERANCE).expect("stages");
    assert!(wrong(&findings).is_empty(), "{:?}", wrong(&findings));

    other.tensors.get_mut("transformer.h.0.ln_1").expect("a stage").shape = vec![128, 7];
    let found = wrong(&examine(&lm.model, &other, None, TOLERANCE).expect("stages"));
    assert_eq!(found[0].1, "its shape is [128, 7], and should be [7, 128]");
}

/// The same stages under the names of other tools.
#[test]
fn names_of_other_tools() {
    let lm = bundled();
    let port = port(&lm.model, &IDS, |place, _, values| {
        if place == Place::new(Stage::MlpAct, Some(3)) {
            values.iter_mut().for_each(|x| *x = x.max(0.0));
        }
    });
    let renamed = |name: &str| match name {
        "input_ids" => Some("input_ids".to_string()),
        "transformer.drop" => Some("hidden_states.0".into()),
        "transformer.ln_f" => Some("hidden_states.6".into()),
        "transformer.h.3.mlp.c_fc" => Some("blocks.3.mlp.hook_pre".into()),
        "transformer.h.3.mlp.act" => Some("blocks.3.mlp.hook_post".into()),
        "transformer.h.3.attn.heads" => Some("blocks.3.attn.hook_z".into()),
        "transformer.h.2" => Some("blocks.2.hook_resid_post".into()),
        _ => None,
    };
    let tensors = port.tensors.iter().filter_map(|(name, tensor)| Some((renamed(name)?, tensor.clone())));
    let file = SafeTensors { tensors: tensors.collect(), ..SafeTensors::default() };
    let findings = examine(&lm.model, &file, None, TOLERANCE).expect("stages");
    let wrong = wrong(&findings);
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert_eq!(wrong[0].0, "transformer.h.3.mlp.act");
    assert_eq!(findings.iter().filter(|f| f.own.is_some()).count(), 6);
}

/// Every mistake, where it is made, is the only one that is named, or one of few that give the same numbers.
#[test]
fn no_mistake_has_the_name_of_another() {
    let model = model(
        r#"{"n_layer": 2, "n_head": 3, "n_embd": 24, "n_positions": 32, "vocab_size": 61, "tie_word_embeddings": false}"#,
        Dtype::F32,
        Dtype::F32,
    );
    let ids = [3, 60, 5, 5, 17, 0, 44];
    let sound = Step { model: &model, ids: ids.to_vec(), past: Vec::new(), given: Default::default() };
    let mut tried = 0;
    for place in Place::all(2) {
        for mistake in mistakes::Mistake::candidates(place.stage, &model, 0) {
            let given = given_before(&sound, place);
            let step = Step { model: &model, ids: ids.to_vec(), past: Vec::new(), given };
            let value = Run::with(&step, place, place.stage, mistake).value(place);
            let own = distance(place, &Run::without(&step, place).value(place), &value);
            let limit = limit(&[place], TOLERANCE);
            if own <= limit {
                continue; // too small to be seen
            }
            let step = Step {
                model: &model,
                ids: ids.to_vec(),
                past: Vec::new(),
                given: given_before(&sound, place),
            };
            let named = diagnosis::name(&step, place, &value, own, &[place], limit).unwrap_or_default();
            let words = mistake.words(place.stage, &model);
            assert!(named.contains(&words), "{place}: {words}, not {named}");
            tried += 1;
        }
    }
    assert!(tried > 80, "{tried}");
}

/// All stages before `place`.
fn given_before(sound: &Step<'_>, place: Place) -> compute::Values {
    let mut run = Run::new(sound);
    Place::all(2)
        .filter(|other| *other < place && other.stage != Stage::InputIds)
        .map(|other| (other, run.value(other)))
        .collect()
}
