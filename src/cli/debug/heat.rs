//! Where a head looks, drawn with characters: a row a query, a cell of two columns a key.

use gpt2::sampling::candidates::percent;
use std::fmt::Write;

/// Keys that fit beside the names on a usual terminal, and queries.
const MOST: usize = 40;

/// Weights `[rows, keys]` of one head as lines. The last query sees all keys; names are those of the keys.
///
/// In color the cell's grey is the weight; without, one of four shades. A key that comes after the query is left
/// blank, a weight near 0 is a dot. At the end of a line: the key with the largest weight.
pub fn lines(weights: &[f32], keys: usize, names: &[String], color: bool) -> Vec<String> {
    let rows = weights.len() / keys.max(1);
    let (first_key, first_row) = (keys.saturating_sub(MOST), rows.saturating_sub(MOST));
    let past = keys - rows; // keys that were there before the first of these queries
    let mut lines = Vec::new();
    if first_key > 0 || first_row > 0 {
        lines.push(format!(
            "the last {} queries of {rows}, the last {} keys of {keys}",
            rows - first_row,
            keys - first_key
        ));
    }
    let columns: String = (first_key..keys).map(|key| format!("{:>2}", key % 100)).collect();
    lines.push(format!("{:>4} {:<14}{columns}", "", ""));
    for row in first_row..rows {
        let weights = &weights[row * keys..][..keys];
        let position = past + row;
        let mut line = format!("{position:>4} {:<14}", shorten(&names[position], 13));
        for (key, weight) in weights.iter().enumerate().skip(first_key) {
            let _ = write!(line, "{}", cell(*weight, key > position, color));
        }
        let most = (0..keys).max_by(|a, b| weights[*a].total_cmp(&weights[*b]).then(b.cmp(a))).unwrap_or(0);
        let _ =
            write!(line, "  most: {most} {} {}", shorten(&names[most], 20), percent(weights[most].into()));
        lines.push(line);
    }
    lines
}

/// Two columns.
fn cell(weight: f32, after: bool, color: bool) -> String {
    if after {
        return "  ".into();
    }
    if color {
        let grey = 232 + (weight.clamp(0.0, 1.0) * 23.0).round() as u8; // 232 to 255 are greys from black to white
        return format!("\u{1b}[48;5;{grey}m  \u{1b}[0m");
    }
    let shade = match weight {
        w if w < 0.02 => " \u{b7}",
        w if w < 0.2 => "\u{2591}\u{2591}",
        w if w < 0.45 => "\u{2592}\u{2592}",
        w if w < 0.7 => "\u{2593}\u{2593}",
        w if w.is_nan() => " ?",
        _ => "\u{2588}\u{2588}",
    };
    shade.into()
}

/// The beginning of a long text.
pub fn shorten(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("\"{i}\"")).collect()
    }

    #[test]
    fn shades_and_greys() {
        let weights = [1.0, 0.0, 0.3, 0.7];
        let plain = lines(&weights, 2, &names(2), false);
        assert_eq!(plain[0].trim_start(), "0 1");
        assert!(plain[1].contains("\"0\"           \u{2588}\u{2588}    most: 0 \"0\" 100.0%"), "{plain:?}");
        assert!(plain[2].contains("\u{2592}\u{2592}\u{2588}\u{2588}  most: 1"), "{plain:?}");
        let colored = lines(&weights, 2, &names(2), true).join("\n");
        assert!(colored.contains("\u{1b}[48;5;255m  \u{1b}[0m") && !colored.contains('\u{2588}'));
    }

    #[test]
    fn one_new_query_and_many_keys() {
        let mut weights = vec![0.0; 100];
        weights[3] = f32::NAN;
        weights[99] = 0.5;
        let lines = lines(&weights, 100, &names(100), false);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("the last 1 queries of 1, the last 40 keys of 100"), "{}", lines[0]);
        assert!(lines[2].starts_with("  99 \"99\""), "{}", lines[2]);
        assert_eq!(shorten("\u{1f600}\u{1f600}\u{1f600}", 2), "\u{1f600}\u{2026}");
    }
}
