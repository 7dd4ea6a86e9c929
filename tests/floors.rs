//! The house has floors: a module imports only from floors below its own, so that it can be read without those above.

use std::collections::BTreeMap;
use std::path::Path;

/// Top to bottom. Modules of one floor do not import each other.
const FLOORS: &[&[&str]] = &[
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
    &["error"],
];

fn floor(floors: &[&[&str]], module: &str) -> usize {
    floors.iter().position(|floor| floor.contains(&module)).unwrap_or_else(|| panic!("{module} has no floor"))
}

/// The lines of a file that are code, without those of its tests.
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
        // an item, up to the brace or the semicolon that ends it
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

/// Each module of `src` with the names that follow `crate::` in its code.
fn imports() -> BTreeMap<String, Vec<(String, String)>> {
    fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                found.push(path);
            }
        }
    }
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&src, &mut all);
    let mut imports: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for path in all {
        let inside = path.strip_prefix(&src).expect("in src").to_path_buf();
        let first = inside.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        let module = first.trim_end_matches(".rs").to_string();
        if ["lib", "main", "cli", "arithmetic"].contains(&&*module)
            || inside.components().any(|c| c.as_os_str() == "tests")
        {
            continue;
        }
        let text = code(&std::fs::read_to_string(&path).expect("a file"));
        let named = text.split("crate::").skip(1).map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_string()
        });
        let list = imports.entry(module).or_default();
        list.extend(named.map(|name| (inside.display().to_string(), name)));
    }
    imports
}

#[test]
fn imports_go_down() {
    let imports = imports();
    assert_eq!(imports.len(), FLOORS.iter().flat_map(|floor| *floor).count(), "every module has a floor");
    let mut up = Vec::new();
    for (module, names) in &imports {
        for (file, name) in names {
            let of_a_module = name.starts_with(|c: char| c.is_lowercase());
            if of_a_module && name != module && floor(FLOORS, name) <= floor(FLOORS, module) {
                up.push(format!("{file} imports {name}"));
            }
        }
    }
    up.sort();
    up.dedup();
    assert!(up.is_empty(), "against the floors:\n{}", up.join("\n"));
}
