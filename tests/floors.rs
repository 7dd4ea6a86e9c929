//! The modules stand on floors. A module imports only from the floors below its own, so it can be read without those
//! above.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// From top to bottom. Modules of the same floor do not import each other.
const FLOORS: &[&[&str]] = &[
    &["page"],
    &["inspect"],
    &["search", "score"],
    &["checkpoint", "quantize"],
    &["generate"],
    &["sampling"],
    &["model"],
    &["block"],
    &["mlp", "attention"],
    &["layer_norm", "embedding", "bpe"],
    &["trace", "kv_cache", "linear", "softmax"],
    &["config"],
    &["activation", "matmul"],
    &["tensor"],
    &["math", "format"],
    &["simd"],
    &["error", "names"],
];

/// The same for the files of the command line, whose `mod.rs` is above them all.
const CLI_FLOORS: &[&[&str]] = &[
    &["mod"],
    &[
        "generate",
        "compare",
        "trace",
        "score",
        "tokenize",
        "completions",
        "convert",
        "fetch",
        "info",
        "bench",
        "diff",
        "explain",
        "how",
        "kit",
    ],
    &["batch", "beams", "debug"],
    &["why"],
    &["pass"],
    &["decoding", "speculation", "text"],
    &["model"],
    &["report", "interrupt", "progress"],
    &["failure", "fault", "stage_names"],
];

fn floor(floors: &[&[&str]], module: &str) -> usize {
    floors.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("{module} has no floor"))
}

/// The code of a file, without comment lines and without tests.
fn code(text: &str) -> String {
    let mut lines = text.lines().peekable();
    let mut code = String::new();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            if !line.trim_start().starts_with("//") {
                code += &format!("{line}\n");
            }
            continue;
        }
        // skip the item, up to the brace or semicolon that ends it
        let mut depth = 0;
        for line in lines.by_ref() {
            depth += line.matches('{').count() as isize - line.matches('}').count() as isize;
            if depth == 0 && (line.trim_end().ends_with(['}', ';'])) {
                break;
            }
        }
    }
    code
}

/// For each module of a folder, the names that follow `prefix` in its code, as `(file, name)`.
fn imports(folder: &Path, prefix: impl Fn(&Path) -> &'static str) -> BTreeMap<String, Vec<(String, String)>> {
    fn files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let mut all = Vec::new();
    files(folder, &mut all);
    let mut imports: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for path in all {
        let inside = path.strip_prefix(folder).expect("inside").to_path_buf();
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_string();
        if inside.components().any(|c| c.as_os_str() == "tests") {
            continue;
        }
        let text = code(&std::fs::read_to_string(&path).expect("a file"));
        let list = imports.entry(module).or_default();
        for rest in text.split(prefix(&inside)).skip(1) {
            // one name, or several in braces
            let names = match rest.strip_prefix('{') {
                Some(names) => names.split('}').next().unwrap_or_default(),
                None => rest,
            };
            let several = rest.starts_with('{');
            let names = names.split(',').take(if several { usize::MAX } else { 1 });
            let name = |name: &str| -> String {
                name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
            };
            list.extend(names.map(|one| (inside.display().to_string(), name(one))));
        }
    }
    imports
}

/// The imports that do not go to a lower floor.
fn up(floors: &[&[&str]], imports: &BTreeMap<String, Vec<(String, String)>>) -> Vec<String> {
    let known = |name: &str| floors.iter().any(|floor| floor.contains(&name));
    let mut up = Vec::new();
    for (module, names) in imports {
        for (file, name) in names.iter().filter(|(_, name)| name != module && known(name)) {
            if floor(floors, name) <= floor(floors, module) {
                up.push(format!("{file} imports {name}"));
            }
        }
    }
    up.dedup();
    up
}

#[test]
fn imports_go_down() {
    let mut imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), |_| "crate::");
    ["lib", "main", "cli", "arithmetic", "guide"].iter().for_each(|module| drop(imports.remove(*module)));
    assert_eq!(imports.len(), FLOORS.iter().flat_map(|floor| *floor).count(), "every module has a floor");
    assert!(imports.values().map(Vec::len).sum::<usize>() > 200, "imports are found");
    assert_eq!(up(FLOORS, &imports), [""; 0], "imports that go up");
}

#[test]
fn imports_of_the_command_line_go_down() {
    // files inside a folder write super::super:: where files beside the folder write super::
    let prefix = |file: &Path| if file.components().count() > 1 { "super::super::" } else { "super::" };
    let imports = imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli"), prefix);
    assert_eq!(imports.len(), CLI_FLOORS.iter().flat_map(|floor| *floor).count(), "every file has a floor");
    assert!(imports.values().map(Vec::len).sum::<usize>() > 40, "imports are found");
    assert_eq!(up(CLI_FLOORS, &imports), [""; 0], "imports that go up");
}

#[test]
fn an_import_that_goes_up_is_found() {
    let of = |module: &str, name: &str| {
        BTreeMap::from([(module.to_string(), vec![(format!("{module}.rs"), name.to_string())])])
    };
    assert_eq!(up(FLOORS, &of("attention", "model")), ["attention.rs imports model"]);
    assert_eq!(up(FLOORS, &of("mlp", "attention")), ["mlp.rs imports attention"]);
    assert_eq!(up(FLOORS, &of("model", "attention")), [""; 0]);
}

/// How often the word `unsafe` occurs in the code of each file, and what the guide's table says.
#[test]
fn unsafe_code_is_listed() {
    fn count(folder: &Path, found: &mut BTreeMap<String, usize>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                count(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = std::fs::read_to_string(&path).expect("a file");
                let code = text.lines().filter_map(|line| line.split("//").next());
                let words = code.flat_map(|code| code.split(|c: char| !c.is_alphanumeric() && c != '_'));
                let words = words.filter(|word| *word == "unsafe").count();
                let name = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("inside").display();
                found.extend((words > 0).then(|| (name.to_string().replace('\\', "/"), words)));
            }
        }
    }
    let mut found = BTreeMap::new();
    count(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let row = |line: &str| -> Option<(String, usize)> {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        Some((cells.next()?.trim_end_matches('`').to_string(), cells.next()?.parse().ok()?))
    };
    let listed = include_str!("../src/guide/maintain.md").lines().filter_map(row).collect();
    assert_eq!(found, listed, "files and counts in the section \"Unsafe code\" of src/guide/maintain.md");
}
