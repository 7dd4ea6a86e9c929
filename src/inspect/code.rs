//! Which lines of the lesson compute a stage? They are found in the source by what they say, so they cannot drift.

use crate::trace::Stage;
use std::fmt;

/// Lines of a lesson.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Excerpt {
    /// The file, from the root of the repository.
    pub file: &'static str,
    /// Its text.
    pub source: &'static str,
    /// The line that computes the stage, counted from 1.
    pub line: usize,
    /// The first and the last line of the function that holds it.
    pub function: [usize; 2],
}

impl Excerpt {
    /// The line that computes the stage, without indentation.
    pub fn text(&self) -> &'static str {
        self.source.lines().nth(self.line - 1).unwrap_or_default().trim()
    }

    /// The lines of the function.
    pub fn lines(&self) -> impl Iterator<Item = &'static str> {
        let [first, last] = self.function;
        self.source.lines().take(last).skip(first - 1)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
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
    let lines: Vec<&str> = source.lines().collect();
    let at = lines.iter().position(|line| line.contains(part)).expect("the tests find every line");
    let begins = |line: &&str| ["fn ", "pub fn "].iter().any(|word| line.trim_start().starts_with(word));
    let first = lines[..=at].iter().rposition(begins).unwrap_or(0); // the nearest function above
    let indent = lines[first].len() - lines[first].trim_start().len();
    let close = format!("{}}}", " ".repeat(indent));
    let last = lines[at..].iter().position(|line| *line == close).map_or(lines.len() - 1, |below| at + below);
    Excerpt { file, source, line: at + 1, function: [first + 1, last + 1] }
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
            let [first, last] = excerpt.function;
            assert!((first..=last).contains(&excerpt.line), "{stage:?}: {excerpt:?}");
            let lines: Vec<&str> = excerpt.lines().collect();
            assert!(lines[0].contains("fn "), "{stage:?}: {excerpt:?}");
            assert_eq!(lines[lines.len() - 1].trim(), "}", "{stage:?}: {excerpt:?}");
            assert_eq!(file, stage.describe().file);
        }
        insta::assert_snapshot!(
            Stage::ALL.map(|stage| format!("{}: {}\n", code(stage).file, code(stage).text())).concat()
        );
    }
}
