//! Names of trials, which are their folders below that of the sweep.

use super::definition::{Axis, Problem, nearest};

/// What a sweep has beside its trials.
const RESERVED: [&str; 4] = ["plan.json", "claims", "rungs", "lock"];

/// Most bytes of one part of a name; the usual file systems take 255.
const PART_BYTES: usize = 200;

/// A pattern such as `{model}/{resolution}`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number,
    Axis(usize),
}

impl NamePattern {
    /// Reads a pattern whose placeholders are `{trial}`, the axes, and the last parts of their names.
    ///
    /// # Errors
    /// With all placeholders that mean nothing or more than one thing.
    pub fn parse(pattern: &str, axes: &[Axis]) -> Result<Self, Vec<Problem>> {
        let (mut pieces, mut problems) = (Vec::new(), Vec::new());
        let mut rest = pattern;
        while let Some((text, after)) = rest.split_once('{') {
            pieces.push(Piece::Text(text.to_owned()));
            let Some((word, next)) = after.split_once('}') else {
                problems.push(Problem::nowhere(format!("`sweep.name` is \"{pattern}\": a {{ has no }}")));
                return Err(problems);
            };
            match piece(word, axes) {
                Ok(piece) => pieces.push(piece),
                Err(words) => {
                    problems.push(Problem::nowhere(format!("`sweep.name` is \"{pattern}\": {words}")))
                }
            }
            rest = next;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        if problems.is_empty() { Ok(Self { pieces }) } else { Err(problems) }
    }

    /// The name of a trial whose axes have these labels, in their order.
    ///
    /// # Errors
    /// If it is no name of a folder below the sweep's, with the reason and the remedy.
    pub fn name(&self, number: u64, labels: &[&str]) -> Result<String, String> {
        let texts = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Number => format!("{number:04}"),
            Piece::Axis(axis) => labels.get(*axis).copied().map(as_part).unwrap_or_default(),
        });
        let name: String = texts.collect();
        let parts: Vec<&str> = name.split('/').collect();
        let wrong =
            |part: &&&str| part.is_empty() || part.starts_with('.') || part.contains(['\\', '\0', '\n']);
        if let Some(part) = parts.iter().find(wrong) {
            return Err(format!(
                "the name of trial {number} is \"{name}\", of which \"{part}\" is no name of a folder; change `sweep.name`"
            ));
        }
        if let Some(part) = parts.iter().find(|part| part.len() > PART_BYTES) {
            return Err(format!(
                "the name of trial {number} has a part of {} bytes, more than {PART_BYTES}; use {{trial}} in \
                                `sweep.name`",
                part.len()
            ));
        }
        match parts.first() {
            Some(first) if RESERVED.contains(first) => Err(format!(
                "the name of trial {number} is \"{name}\", and `{first}` is the sweep's own; change `sweep.name`"
            )),
            _ => Ok(name),
        }
    }
}

fn piece(word: &str, axes: &[Axis]) -> Result<Piece, String> {
    if word == "trial" {
        return Ok(Piece::Number);
    }
    if let Some(axis) = axes.iter().position(|axis| axis.name == word) {
        return Ok(Piece::Axis(axis));
    }
    let of_leaf: Vec<usize> = axes
        .iter()
        .enumerate()
        .filter(|(_, axis)| leaf(&axis.name) == word)
        .map(|(index, _)| index)
        .collect();
    match of_leaf.as_slice() {
        [only] => Ok(Piece::Axis(*only)),
        [] => {
            let known: Vec<&str> = axes.iter().map(|axis| axis.name.as_str()).chain(["trial"]).collect();
            let leaves: Vec<&str> = axes.iter().map(|axis| leaf(&axis.name)).chain(["trial"]).collect();
            let near = nearest(word, &known).or_else(|| nearest(word, &leaves));
            let remedy = near.map_or(format!("there are {{{}}}", known.join("}, {")), |near| {
                format!("did you mean {{{near}}}?")
            });
            Err(format!("{{{word}}} is nothing that varies; {remedy}"))
        }
        _ => Err(format!("{{{word}}} is the end of several settings that vary; write the whole key")),
    }
}

/// The last part of the name of an axis.
#[must_use]
pub fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A label as a part of a path: what could be one of several parts, or is awkward in shells, becomes `-`.
fn as_part(label: &str) -> String {
    let safe = |letter: char| letter.is_alphanumeric() || "._-+=,@".contains(letter);
    label.chars().map(|letter| if safe(letter) { letter } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::NamePattern;
    use crate::sweep::definition::{Axis, Span};

    fn axes() -> Vec<Axis> {
        let axis = |name: &str| Axis { name: name.to_owned(), span: Span::Choices(Vec::new()), line: 1 };
        vec![axis("model"), axis("optimizer.lr"), axis("train.batch_size")]
    }

    #[track_caller]
    fn check(pattern: &str, expected: Result<&str, &str>) {
        let made = NamePattern::parse(pattern, &axes())
            .map_err(|problems| problems[0].words.clone())
            .and_then(|pattern| pattern.name(7, &["a/b c", "0.001", "64"]));
        match (made, expected) {
            (Ok(made), Ok(expected)) => assert_eq!(made, expected),
            (Err(made), Err(words)) => assert!(made.contains(words), "{made}"),
            (made, expected) => panic!("{made:?}, not {expected:?}"),
        }
    }

    #[test]
    fn placeholders_are_axes_their_last_parts_and_the_number() {
        check("{model}/lr={lr}", Ok("a-b-c/lr=0.001"));
        check("{optimizer.lr}-{train.batch_size}_{trial}", Ok("0.001-64_0007"));
    }

    #[test]
    fn names_that_lead_elsewhere_or_hide_what_is_the_sweeps_are_refused() {
        check("../{model}", Err("no name of a folder"));
        check("/{model}", Err("no name of a folder"));
        check("claims/{trial}", Err("the sweep's own"));
        check("{modle}", Err("did you mean {model}?"));
        check("{modl", Err("a { has no }"));
        check("{resolution}", Err("{model}, {optimizer.lr}, {train.batch_size}, {trial}"));
    }
}
