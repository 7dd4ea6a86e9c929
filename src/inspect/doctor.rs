//! Which stages of a port are wrong by themselves, and what is the mistake?
//!
//! [`diff`](super::diff()) finds where two traces begin to differ; everything later only inherits the difference. With the model at
//! hand, each stage can be computed again from *the port's own input to it*. What differs then is the stage's own error, so a
//! mistake in block 5 shows although one in block 0 has changed everything before it:
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

mod compute;
mod mistakes;
mod port;

use crate::error::{Error, Result};
use crate::format::safetensors::SafeTensors;
use crate::model::Gpt2;
use crate::tensor::Matrix;
use crate::trace::{Place, Stage};
use compute::{Run, Step};
use port::{Port, Shape};

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
/// `ours`, a trace of the same text. `tolerance` is that of
/// [`diff`](super::diff()); a stage's own error, which does not accumulate, must be
/// smaller.
///
/// # Errors
/// [`Error::Input`] if the port's ids are not a text for the model, or there is nothing to examine.
pub fn examine(
    model: &Gpt2,
    port: &SafeTensors,
    ours: Option<&SafeTensors>,
    tolerance: f64,
) -> Result<Vec<Finding>> {
    let port = Port::read(model, port, ours)?;
    let mut findings = Vec::new();
    let [mut theirs, mut ours] = [compute::Past::default(), compute::Past::default()];
    for (number, step) in port.steps.into_iter().enumerate() {
        let at = |place: Place| place.at(number);
        let restarts = step.ids.len() > 1 && number > 0; // it reads the whole text again
        if restarts {
            (theirs, ours) = Default::default();
        }
        compute::check(model, &step.ids, theirs.len())?;
        let odd = step.odd;
        let step_of = |past, given| Step { model, ids: step.ids.clone(), past, given };
        let (port, right) = (step_of(theirs, step.given), step_of(ours, Default::default()));
        let mut whole = Run::new(&right);
        for place in Place::all(model.config.n_layer) {
            if matches!(place.stage, Stage::InputIds | Stage::Probs | Stage::NextId) {
                continue;
            }
            if let Some(shape) = odd.iter().find(|odd| odd.place == place) {
                findings.push(Finding { place: at(place), ..wrong_shape(shape) });
                continue;
            }
            let Some(value) = port.given.get(&place) else {
                let (own, inherited, verdict) = (None, None, Verdict::Missing);
                findings.push(Finding { place: at(place), own, inherited, verdict, mistake: None });
                continue;
            };
            let mut run = Run::without(&port, place);
            let expected = run.value(place);
            let inherited = distance(place, &expected, &whole.value(place));
            let rows: Vec<usize> = (expected.rows() - value.rows()..expected.rows()).collect(); // perhaps the last alone
            let own = distance(place, &expected.select(&rows), value);
            let limit = limit(&run.computed(), tolerance);
            let verdict = match () {
                () if own > limit.max(step.rounding) => Verdict::Wrong,
                () if inherited > tolerance => Verdict::Inherited,
                () => Verdict::Right,
            };
            let mistake = (verdict == Verdict::Wrong)
                .then(|| mistakes::name(&port, place, value, own, &run.computed(), limit))
                .flatten();
            findings.push(Finding {
                place: at(place),
                own: Some(own),
                inherited: Some(inherited),
                verdict,
                mistake,
            });
        }
        (theirs, ours) = (Run::new(&port).past_after(), whole.past_after());
    }
    if findings.iter().all(|finding| finding.verdict == Verdict::Missing) {
        return Err(Error::input(
            "the port's file has no stage of this model; gpt2 trace --list shows their names",
        ));
    }
    Ok(findings)
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

/// The largest difference of two values of a stage, as a fraction of the largest in either.
fn distance(place: Place, a: &Matrix, b: &Matrix) -> f64 {
    let scores = place.stage == Stage::AttnScores;
    // many programs mask with a large finite number
    let seen = |x: &f32| if scores && *x <= -1e4 { f64::NEG_INFINITY } else { f64::from(*x) };
    let (mut largest, mut most) = (0f64, 0f64);
    for (a, b) in a.data().iter().zip(b.data()).map(|(a, b)| (seen(a), seen(b))) {
        largest = [a, b].iter().filter(|x| x.is_finite()).fold(largest, |most, x| most.max(x.abs()));
        let off = if a == b || a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() };
        most = if off.is_nan() { f64::INFINITY } else { most.max(off) };
    }
    if most == 0.0 { 0.0 } else { most / largest }
}

#[cfg(test)]
mod tests;
