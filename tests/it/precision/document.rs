//! The lists of docs/precision.md are made from the table of operators.

use std::fmt::Write as _;
use std::path::Path;
use trainer::graph::autodiff::{Gradient, table};
use trainer::graph::precision::{Treatment, listed, treatment};

const FILE: &str = "docs/precision.md";
/// Set it to write the lists anew.
const WRITE: &str = "TRAINER_WRITE_DOCS";
const BEGIN: &str =
    "<!-- The lists are made from the table of operators (src/graph/precision/table.rs). -->\n";
const END: &str = "<!-- End of the lists. -->\n";

fn lists() -> String {
    let mut single: Vec<&str> = table()
        .filter(|rule| matches!(rule.gradient, Gradient::Rule(_) | Gradient::Composed(_)))
        .map(|rule| rule.op)
        .filter(|op| treatment(op) == Treatment::Single)
        .collect();
    single.sort_unstable();
    single.dedup();
    let mut text = String::new();
    for (title, ops) in [
        ("With 16 bits", listed(Treatment::Low)),
        ("As what they read", listed(Treatment::Follow)),
        ("With 32 bits", single.as_slice()),
    ] {
        write!(text, "**{title}:**").unwrap();
        let mut width = title.len() + 5;
        for (position, op) in ops.iter().enumerate() {
            let word = format!("{op}{}", if position + 1 < ops.len() { "," } else { "." });
            if width + word.len() + 1 > 120 {
                text.push('\n');
                width = 0;
            } else {
                text.push(' ');
                width += 1;
            }
            width += word.len();
            text.push_str(&word);
        }
        text.push_str("\n\n");
    }
    text
}

#[test]
fn the_precision_document_lists_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, [before, BEGIN, &lists(), END, after].concat()).unwrap();
        return;
    }
    let hint = format!("{FILE} is not current; `{WRITE}=1 cargo test --test it _document_` writes it anew");
    assert_eq!(found, lists(), "{hint}");
}
