//! Which stages of a port are wrong by themselves, and what is the mistake?
//!
//! [`diff`](super::diff()) finds where two traces begin to differ; everything later only inherits the difference. With the
//! model at hand, each stage can be computed again from *the port's own input to it*. What differs then is the stage's own
//! error, so a mistake in block 5 shows although one in block 0 has changed everything before it:
//!
//! ```text
//! for stage in forward order:
//!     expected  = stage(the port's values of what it is computed from)
//!     own       = |expected - the port's value|
//!     inherited = |expected - ours|
//! ```
//!
//! A stage that the port does not have is computed from the stages before it; if the next one is wrong, the mistake lies in this
//! stretch. For each wrong stage, known mistakes are tried in place of the right computation. One that gives the port's
//! numbers, and no other does, is named.

mod attention;
mod compute;
mod diagnosis;
mod layers;
mod layout;
mod mistakes;
mod port;
mod round;

use super::diff::compare;
use crate::error::{Error, Result};
use crate::format::safetensors::SafeTensors;
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::{Place, Stage};
use compute::{Past, Run, Step, Values};
use port::{Port, PortStep, Shape};

/// What is found about a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The stage.
    pub place: Place,
    /// The largest difference from what the stage gives for the port's own input, as a fraction of the stage's largest value;
    /// `None` if the port does not have the stage.
    pub own: Option<f64>,
    /// The largest difference of that from our value.
    pub inherited: Option<f64>,
    /// What follows from both.
    pub verdict: Verdict,
    /// The mistake in a sentence, or what it could be.
    pub mistake: Option<String>,
}

/// A stage's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is computed correctly, from correct input.
    Right,
    /// It is not what the model gives for the port's input.
    Wrong,
    /// It is computed correctly, from wrong input.
    Inherited,
    /// The port does not have it.
    Missing,
}

crate::names::names!(Verdict { Right: "right", Wrong: "wrong", Inherited: "inherited", Missing: "missing" });

/// Examines the stages of a port, in forward order, with the model that it runs. Ids that its file does not have are taken from
/// `ours`, a trace of the same text. `tolerance` is that of [`diff`](super::diff()); a stage's own error, which does not
/// accumulate, must be smaller.
///
/// # Errors
/// [`Error::Input`] if the port's ids are not a text for the model or not those of `ours`, or there is nothing to examine.
pub fn examine(
    model: &Gpt2,
    port: &SafeTensors,
    ours: Option<&SafeTensors>,
    tolerance: f64,
) -> Result<Vec<Finding>> {
    let port = Port::read(model, port, ours)?;
    let mut findings = Vec::new();
    let [mut theirs, mut ours] = [Past::default(), Past::default()];
    for (number, PortStep { ids, given, odd, rounding }) in port.steps.into_iter().enumerate() {
        if ids.len() > 1 {
            (theirs, ours) = Default::default(); // it reads the whole text again
        }
        let theirs_now = Step { model, ids: ids.clone(), past: theirs, given };
        let ours_now = Step { model, ids, past: ours, given: Values::new() };
        theirs_now.check()?;
        let mut right = Run::new(&ours_now);
        for place in Place::all(model.config.n_layer).filter(|place| is_examined(place.stage)) {
            let finding = match odd.iter().find(|odd| odd.place == place) {
                Some(shape) => wrong_shape(shape),
                None => examine_stage(&theirs_now, &mut right, place, tolerance, rounding),
            };
            findings.push(Finding { place: place.at(number), ..finding });
        }
        (theirs, ours) = (Run::new(&theirs_now).past_after(), right.past_after());
    }
    if findings.iter().all(|finding| finding.verdict == Verdict::Missing) {
        return Err(Error::input(
            "the port's file has no stage of this model; gpt2 trace --list shows their names",
        ));
    }
    Ok(findings)
}

/// Whether a stage is one of the forward pass, which the model computes from ids.
fn is_examined(stage: Stage) -> bool {
    !matches!(stage, Stage::InputIds | Stage::Probs | Stage::NextId)
}

/// One stage of a port's step. `right` computes our values; `rounding` is that of the port's number types.
fn examine_stage(
    step: &Step<'_>,
    right: &mut Run<'_, '_>,
    place: Place,
    tolerance: f64,
    rounding: f64,
) -> Finding {
    let Some(value) = step.given.get(&place) else {
        return Finding { place, own: None, inherited: None, verdict: Verdict::Missing, mistake: None };
    };
    let mut run = Run::without(step, place);
    let expected = run.value(place);
    let inherited = distance(place, &expected, &right.value(place));
    let own = distance(place, &last_rows(&expected, value.rows()), value);
    let limit = limit(&run.computed(), tolerance);
    let verdict = if own > limit.max(rounding) {
        Verdict::Wrong
    } else if inherited > tolerance {
        Verdict::Inherited
    } else {
        Verdict::Right
    };
    let mistake = (verdict == Verdict::Wrong)
        .then(|| diagnosis::name(step, place, value, own, &run.computed(), limit))
        .flatten();
    Finding { place, own: Some(own), inherited: Some(inherited), verdict, mistake }
}

/// The largest error that rounding explains where these stages are computed one after the other, as a fraction of the last one's
/// largest value. A sum of two numbers is rounded once, a product of many often; the next block makes it larger.
fn limit(stages: &[Place], tolerance: f64) -> f64 {
    let share = |stage| match stage {
        Stage::Wte | Stage::Wpe | Stage::Drop | Stage::AttnResidual | Stage::Block => 3e-3,
        Stage::Ln1 | Stage::Ln2 | Stage::LnF | Stage::MlpAct => 0.02,
        _ => 0.1,
    };
    let largest = stages.iter().map(|place| share(place.stage)).fold(0.0, f64::max);
    let blocks = stages.iter().filter(|place| place.stage == Stage::AttnCAttn).count().max(1);
    tolerance * (largest * blocks as f64).min(1.0)
}

/// A stage whose shape does not fit.
fn wrong_shape(shape: &Shape) -> Finding {
    let Shape { place, found, expected } = shape;
    let mistake = Some(format!("its shape is {found:?}, and should be {expected:?}"));
    Finding { place: *place, own: Some(f64::INFINITY), inherited: None, verdict: Verdict::Wrong, mistake }
}

/// The last rows: a port may give the logits of the last position alone.
fn last_rows(x: &Matrix, n: usize) -> Matrix {
    x.select(&(x.rows() - n..x.rows()).collect::<Vec<_>>())
}

/// The largest difference of two values of a stage, as a fraction of the largest in either.
fn distance(place: Place, a: &Matrix, b: &Matrix) -> f64 {
    let seen = |x: &f32| compare::masked(Some(place.stage), f64::from(*x));
    let (mut largest, mut most) = (0f64, 0f64);
    for (a, b) in a.data().iter().zip(b.data()).map(|(a, b)| (seen(a), seen(b))) {
        largest = [a, b].into_iter().map(f64::abs).filter(|x| x.is_finite()).fold(largest, f64::max);
        most = most.max(compare::distance(a, b));
    }
    if most == 0.0 { 0.0 } else { most / largest }
}

#[cfg(test)]
mod tests;
