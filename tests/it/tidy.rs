//! The order of the house: lengths of files, who may use whom, nothing left undone, links that lead somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Most lines of a source file, without its tests. A file that can not be split sensibly stands in [`LONGER`].
const MAX_LINES: usize = 420;

/// Most lines of a file of tests, which is read one test at a time.
const MAX_TEST_LINES: usize = 500;

/// Longer files, each with the reason why it is one.
const LONGER: [(&str, &str); 0] = [];

/// What each part of the library may use of the others. Data flows one way: config -> data -> graph -> engine ->
/// train; `report` shows the events of training; `cli` wires all; `random` and `system` use nothing.
const MAY_USE: [(&str, &[&str]); 10] = [
    ("random", &[]),
    ("system", &[]),
    ("config", &[]),
    ("data", &["config", "random"]),
    ("graph", &["config", "random"]),
    ("engine", &["config", "data", "graph", "system"]),
    ("train", &["config", "data", "engine", "graph", "random"]),
    ("report", &["config", "train"]),
    ("sweep", &["config", "random", "report", "train"]),
    ("cli", &["config", "engine", "report", "sweep", "system", "train"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Files under these folders of the project whose names end so, with their contents.
fn files(folders: &[&str], ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_str().unwrap().ends_with(ending) {
            let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folders:?} have no {ending}");
    found
}

/// A source without the module of tests at its end.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

/// Every Rust source of the project.
fn sources() -> Vec<(String, String)> {
    let mut found = files(&["src", "runtime/src", "runtime/tests", "runtime/examples", "tests/it"], ".rs");
    // Not their build folders.
    found.extend(files(
        &["fuzz/src", "fuzz/fuzz_targets", "runtime/benches/lib.rs", "runtime/benches/storage.rs"],
        ".rs",
    ));
    found
}

#[test]
fn no_source_file_is_longer_than_one_can_overlook() {
    for (name, text) in sources() {
        let lines = without_tests(&text).lines().count();
        let limit = if name.contains("tests") { MAX_TEST_LINES } else { MAX_LINES };
        let reason = LONGER.iter().find(|(longer, _)| *longer == name);
        match reason {
            None => assert!(lines <= limit, "{name} has {lines} lines, more than {limit}"),
            Some(_) => assert!(lines > limit, "{name} has become short: take it off the list"),
        }
    }
    assert!(LONGER.iter().all(|(name, _)| root().join(name).is_file()), "the list names a file that is gone");
}

/// The parts of this library that a source uses.
fn used(text: &str) -> BTreeSet<String> {
    let parts = text.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    parts
        .filter(|part| {
            root().join("src").join(part).exists() || root().join(format!("src/{part}.rs")).exists()
        })
        .collect()
}

#[test]
fn each_part_of_the_library_uses_only_those_it_may() {
    let mut seen = BTreeSet::new();
    for (name, text) in files(&["src"], ".rs") {
        let part = name.trim_start_matches("src/").split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&part) {
            continue;
        }
        let (_, allowed) = MAY_USE.iter().find(|(of, _)| *of == part).unwrap_or_else(|| {
            panic!("{name}: the part `{part}` is not in the table of what may use what");
        });
        for other in used(without_tests(&text)) {
            assert!(other == part || allowed.contains(&other.as_str()), "{name} uses `{other}`");
            seen.insert((part.to_owned(), other));
        }
    }
    for (part, allowed) in MAY_USE {
        for other in allowed {
            let edge = (part.to_owned(), (*other).to_owned());
            assert!(seen.contains(&edge), "`{part}` no longer uses `{other}`: take it off the table");
        }
    }
}

#[test]
fn the_runtime_crate_knows_nothing_of_the_trainer() {
    let manifest = fs::read_to_string(root().join("runtime/Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
    assert!(!dependencies.contains("trainer"), "{dependencies}");
    assert!(!dependencies.contains("ort"), "{dependencies}");
    for (name, text) in files(&["runtime/src"], ".rs") {
        assert!(!text.contains("trainer::"), "{name}");
    }
}

#[test]
fn bincode_is_behind_the_codec() {
    for (name, text) in sources() {
        if ["runtime/src/codec.rs", "tests/it/tidy.rs"].contains(&name.as_str()) {
            continue;
        }
        let direct = text.lines().find(|line| {
            let path = line.find("bincode::");
            path.is_some_and(|start| !line[..start].ends_with("::") && !line.trim_start().starts_with("//"))
        });
        assert_eq!(direct, None, "{name} uses bincode and not the codec");
    }
}

#[test]
fn nothing_is_left_undone() {
    // Spelled in two parts, so that this file does not find itself.
    let marks = [["todo", "!("], ["unimplemented", "!("], ["TO", "DO"], ["FIX", "ME"], ["dbg", "!("]];
    let scripts =
        [".py", ".sh", ".md", ".toml"].map(|ending| files(&["docs", "scripts", "Cargo.toml"], ending));
    for (name, text) in sources().into_iter().chain(scripts.into_iter().flatten()) {
        for mark in marks.map(|mark| mark.concat()) {
            let line = text.lines().position(|line| line.contains(&mark));
            assert_eq!(line, None, "{name} has {mark}");
        }
    }
}

/// The targets of `[text](target)` in a Markdown file.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with('#')).collect()
}

#[test]
fn relative_links_in_documents_lead_to_files() {
    let mut documents = files(&["docs", "scripts"], ".md");
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            documents.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    for (name, text) in documents {
        let folder = root().join(&name).parent().map(Path::to_owned).unwrap();
        for link in links(&text) {
            let file = link.split('#').next().unwrap_or(link);
            assert!(folder.join(file).exists(), "{name} links to {link}");
        }
    }
}

#[test]
fn the_tests_that_the_guarantees_name_exist() {
    let text = fs::read_to_string(root().join("docs/guarantees.md")).unwrap();
    let code: String = sources().into_iter().map(|(_, text)| text).collect();
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        word.matches('_').count() > 3
            && word.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_')
    };
    let names: BTreeSet<&str> = quoted.filter(is_name).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(code.contains(&format!("fn {name}()")), "no test is called {name}");
    }
}
