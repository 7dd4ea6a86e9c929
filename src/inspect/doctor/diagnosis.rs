//! Which mistake gives a port's numbers?

use super::compute::{Run, Step};
use super::mistakes::Mistake;
use super::round::Round;
use super::{distance, last_rows};
use crate::tensor::Matrix;
use crate::trace::{Place, Stage, number};

/// The mistake that gives the port's value of a wrong stage, in a sentence. `own` is the stage's own error, `stretch` the stages
/// that were computed for it, because the port does not have them, and itself.
pub fn name(
    step: &Step<'_>,
    place: Place,
    value: &Matrix,
    own: f64,
    stretch: &[Place],
    limit: f64,
) -> Option<String> {
    if let Some(round) = rounded(value, own) {
        return Some(format!("values rounded to {}", round.name()));
    }
    let mut stages: Vec<Stage> = stretch.iter().map(|place| place.stage).collect();
    stages.sort_unstable();
    stages.dedup();
    let tries = stages.into_iter().flat_map(|stage| {
        let candidates = Mistake::candidates(stage, step.model, step.before());
        candidates.into_iter().map(move |mistake| (stage, mistake))
    });
    let mut found: Vec<(f64, String)> = tries
        .map(|(stage, mistake)| {
            let tried = Run::with(step, place, stage, mistake).value(place);
            let words = mistake.words(stage, step.model);
            let at =
                if stage == place.stage { String::new() } else { format!(" in {}", stage.describe().name) };
            (distance(place, &last_rows(&tried, value.rows()), value), words + &at)
        })
        .filter(|(off, _)| *off <= limit.max(1e-6) && *off < own / 4.0)
        .collect();
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    let best = found.first()?.0;
    found.retain(|(off, _)| *off <= (3.0 * best).max(1e-7));
    let mut names: Vec<String> = Vec::new();
    found.into_iter().for_each(|(_, name)| names.extend((!names.contains(&name)).then_some(name)));
    Some(format!("{}: equal within {}", names.join(", or "), number(best)))
}

/// The type to which all values are rounded, if that explains the error.
fn rounded(value: &Matrix, own: f64) -> Option<Round> {
    let numbers = || value.data().iter().filter(|x| x.is_finite());
    [Round::F16, Round::Bf16].into_iter().find(|round| {
        own <= 2.0 * round.unit()
            && numbers().any(|x| *x != 0.0)
            && numbers().all(|x| round.apply()(*x) == *x)
    })
}
