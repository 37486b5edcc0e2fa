//! The name of a run: what `--run-id` gives it, or the beginning of its identity.

use super::Failure;
use crate::cli::exit::Exit;
use crate::report::progress::Progress;
use crate::train::event::{Event, RunNamed};
use crate::train::history::History;
use crate::train::keeper::Keeper;
use trainer_runtime::RunId;

/// Most characters of a name.
const MAX_CHARACTERS: usize = 64;

/// Hexadecimal digits of the identity that a run without a name is called by.
const SHORT_DIGITS: usize = 4;

/// What messages call the run.
pub(super) fn of_run(history: &History, run_id: RunId) -> String {
    let digits: String = run_id.to_string().chars().take(SHORT_DIGITS).collect();
    history.name.clone().unwrap_or_else(|| format!("r-{digits}"))
}

/// The name that a command line or environment gives, with what no name may have replaced; `None` if it gives none.
pub(super) fn given(text: Option<&str>, progress: &Progress) -> Result<Option<String>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let length = text.chars().count();
    if length > MAX_CHARACTERS {
        let message =
            format!("--run-id has {length} characters, at most {MAX_CHARACTERS} are allowed; shorten it");
        return Err(Failure::new(Exit::Usage, message));
    }
    let name = cleaned(text);
    if name != text {
        progress.line(&format!(
            "the run is called `{name}`, for `{text}` has other characters than A-Z a-z 0-9 . _ -"
        ));
    }
    Ok(Some(name))
}

fn cleaned(text: &str) -> String {
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    text.chars().map(|letter| if is_allowed(letter) { letter } else { '-' }).collect()
}

/// Refuses a name that is not the one that the run has.
pub(super) fn check(history: &History, given: Option<&str>) -> Result<(), Failure> {
    match (&history.name, given) {
        (Some(recorded), Some(given)) if recorded != given => Err(Failure::new(
            Exit::Changed,
            format!(
                "this run is called `{recorded}` and not `{given}`; leave out --run-id, or use another --work-dir"
            ),
        )),
        _ => Ok(()),
    }
}

/// Records the name of a run that has none yet.
pub(super) fn record(keeper: &mut Keeper, given: Option<String>) -> Result<(), Failure> {
    match given {
        Some(name) if keeper.history.name.is_none() => Ok(keeper.record(Event::RunNamed(RunNamed { name }))?),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{cleaned, of_run};
    use crate::train::history::History;
    use trainer_runtime::RunId;

    #[test]
    fn what_no_name_may_have_becomes_a_dash() {
        assert_eq!(cleaned("vgg11/320 ü:é_1.0-b"), "vgg11-320----_1.0-b");
    }

    #[test]
    fn a_run_without_a_name_is_called_by_its_first_digits() {
        let mut history = History::default();
        let id = RunId([0x7f, 0x3a, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(of_run(&history, id), "r-7f3a");
        history.name = Some("digits".to_owned());
        assert_eq!(of_run(&history, id), "digits");
    }
}
