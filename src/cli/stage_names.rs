//! Which stages a name or pattern stands for.

use glob::Pattern;
use gpt2::trace::Place;

/// Whether a pattern matches this name or an end of it: `transformer.h.3.mlp.act`, `h.3.mlp.act`, `mlp.act`, `act`.
pub fn matches(glob: &Pattern, name: &str) -> bool {
    let mut ends = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    glob.matches(name) || ends.any(|end| !end.starts_with(|c: char| c.is_ascii_digit()) && glob.matches(end))
}

/// The only one of these stages that a pattern matches, first among those of block `here`; `None` if it matches none.
///
/// # Errors
/// A message if it matches several.
pub fn only(
    places: impl Iterator<Item = Place>,
    glob: &Pattern,
    here: Option<usize>,
) -> Result<Option<Place>, String> {
    let mut found: Vec<Place> = places.filter(|place| matches(glob, &place.to_string())).collect();
    if here.is_some() && found.iter().any(|place| place.block == here) {
        found.retain(|place| place.block == here);
    }
    match found[..] {
        [] => Ok(None),
        [place] => Ok(Some(place)),
        [a, b, ..] => Err(format!("{glob} matches {a}, {b}, ...; choose one")),
    }
}

/// Splits `STAGE[I,J]` into the name, if there is one, and the index.
///
/// # Errors
/// A message that shows the form.
pub fn indexed(text: &str) -> Result<(Option<String>, Vec<usize>), String> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let parts = text.strip_suffix(']').and_then(|text| text.rsplit_once('['));
    let index = parts.and_then(|(_, index)| index.split(',').map(|i| i.parse().ok()).collect());
    let Some((index, (name, _))) = index.zip(parts) else {
        return Err(format!("{text:?} is not a stage with an index, such as h.2.attn.heads[5,17]"));
    };
    Ok((Some(name.to_string()).filter(|name| !name.is_empty()), index))
}
