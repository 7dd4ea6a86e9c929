//! The README matches the code: its tables, its commands and their outputs.

use gpt2::generate::Options;
use gpt2::trace::Stage;

const README: &str = include_str!("../README.md");

#[test]
fn the_table_of_stages_is_complete() {
    for stage in Stage::ALL {
        let about = stage.describe();
        let row = format!(
            "| `{}` | {} | `{}` | [`{}`]({}) |",
            about.name, about.shape, about.formula, about.file, about.file
        );
        assert!(README.contains(&row), "README.md lacks the row\n{row}");
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
    assert!(README.contains(&table), "README.md lacks the rows\n{table}");
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

#[test]
fn files_that_are_named_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> =
        README.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    assert!(links.len() > 20, "{} links", links.len());
    for link in links.into_iter().filter(|link| !link.is_empty() && !link.starts_with("http")) {
        assert!(root.join(link).exists(), "README.md links to {link}");
    }
}

/// The README shows below a command what the command prints. A line `...` stands for any number of lines; a line that
/// ends with ` ...` stands for one line with the same beginning.
#[cfg(unix)]
#[test]
fn commands_print_what_is_shown() {
    let program = std::path::Path::new(assert_cmd::cargo::cargo_bin!("gpt2"));
    let folders = [program.parent().expect("a folder").into(), std::env::var_os("PATH").unwrap_or_default()];
    let path = std::env::join_paths(folders.iter().flat_map(std::env::split_paths)).expect("folders");
    let blocks = README.split("```text\n$ ").skip(1).filter_map(|rest| rest.split("\n```").next());
    let mut tried = 0;
    for block in blocks {
        let (command, shown) = block.split_once('\n').expect("a command and what it prints");
        let output = std::process::Command::new("sh")
            .args(["-c", command])
            .env("PATH", &path)
            .output()
            .expect("a shell");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
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
            assert!(found, "{command}\nlacks the line\n{expected}\nat its place in\n{printed}");
            skipping = false;
        }
        assert!(skipping || lines.next().is_none(), "{command}\nprints more:\n{printed}");
        tried += 1;
    }
    assert!(tried >= 3, "{tried} commands");
}

/// The text under the first command is what the seed named there gives, apart from line breaks.
#[test]
fn the_first_text_is_that_of_its_seed() {
    let shown = README.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a text");
    assert!(README.contains("`--seed 2` gives the one above (line breaks added)"));
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("gpt2"));
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
