//! Which stages a name or pattern stands for.

use glob::Pattern;

/// Whether a pattern matches this name or an end of it: `transformer.h.3.mlp.act`, `h.3.mlp.act`, `mlp.act`, `act`.
pub fn matches(glob: &Pattern, name: &str) -> bool {
    let mut ends = name.match_indices('.').map(|(dot, _)| &name[dot + 1..]);
    glob.matches(name) || ends.any(|end| !end.starts_with(|c: char| c.is_ascii_digit()) && glob.matches(end))
}
