//! `--keep-only`: cleaning up after a run that is finished.

use super::args::Kept;
use super::finish::print_result;
use crate::cli::exit::Exit;
use crate::cli::failure::{Failure, fail};
use crate::train::keeper::Keeper;
use trainer_runtime::checkpoint::Link;
use trainer_runtime::keeper::{Cleaned, KeepOnlyError};

/// Removes all checkpoints but these, if some are named, and says what was removed.
pub(super) fn clean(keeper: &mut Keeper, kept: &[Kept]) -> Result<(), Failure> {
    if kept.is_empty() {
        return Ok(());
    }
    let links: Vec<Link> = kept.iter().map(|kept| kept.link()).collect();
    let cleaned = keeper.keep_only(&links).map_err(|error| match &error {
        KeepOnlyError::NotGood { .. } => fail(Exit::Damaged)(error),
        _ => fail(Exit::StorageFailed)(error),
    })?;
    print_result(&said(&cleaned))
}

fn said(cleaned: &Cleaned) -> String {
    let kept = cleaned.kept.iter().map(|(link, name)| {
        let link = link.to_string();
        format!("{} ({name})", link.trim_end_matches(".safetensors"))
    });
    let kept = kept.collect::<Vec<_>>().join(", ");
    let removed = if cleaned.dropped.is_empty() {
        "nothing else was there".to_owned()
    } else {
        let names: Vec<String> = cleaned.dropped.iter().map(|entry| entry.name.to_string()).collect();
        format!(
            "removed {}, {} bytes: {}",
            super::counted(names.len() as u64, "checkpoint"),
            cleaned.freed_bytes(),
            names.join(", ")
        )
    };
    format!("kept {kept}, checksums ok; {removed}")
}
