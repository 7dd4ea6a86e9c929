//! A head's attention weights drawn with characters: one line per query, one cell of two columns per key.

use super::super::text::shorten;
use gpt2::sampling::candidates::percent;

/// The most queries, and the most keys, that are drawn.
const MOST: usize = 40;

/// Columns before the cells, for the position and name of the query.
const MARGIN: usize = 19;

/// Draws the weights `[rows, keys]` of one head as lines of at most `width` columns. The last query sees all keys;
/// `names` has one entry per key.
///
/// In color, the grey level of a cell is the weight; without color, one of four shades. Keys after the query are blank,
/// and a weight near 0 is a dot. If there is room, each line ends with the key of the largest weight.
pub fn lines(weights: &[f32], keys: usize, names: &[String], color: bool, width: usize) -> Vec<String> {
    let rows = weights.len() / keys.max(1);
    let fit = (width.saturating_sub(MARGIN) / 2).clamp(1, MOST);
    let (first_key, first_row) = (keys.saturating_sub(fit), rows.saturating_sub(fit));
    let past = keys - rows; // keys before the first of these queries
    let mut lines = Vec::new();
    if first_key > 0 || first_row > 0 {
        let (queries, shown) = (rows - first_row, keys - first_key);
        lines.push(format!("the last {queries} queries of {rows}, the last {shown} keys of {keys}"));
    }
    lines.push(format!("{:MARGIN$}{}", "", scale(first_key, keys)));
    // All lines get the same kind of ending: the longest that fits on every line.
    let most: Vec<(usize, String)> =
        (first_row..rows).map(|row| largest(&weights[row * keys..][..keys])).collect();
    let whole =
        most.iter().map(|(key, share)| format!("  most: {key} {} {share}", shorten(&names[*key], 20)));
    let short = most.iter().map(|(key, share)| format!("  {key} {share}"));
    let room = width.saturating_sub(MARGIN + 2 * (keys - first_key));
    let ends = [whole.collect(), short.collect(), vec![String::new(); rows - first_row]]
        .into_iter()
        .find(|ends: &Vec<String>| ends.iter().all(|end| end.chars().count() <= room));
    for (row, end) in (first_row..rows).zip(ends.unwrap_or_default()) {
        let position = past + row;
        let mut line = format!("{position:>4} {:<14}", shorten(&names[position], 13));
        for (key, weight) in weights[row * keys..][..keys].iter().enumerate().skip(first_key) {
            line += &cell(*weight, key > position, color);
        }
        lines.push(line + &end);
    }
    lines
}

/// The key with the largest weight (the first if several are equal), and the weight as a percentage.
fn largest(weights: &[f32]) -> (usize, String) {
    let most =
        (0..weights.len()).max_by(|a, b| weights[*a].total_cmp(&weights[*b]).then(b.cmp(a))).unwrap_or(0);
    (most, percent(weights[most].into()))
}

/// The key numbers above their cells, right-aligned: every key up to 10 keys, otherwise every fifth.
fn scale(first: usize, keys: usize) -> String {
    let every = if keys <= 10 { 1 } else { 5 };
    let mut line = String::new();
    for key in (first..keys).filter(|key| key % every == 0) {
        let end = 2 * (key - first + 1);
        let (room, number) = (end - line.len(), key.to_string());
        if number.len() <= room {
            line += &format!("{number:>room$}");
        }
    }
    line
}

/// What the cells mean.
pub fn legend(color: bool) -> &'static str {
    if color {
        "black is 0%, white 100%"
    } else {
        "\u{b7} below 2%, \u{2591} 20%, \u{2592} 45%, \u{2593} 70%, \u{2588} above"
    }
}

/// One weight as a cell of two columns.
fn cell(weight: f32, after: bool, color: bool) -> String {
    if after {
        return "  ".into();
    }
    if color {
        let grey = 232 + (weight.clamp(0.0, 1.0) * 23.0).round() as u8; // 232 to 255 are the greys from black to white
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("\"{i}\"")).collect()
    }

    #[test]
    fn shades_and_greys() {
        let weights = [1.0, 0.0, 0.3, 0.7];
        let plain = lines(&weights, 2, &names(2), false, 200);
        assert_eq!(plain[0], format!("{:MARGIN$} 0 1", ""));
        assert!(plain[1].contains("\"0\"           \u{2588}\u{2588}    most: 0 \"0\" 100.0%"), "{plain:?}");
        assert!(plain[2].contains("\u{2592}\u{2592}\u{2588}\u{2588}  most: 1"), "{plain:?}");
        let colored = lines(&weights, 2, &names(2), true, 200).join("\n");
        assert!(colored.contains("\u{1b}[48;5;255m  \u{1b}[0m") && !colored.contains('\u{2588}'));
        assert!(legend(true).contains("black is 0%") && legend(false).contains("\u{2588} above"));
    }

    #[test]
    fn one_new_query_and_many_keys() {
        let mut weights = vec![0.0; 100];
        weights[3] = f32::NAN;
        weights[99] = 0.5;
        let lines = lines(&weights, 100, &names(100), false, 200);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].contains("the last 1 queries of 1, the last 40 keys of 100"), "{}", lines[0]);
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>(),
            ["60", "65", "70", "75", "80", "85", "90", "95"]
        );
        assert!(lines[2].starts_with("  99 \"99\""), "{}", lines[2]);
        assert_eq!(shorten("\u{1f600}\u{1f600}\u{1f600}", 2), "\u{1f600}\u{2026}");
    }

    #[test]
    fn a_number_stands_above_its_key() {
        assert_eq!(scale(0, 3), " 0 1 2");
        assert_eq!(scale(0, 12), " 0         5        10");
        assert_eq!(scale(118, 127), "   120       125");
        assert_eq!(scale(100, 102), "", "no room for three digits");
        assert_eq!(scale(0, 0), "");
    }

    /// The endings are dropped first, then the oldest keys.
    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let keys = 30;
        let weights = vec![1.0 / keys as f32; keys * keys];
        for width in [0, 1, 21, 22, 40, 79, 80, 81, 90, 91, 110, 200] {
            let lines = lines(&weights, keys, &names(keys), false, width);
            let longest =
                lines.iter().skip(usize::from(width < MARGIN + 60)).map(|line| line.chars().count()).max();
            assert!(longest <= Some(width.max(MARGIN + 2)), "{longest:?} of {width}");
        }
        let line = |width| lines(&weights, keys, &names(keys), false, width).pop().expect("a line");
        assert!(line(110).ends_with("  most: 0 \"0\" 3.33%"), "{}", line(110));
        assert!(line(90).ends_with("\u{2591}  0 3.33%"), "{}", line(90));
        assert!(line(80).ends_with('\u{2591}'), "{}", line(80));
    }
}
