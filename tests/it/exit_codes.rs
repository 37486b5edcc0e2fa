//! The table of exit codes in README is what the program does: each code is one that it has, and has a test.

use crate::work_dir::{Ended, trainer};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Code and name of the test of each row.
fn rows() -> Vec<(String, String)> {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("## Exit codes").nth(1).expect("README has a table of exit codes");
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [code, .., test] = cells[..] else { panic!("{line}") };
            (code.to_owned(), test.trim_matches('`').to_owned())
        })
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of all tests.
fn tests(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries
        .map(|path| if path.is_dir() { tests(&path) } else { fs::read_to_string(&path).unwrap_or_default() });
    texts.collect()
}

#[test]
fn every_exit_code_stands_in_the_table_once_and_has_a_test() {
    let codes: Vec<String> = rows().into_iter().map(|(code, _)| code).collect();
    let expected = ["0", "1", "2", "3", "4", "5", "6", "7", "74", "75", "128 + N"];
    assert_eq!(codes, expected);
    let tests = tests(&root().join("tests/it"));
    for (code, test) in rows() {
        assert!(tests.contains(&format!("fn {test}(")), "the test of {code}, {test}, is not there");
    }
}

#[test]
fn the_help_lists_the_codes_of_the_table() {
    let help = Ended::of(&mut trainer(["--help"])).check_code(0).stdout;
    let listed = help.split("Exit codes:").nth(1).unwrap();
    let listed: BTreeSet<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let table: BTreeSet<String> = rows().into_iter().map(|(code, _)| code.replace(' ', "")).collect();
    assert_eq!(listed.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), table);
}
