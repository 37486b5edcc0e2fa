//! Errors of the system at every system call with which a run changes its files.

use super::{Record, Trial, run_all};
use crate::kills::calls::Effect;
use crate::kills::outcome::check_image;
use crate::kills::tracer::REWRITES;
use crate::kills::{Aim, At, Blow, Made, Struck, calls_of, sixty_steps, undisturbed};
use std::path::PathBuf;

const ERRORS: [(&str, i32); 4] =
    [("EIO", libc::EIO), ("ENOSPC", libc::ENOSPC), ("EDQUOT", libc::EDQUOT), ("EROFS", libc::EROFS)];

/// Lets a call fail. The run goes on as if nothing were, or ends with the code of storage and names the file; when the
/// obstacle is gone, the same command finishes with the same bytes.
fn check(aim: &Aim, record: &Record) {
    let dir = sixty_steps(&[]);
    let Some(Struck { point, ended }) = aim.strike(&dir, &[]) else {
        return record.count("calls that did not come");
    };
    record.struck(point.clone());
    record.keep(&dir);
    check_image(&dir.path());
    match ended.code {
        Some(0) => record.count("overcome"),
        Some(74) => {
            record.count("ended with 74");
            // A path that ends the work directory's own has a separator behind it.
            let path: PathBuf = dir.path().join(&point.path).components().collect();
            let name = path.to_str().unwrap().trim_end_matches(".tmp");
            assert!(ended.stderr.contains(name), "{name} is not named: {}", ended.stderr);
        }
        _ => panic!("{ended:?}"),
    }
    dir.finish(&[]);
    undisturbed(&[]).check(&dir);
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh errors"]
fn errors() {
    if !REWRITES {
        return println!("not tested: system calls can not be rewritten on this architecture");
    }
    let all = calls_of(&sixty_steps(&[]), &[]).into_iter().filter(|made| made.effect != Effect::Looks);
    let trials = all.enumerate().map(|(index, Made { point, ordinal, .. })| {
        // One error a call, in turn: what is done about it does not depend on which it is.
        let (name, errno) = ERRORS[index % ERRORS.len()];
        let aim = Aim { at: At::Nth { thread: point.thread, ordinal }, blow: Blow::Fail(errno) };
        Trial::new(format!("{name} {aim}"), move |record| check(&aim, record))
    });
    run_all("errors", trials.collect());
}
