use super::*;
use crate::format::Bytes;
use crate::trace::Stage;

fn tensor(dtype: &str, shape: &[usize], bytes: &[u8]) -> Tensor {
    Tensor { dtype: dtype.into(), shape: shape.to_vec(), bytes: Bytes::aligned_copy(bytes) }
}

fn f32s(shape: &[usize], values: &[f32]) -> Tensor {
    tensor("F32", shape, bytemuck::cast_slice(values))
}

fn file(tensors: &[(&str, Tensor)]) -> SafeTensors {
    let tensors = tensors.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    SafeTensors { tensors, ..SafeTensors::default() }
}

/// The outcome for one stage.
fn outcome(name: &str, a: Tensor, b: Tensor) -> Difference {
    diff(&file(&[(name, a)]), &file(&[(name, b)]), TOLERANCE).expect("a stage").stages.remove(0)
}

fn compared(difference: &Difference) -> &Compared {
    match &difference.outcome {
        Outcome::Values(compared) => compared,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_difference_is_a_share_of_the_largest_value() {
    let a = f32s(&[2, 3], &[1.0, -100.0, 2.0, 0.0, 5.0, 6.0]);
    let mut values = [1.0, -100.0, 2.0, 0.0, 5.005, 6.0];
    let near = outcome("lm_head", a.clone(), f32s(&[2, 3], &values));
    assert!(!near.is_beyond(), "0.005 of 100 is 5e-5");
    let found = compared(&near);
    assert_eq!((found.values, found.beyond, &*found.index), (6, 0, &[1, 1][..]));
    assert!((found.max_abs - 0.005).abs() < 1e-6 && (found.max_rel - 5e-5).abs() < 1e-8);
    assert_eq!((found.a, found.b), (5.0, f64::from(5.005f32)));
    values[4] = 5.02;
    values[5] = 6.02;
    let far = outcome("lm_head", a, f32s(&[2, 3], &values));
    assert!(far.is_beyond());
    assert_eq!(compared(&far).beyond, 2);
}

#[test]
fn infinities_and_nan() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    for (a, b, beyond) in [
        (-inf, -inf, false),
        (inf, inf, false),
        (nan, -nan, false),
        (inf, -inf, true),
        (nan, 1.0, true),
        (1.0, nan, true),
        (-inf, -1e5, true),
    ] {
        let found = outcome("lm_head", f32s(&[2], &[1.0, a]), f32s(&[2], &[1.0, b]));
        assert_eq!(found.is_beyond(), beyond, "{a} {b}");
        assert_eq!(compared(&found).nan, [a, b].map(|x| usize::from(x.is_nan())));
        assert_eq!(compared(&found).max_abs, if beyond { f64::INFINITY } else { 0.0 });
        let _ = found.to_string();
    }
}

#[test]
fn any_large_negative_score_is_a_mask() {
    for mask in [f32::NEG_INFINITY, f32::MIN, -1e10, -1e4] {
        let a = f32s(&[1, 2], &[1.0, f32::NEG_INFINITY]);
        let name = "h.0.attn.scores";
        assert!(!outcome(name, a.clone(), f32s(&[1, 2], &[1.0, mask])).is_beyond(), "{mask}");
        let wrong = f32s(&[1, 2], &[1.01, mask]);
        assert!(outcome(name, wrong, a).is_beyond(), "{mask} does not hide the other values");
    }
    let unmasked = f32s(&[1, 2], &[1.0, -3.0]);
    assert!(outcome("h.0.attn.scores", unmasked, f32s(&[1, 2], &[1.0, -1e4])).is_beyond());
}

#[test]
fn types_are_compared_by_value_and_ids_exactly() {
    let halves = tensor("F16", &[2], bytemuck::cast_slice(&[0x3c00u16, 0xc000])); // 1, -2
    assert_eq!(compared(&outcome("lm_head", f32s(&[2], &[1.0, -2.0]), halves)).max_abs, 0.0);
    let ids = |ids: &[i64]| tensor("I64", &[ids.len()], bytemuck::cast_slice(ids));
    let small = tensor("I32", &[2], bytemuck::cast_slice(&[50_000i32, 2]));
    assert!(!outcome("input_ids", ids(&[50_000, 2]), small).is_beyond());
    assert!(
        outcome("input_ids", ids(&[50_000, 2]), ids(&[50_001, 2])).is_beyond(),
        "the tolerance does not apply to ids"
    );
    let truth = tensor("BOOL", &[1], &[1]);
    let found = outcome("x", truth.clone(), truth);
    assert!(found.is_beyond() && found.to_string().contains("BOOL"));
}

#[test]
fn shapes() {
    let batched = outcome("lm_head", f32s(&[1, 2, 3], &[1.0; 6]), f32s(&[2, 3], &[1.0; 6]));
    assert!(!batched.is_beyond());
    let turned = outcome("lm_head", f32s(&[3, 2], &[1.0; 6]), f32s(&[2, 3], &[1.0; 6]));
    assert_eq!(turned.outcome, Outcome::Shapes);
    assert!(turned.is_beyond() && turned.to_string().contains("[2, 3] in B"));
    assert!(!outcome("lm_head", f32s(&[0, 2], &[]), f32s(&[0, 2], &[])).is_beyond());
    assert!(!outcome("x", f32s(&[], &[1.0]), f32s(&[], &[1.0])).is_beyond());
}

#[test]
fn stages_are_walked_in_forward_order() {
    let one = || f32s(&[1], &[1.0]);
    let a = file(&[
        ("lm_head", one()),
        ("transformer.h.10.ln_1", one()),
        ("transformer.h.2", one()),
        ("transformer.h.2.ln_1", one()),
        ("transformer.ln_f", one()),
        ("lens.0", one()),
        ("transformer.wte", one()),
    ]);
    let b = file(&[
        ("h.2", f32s(&[1], &[2.0])),
        ("lm_head", f32s(&[1], &[2.0])),
        ("probs", one()),
        ("wte", one()),
    ]);
    let found = diff(&a, &b, TOLERANCE).expect("stages in common");
    let names: Vec<&str> = found.stages.iter().map(|stage| &*stage.name).collect();
    let expected = [
        "transformer.wte",
        "transformer.h.2.ln_1",
        "transformer.h.2",
        "transformer.h.10.ln_1",
        "transformer.ln_f",
        "lm_head",
        "probs",
        "lens.0",
    ];
    assert_eq!(names, expected);
    let first = found.first().expect("a difference");
    assert_eq!(first.place, Some(Place::new(Stage::Block, Some(2))));
    let text = found.to_string();
    assert!(text.contains("only in A") && text.contains("only in B"), "{text}");
    assert!(
        text.contains(
            "the first stage beyond 1e-4 is transformer.h.2 = x = x + mlp, computed by src/block.rs"
        ),
        "{text}"
    );
    let same = diff(&a, &a, 0.0).expect("stages in common");
    assert!(same.first().is_none() && same.to_string().contains("all values are equal"));
}

#[test]
fn a_small_mistake_shows_as_a_jump() {
    let values = |off: f32| f32s(&[2], &[1.0, 0.5 + off]);
    let stages = ["h.0.mlp.c_fc", "h.0.mlp.act", "h.0.mlp.c_proj", "h.0"];
    let with = |off: [f32; 4]| file(&Vec::from_iter(stages.into_iter().zip(off.map(values))));
    let found = diff(&with([0.0; 4]), &with([3e-7, 5e-5, 4e-4, 4e-3]), TOLERANCE).expect("stages");
    assert_eq!(found.first().map(|stage| &*stage.name), Some("transformer.h.0.mlp.c_proj"));
    assert_eq!(found.jump().map(|jump| &*jump.0.name), Some("transformer.h.0.mlp.act"));
    assert!(
        found
            .verdict()
            .contains("in transformer.h.0.mlp.act = gelu(c_fc), computed by src/mlp.rs: look there")
    );
    for (off, jumps) in [([3e-7, 3e-6, 1e-5, 5e-5], false), ([0.0, 0.0, 0.0, 5e-5], true), ([1e-2; 4], true)]
    {
        let found = diff(&with([0.0; 4]), &with(off), TOLERANCE).expect("stages");
        assert_eq!(found.jump().is_some(), jumps, "{off:?}");
        assert_eq!(found.verdict().contains("jumps"), off[3] == 5e-5 && jumps, "{off:?}");
    }
    assert!(diff(&with([0.0; 4]), &with([1e-3; 4]), 0.0).expect("stages").jump().is_none());
}

#[test]
fn nothing_to_compare() {
    let one = || f32s(&[1], &[1.0]);
    let error = diff(&file(&[("a", one())]), &file(&[("b", one())]), 0.0).expect_err("nothing in common");
    assert_eq!(
        error,
        "no stage in common: the first file has \"a\", the second \"b\"; rename both to the names of gpt2 trace --list"
    );
    assert!(diff(&file(&[]), &file(&[]), 0.0).is_err());
    let (plain, wrapped) = (file(&[("wte", one()), ("x", one())]), file(&[("model.transformer.wte", one())]));
    let error = diff(&plain, &wrapped, 0.0).expect_err("nothing in common");
    assert!(error.ends_with("remove \"model.\" from the beginning of the second file's names"), "{error}");
    let error = diff(&wrapped, &plain, 0.0).expect_err("nothing in common");
    assert!(error.ends_with("remove \"model.\" from the beginning of the first file's names"), "{error}");
    let many = |letter: &str| {
        let names: Vec<String> = (0..20_000).map(|i| format!("{letter}.{i}.weight")).collect();
        file(&names.iter().map(|name| (&**name, one())).collect::<Vec<_>>())
    };
    assert!(diff(&many("a"), &many("b"), 0.0).is_err(), "in linear time");
    let twice = file(&[("wte", one()), ("transformer.wte", one())]);
    assert!(diff(&twice, &twice, 0.0).expect_err("twice").contains("twice"));
}

#[test]
fn missing_stages_are_listed() {
    let one = || f32s(&[1], &[1.0]);
    let names = ["h.0.attn.scores", "h.1.attn.scores", "h.2.attn.scores", "ln_f", "lm_head", "mine"];
    let a = file(&names.map(|name| (name, one())));
    let b = file(&[("lm_head", one()), ("step.1.lm_head", one()), ("step.2.lm_head", one())]);
    let text = diff(&a, &b, TOLERANCE).expect("a stage").verdict();
    assert!(text.starts_with("1 stage compared, none beyond"), "{text}");
    let lacks = "B lacks 5 stages that A has: transformer.h.{i}.attn.scores, transformer.ln_f, mine\n";
    assert!(text.contains(lacks), "{text}");
    assert!(text.contains("A lacks 2 stages that B has: step.{n}.lm_head\n"), "{text}");
    let same = diff(&a, &a, TOLERANCE).expect("a stage").verdict();
    assert!(!same.contains("lacks"), "{same}");
    let most = file(&names.map(|name| (name, one())).into_iter().skip(1).collect::<Vec<_>>());
    let text = diff(&most, &a, TOLERANCE).expect("a stage").verdict();
    assert!(text.contains("A lacks transformer.h.{i}.attn.scores, which B has\n"), "{text}");
}

/// The mistake may be in a stage that only one file has, after the last stage that agrees.
#[test]
fn a_mistake_may_be_where_nothing_is_compared() {
    let tensor = |x: f32| f32s(&[1], &[x]);
    let a = ["input_ids", "wte", "h.0.ln_1", "h.0.attn.c_attn", "h.0.mlp.c_fc", "h.0.mlp.act"];
    let verdict = |names: &[&str], off: f32| {
        let b: Vec<_> = names
            .iter()
            .map(|name| (*name, tensor(if *name == "h.0.mlp.act" { off } else { 1.0 })))
            .collect();
        diff(&file(&a.map(|name| (name, tensor(1.0)))), &file(&b), TOLERANCE).expect("stages").verdict()
    };
    let text = verdict(&["wte", "h.0.ln_1", "h.0.mlp.act"], 2.0);
    let after = "or in one of the 2 stages after transformer.h.0.ln_1, which agrees, that B lacks: \
                  transformer.h.0.attn.c_attn to transformer.h.0.mlp.c_fc\n";
    assert!(text.contains(after), "{text}");
    let text = verdict(&["h.0.mlp.act"], 2.0);
    assert!(
        text.contains("or in one of the 5 stages that B lacks: input_ids to transformer.h.0.mlp.c_fc"),
        "{text}"
    );
    let text = verdict(&["wte", "h.0.ln_1", "h.0.attn.c_attn", "h.0.mlp.act"], 2.0);
    assert!(
        text.contains("  B lacks transformer.h.0.mlp.c_fc = c_fc(ln_2), computed by src/mlp.rs\n"),
        "{text}"
    );
    for text in [verdict(&a[1..], 2.0), verdict(&["h.0.mlp.act"], 1.0)] {
        assert!(!text.contains("  or in") && !text.contains("  B lacks"), "{text}");
    }
}

/// Two generations are compared step by step.
#[test]
fn steps_are_in_order() {
    let tensor = |x: f32| f32s(&[1], &[x]);
    let names = ["step.10.lm_head", "step.2.ln_f", "lm_head", "step.2.lm_head"];
    let [a, b] =
        [1.0, 2.0].map(|x| file(&names.map(|name| (name, tensor(if name == "lm_head" { 1.0 } else { x })))));
    let found = diff(&a, &b, TOLERANCE).expect("stages");
    let order: Vec<&str> = found.stages.iter().map(|stage| &*stage.name).collect();
    assert_eq!(order, ["lm_head", "step.2.transformer.ln_f", "step.2.lm_head", "step.10.lm_head"]);
    assert_eq!(found.first().map(|stage| &*stage.name), Some("step.2.transformer.ln_f"));
}
