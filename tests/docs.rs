//! The README and the guide match the code: tables, commands and their outputs, excerpts, files, the picture.

use gpt2::generate::Options;
use gpt2::trace::Stage;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[path = "../examples/picture.rs"]
#[allow(dead_code)] // its `main`
mod picture;

const README: &str = include_str!("../README.md");
const INSIDE: &str = include_str!("../src/guide/inside.md");
const COMMANDS: &str = include_str!("../src/guide/commands.md");
const MAINTAIN: &str = include_str!("../src/guide/maintain.md");

/// Folder, name and text of every page.
fn pages() -> Vec<(&'static str, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![("", "README.md".to_string(), README.to_string())];
    for file in std::fs::read_dir(root.join("src/guide")).expect("the guide") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".md") {
            pages.push(("src/guide", name, std::fs::read_to_string(path).expect("a page")));
        }
    }
    assert!(pages.len() > 7, "{} pages", pages.len());
    pages
}

/// A command with the built program in its path.
#[cfg(unix)]
fn shell(command: &str) -> String {
    let program = Path::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    let folders = [program.parent().expect("a folder").into(), std::env::var_os("PATH").unwrap_or_default()];
    let path = std::env::join_paths(folders.iter().flat_map(std::env::split_paths)).expect("folders");
    let output = Command::new("sh").args(["-c", command]).env("PATH", path).output().expect("a shell");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_table_of_stages_is_complete() {
    for stage in Stage::ALL {
        let about = stage.describe();
        let row =
            format!("| `{}` | `{}` | `{}` | `{}` |", about.name, about.shape, about.formula, about.file);
        assert!(INSIDE.contains(&row), "src/guide/inside.md lacks the row\n{row}");
    }
}

#[test]
fn the_table_of_options_is_complete() {
    let row = |row: &gpt2::sampling::options::Row| {
        let flag = format!("--{} {}", row.name, row.value);
        let values = if row.value.is_empty() { String::new() } else { row.values() };
        let values = if row.repeats() { values + "; repeatable" } else { values };
        let default = row.default().unwrap_or_default();
        format!("| `{}` | {values} | {default} | {} |\n", flag.trim_end(), row.help)
    };
    let table: String = Options::table().iter().map(row).collect();
    assert!(COMMANDS.contains(&table), "src/guide/commands.md lacks the rows\n{table}");
}

/// Every command of the program has a row, and every other flag of `generate` is in one of the tables.
#[cfg(unix)]
#[test]
fn the_table_of_commands_is_complete() {
    let names = |help: String| -> Vec<String> {
        let listed =
            help.split_once("Commands:\n").expect("commands").1.split("\n\n").next().unwrap_or_default();
        let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        names.filter(|name| !name.is_empty()).map(String::from).collect()
    };
    for name in names(shell("gpt2 --help")).into_iter().filter(|name| name != "help") {
        assert!(COMMANDS.contains(&format!("| `gpt2 {name}")), "src/guide/commands.md lacks gpt2 {name}");
    }
    let help = shell("gpt2 generate --help");
    let flags: BTreeSet<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    let missing: Vec<&&str> = flags
        .iter()
        .filter(|flag| !COMMANDS.contains(flag.trim_end_matches([',', '.', ':', ';', ')'])))
        .collect();
    assert!(missing.is_empty(), "src/guide/commands.md lacks {missing:?}");
}

/// A notebook begins with `# 3. Attention: how does a position ...?`; the README lists `| 3 | [Attention](...) | How ...? |`.
#[test]
fn the_table_of_notebooks_is_complete() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("notebooks");
    let files = std::fs::read_dir(folder).expect("the notebooks").map(|file| file.expect("a file").path());
    let notebooks: Vec<_> = files.filter(|file| file.extension().is_some_and(|e| e == "ipynb")).collect();
    assert_eq!(notebooks.len(), 10);
    for file in notebooks {
        let text = std::fs::read_to_string(&file).expect("a notebook");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let heading = json["cells"][0]["source"][0].as_str().expect("a heading").trim();
        let (number, rest) = heading.trim_start_matches("# ").split_once(". ").expect("a number");
        let (name, question) = rest.split_once(": ").expect("a question");
        let question = question[..1].to_uppercase() + &question[1..];
        let link = file.file_name().expect("a name").to_string_lossy().into_owned();
        let row = format!("| {number} | [{name}](notebooks/{link}) | {question} |");
        assert!(README.contains(&row), "README.md lacks the row\n{row}");
    }
}

/// Links lead to files, and code that looks like a path in this repository is one.
#[test]
fn files_that_are_named_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    for (folder, page, text) in pages() {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.starts_with("http"));
        let named = text.split('`').skip(1).step_by(2).filter(|code| !code.contains([' ', '*', '{']));
        let folders = ["src/", "tests/", "benches/", "examples/", "data/", "notebooks/", ".ci/"];
        let named = named.filter(|code| folders.iter().any(|folder| code.starts_with(folder)));
        for path in links.map(|link| root.join(folder).join(link)).chain(named.map(|name| root.join(name))) {
            assert!(path.exists(), "{page} names {}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen} files");
}

/// Every row about a fault ends with a command that tries it again, and every fuzz target is in a row.
#[test]
fn every_fault_can_be_tried_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let manifest = read("tests/fuzz/Cargo.toml");
    let mut fuzzed = BTreeSet::new();
    let rows = read("src/guide/faults.md");
    let rows: Vec<&str> = rows.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    for row in &rows {
        let command = row.rsplit('`').nth(1).expect("a command");
        let words: Vec<&str> = command.split_whitespace().collect();
        match words[..] {
            [".ci/fuzz", _, ref targets @ ..] => fuzzed.extend(targets.iter().map(|name| name.to_string())),
            [".ci/weekly", step] => assert!(read(".ci/weekly").contains(&format!("\n{step}() {{")), "{row}"),
            ["cargo", "test", "--test", file, ref filter @ ..] => {
                let files = [format!("tests/{file}.rs"), format!("tests/{file}/main.rs")];
                let source: String = files.iter().map(|file| read(file)).collect();
                assert!(filter.iter().all(|name| source.contains(name)) && !source.is_empty(), "{row}");
            }
            ["cargo", "test", "--lib", module] => {
                assert!(root.join(format!("src/{}.rs", module.replace("::", "/"))).exists(), "{row}");
            }
            _ => panic!("{row}"),
        }
    }
    assert!(rows.len() > 10, "{} rows", rows.len());
    let targets = manifest.split("[[bin]]\nname = \"").skip(1).filter_map(|rest| rest.split('"').next());
    assert!(targets.map(String::from).collect::<BTreeSet<_>>() == fuzzed, "{fuzzed:?}");
}

/// Rust excerpts of the source stand in the file that is named before them.
#[test]
fn excerpts_are_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut parts = MAINTAIN.split("```rust,ignore\n");
    let mut before = parts.next().expect("text");
    let mut excerpts = 0;
    for part in parts {
        let (excerpt, after) = part.split_once("```").expect("the end of an excerpt");
        let file = before.rsplit('`').find(|code| code.starts_with("src/")).expect("a file");
        let source = std::fs::read_to_string(root.join(file)).expect("a source file");
        assert!(source.contains(excerpt), "{file} has no\n{excerpt}");
        (before, excerpts) = (after, excerpts + 1);
    }
    assert_eq!(excerpts, 2);
}

/// Every flag that a page gives to a command is a flag of this command.
#[cfg(unix)]
#[test]
fn commands_have_the_flags_that_are_shown() {
    let mut tried = 0;
    for (_, page, text) in pages() {
        for line in text.lines() {
            let line = line.rsplit("| ").find(|part| part.starts_with("gpt2 ")).unwrap_or(line);
            let command = line.trim_start_matches("$ ").strip_prefix("gpt2 ");
            let Some(words) = command.map(|rest| rest.split_whitespace().collect::<Vec<_>>()) else {
                continue;
            };
            let help = shell(&format!("gpt2 {} --help", words[0]));
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().expect("a flag");
                assert!(
                    help.contains(&format!("{flag} "))
                        || help.contains(&format!("{flag}\n"))
                        || help.contains(&format!("{flag}[")),
                    "{page}: gpt2 {} has no {flag}",
                    words[0]
                );
                tried += 1;
            }
        }
    }
    assert!(tried > 10, "{tried} flags");
}

#[test]
fn the_number_of_weights_is_right() {
    let weights = gpt2::checkpoint::bundled().model.parameters();
    assert!(README.contains(&format!("({:.1} million weights,", weights as f64 / 1e6)), "{weights}");
}

/// The pictures are what `examples/picture.rs` draws.
#[test]
fn the_picture_is_the_models_output() {
    for theme in ["light", "dark"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("data/pictures/writing-{theme}.svg"));
        let kept = std::fs::read_to_string(path).expect("a picture");
        assert!(
            picture::svg(theme).expect("a picture") == kept,
            "the {theme} picture has changed: see examples/picture.rs"
        );
        assert!(README.contains(&format!("\"data/pictures/writing-{theme}.svg\"")));
    }
}

/// Every number in the README's loop is printed by the first step of the text above it.
#[cfg(unix)]
#[test]
fn the_loop_shows_the_numbers_of_the_first_step() {
    let printed = shell(
        "printf 'print drop rows 3 cols 0-2\\nprint h.5 rows 3 cols 0-2\\nprint lm_head rows 3 top 3\\ntoken\\n\
         candidates\\nset\\nquit\\n' | gpt2 generate --debug 'Once upon a time' --seed 2",
    );
    let numbers = |text: &str| -> BTreeSet<String> {
        let separate = |c: char| c.is_whitespace() || "[](),:\"".contains(c);
        let words = text.split(separate).filter(|word| word.contains(|c: char| c.is_ascii_digit()));
        words
            .filter(|word| word.starts_with(|c: char| c == '-' || c.is_ascii_digit()))
            .map(String::from)
            .collect()
    };
    let shown = README
        .split("bpe         text -> ids")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a loop");
    let (shown, printed) = (numbers(shown), numbers(&printed));
    assert!(shown.len() > 18, "{shown:?}");
    let missing: Vec<&String> = shown.iter().filter(|number| !printed.contains(*number)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Below a command stands what it prints. A line `...` stands for any number of lines; a line that ends with ` ...` stands
/// for one line with the same beginning.
#[cfg(unix)]
#[test]
fn commands_print_what_is_shown() {
    let mut tried = 0;
    for (_, page, text) in pages() {
        for block in text.split("```text\n$ ").skip(1).filter_map(|rest| rest.split("\n```").next()) {
            let (command, shown) = block.split_once('\n').expect("a command and what it prints");
            let printed = shell(command);
            let mut lines = printed.lines();
            let mut skipping = false;
            for expected in shown.lines() {
                if expected == "..." {
                    skipping = true;
                    continue;
                }
                let fits = |line: &str| match expected.strip_suffix(" ...") {
                    Some(beginning) => line.starts_with(beginning),
                    None => line == expected,
                };
                let found = if skipping { lines.any(fits) } else { lines.next().is_some_and(fits) };
                assert!(found, "{page}: {command}\nlacks the line\n{expected}\nat its place in\n{printed}");
                skipping = false;
            }
            assert!(skipping || lines.next().is_none(), "{page}: {command}\nprints more:\n{printed}");
            tried += 1;
        }
    }
    assert_eq!(tried, 6, "commands");
}

/// The text under the first command is what the seed named there gives, apart from line breaks.
#[test]
fn the_first_text_is_that_of_its_seed() {
    let shown = README.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a text");
    let readme = README.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(readme.contains("`--seed 2` gives the one above (line breaks added)"));
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    let output = command.args(["generate", "Once upon a time", "--seed", "2"]).output().expect("a program");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let words = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
    assert_eq!(words(shown), words(&printed));
}

#[test]
fn set_up_takes_the_two_commands() {
    assert!(README.contains("cargo run --release -- generate \"Once upon a time\""));
    assert!(README.contains("cargo test\n"));
    assert!(include_str!("../.ci/run").contains("cargo test\n"));
}
