//! The README keeps its word: its tables and commands are those of the code.

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
fn files_that_are_named_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let links: Vec<&str> =
        README.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    assert!(links.len() > 20, "{} links", links.len());
    for link in links.into_iter().filter(|link| !link.is_empty() && !link.starts_with("http")) {
        assert!(root.join(link).exists(), "README.md links to {link}");
    }
}

#[test]
fn set_up_takes_the_two_commands() {
    assert!(README.contains("cargo run --release -- generate \"Once upon a time\""));
    assert!(README.contains("cargo test\n"));
    assert!(include_str!("../.ci/run").contains("cargo test\n"));
}
