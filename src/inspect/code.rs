//! Which lines of the lesson compute a stage? They are found in the source by what they say, so they cannot drift.

use crate::trace::Stage;

/// Lines of a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file, from the root of the repository.
    pub file: &'static str,
    /// The line that computes the stage, counted from 1.
    pub line: usize,
    /// The function that holds it, and the line where it begins.
    pub function: (&'static str, usize),
}

impl Excerpt {
    /// The line that computes the stage, without indentation.
    pub fn text(&self) -> &'static str {
        let (function, first) = self.function;
        function.lines().nth(self.line - first).unwrap_or_default().trim()
    }
}

/// For each stage the file and a part of its line. The part occurs once in the file.
macro_rules! lines {
    ($($stage:ident $file:literal $part:literal)*) => {
        fn line(stage: Stage) -> (&'static str, &'static str, &'static str) {
            match stage {
                $(Stage::$stage => (concat!("src/", $file), include_str!(concat!("../", $file)), $part),)*
            }
        }
    };
}

lines! {
    InputIds     "bpe.rs"         "self.ids(text.as_ref(), false, true)"
    Wte          "embedding.rs"   "table.read_row(i, x.row_mut(t));"
    Wpe          "embedding.rs"   "table.read_row(i, x.row_mut(t));"
    Drop         "model.rs"       "trace.tap(Stage::Drop,"
    Ln1          "layer_norm.rs"  "*y = ((x - mean) * scale).mul_add(*w, *b);"
    AttnCAttn    "attention.rs"   "trace.tap(Stage::AttnCAttn,"
    AttnScores   "attention.rs"   "part.scores(self.scale);"
    AttnWeights  "attention.rs"   "part.visible(&mut scores, softmax);"
    AttnHeads    "attention.rs"   "part.mix(&scores)"
    AttnCProj    "attention.rs"   "trace.tap(Stage::AttnCProj,"
    AttnResidual "block.rs"       "trace.tap(Stage::AttnResidual,"
    Ln2          "layer_norm.rs"  "*y = ((x - mean) * scale).mul_add(*w, *b);"
    MlpCFc       "mlp.rs"         "trace.tap(Stage::MlpCFc,"
    MlpAct       "mlp.rs"         "trace.tap(Stage::MlpAct,"
    MlpCProj     "mlp.rs"         "trace.tap(Stage::MlpCProj,"
    Block        "block.rs"       "trace.tap(Stage::Block,"
    LnF          "layer_norm.rs"  "*y = ((x - mean) * scale).mul_add(*w, *b);"
    LmHead       "model.rs"       "trace.tap(Stage::LmHead,"
    Probs        "sampling.rs"    "    softmax(x);"
    NextId       "sampling.rs"    "    draw(x, u)"
}

/// The line of the lesson that computes a stage, and its function.
pub fn code(stage: Stage) -> Excerpt {
    let (file, source, part) = line(stage);
    let at = source.find(part).expect("the tests find every line");
    let head = &source[..at];
    let indented = |line: &str| line.len() - line.trim_start().len();
    let is_function = |line: &str| ["fn ", "pub fn "].iter().any(|word| line.trim_start().starts_with(word));
    // the nearest function above
    let (mut begin, mut indent) = (0, 0);
    let mut place = 0;
    for line in head.split_inclusive('\n') {
        if is_function(line) {
            (begin, indent) = (place, indented(line));
        }
        place += line.len();
    }
    let close = format!("\n{}}}\n", " ".repeat(indent));
    let end = source[at..].find(&close).map_or(source.len(), |length| at + length + close.len() - 1);
    let number = |place: usize| source[..place].matches('\n').count() + 1;
    Excerpt {
        file,
        line: number(at + part.len() - part.trim_start().len()),
        function: (&source[begin..end], number(begin)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_found_once_in_a_function_of_the_stages_file() {
        for stage in Stage::ALL {
            let (file, source, part) = line(stage);
            assert_eq!(source.matches(part).count(), 1, "{stage:?}: {part}");
            let excerpt = code(stage);
            assert!(excerpt.text().contains(part.trim()), "{stage:?}: {excerpt:?}");
            let (function, first) = excerpt.function;
            let lines: Vec<&str> = source.lines().collect();
            assert!(lines[first - 1..].join("\n").starts_with(function), "{stage:?}: {excerpt:?}");
            assert!(function.contains("fn ") && function.ends_with('}'), "{stage:?}: {excerpt:?}");
            assert_eq!(file, stage.describe().file);
        }
        insta::assert_snapshot!(
            Stage::ALL.map(|stage| format!("{}: {}\n", code(stage).file, code(stage).text())).concat()
        );
    }
}
