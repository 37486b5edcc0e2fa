//! Kills at every boundary of a step, for each optimizer, with one thread and two.

use super::{Trial, run_all};
use crate::kills::outcome::check_image;
use crate::kills::tracer::{Pace, Side};
use crate::kills::{Boundary, STEPS, sixty_steps, undisturbed};
use crate::work_dir::trainer;
use std::collections::BTreeSet;

const EPOCHS: u64 = 5;

/// What each optimizer is called here, and its settings.
const OPTIMIZERS: &[(&str, &[&str])] = &[
    ("sgd", &["optimizer.kind=sgd"]),
    ("momentum", &["optimizer.kind=sgd", "optimizer.momentum=0.9", "optimizer.dampening=0.1"]),
    ("nesterov", &["optimizer.kind=sgd", "optimizer.momentum=0.9", "optimizer.nesterov=true"]),
    ("adam", &["optimizer.kind=adam"]),
    ("adamw", &["optimizer.kind=adamw"]),
    ("rmsprop", &["optimizer.kind=rmsprop"]),
    ("adagrad", &["optimizer.kind=adagrad"]),
    ("adadelta", &["optimizer.kind=adadelta"]),
    ("nadam", &["optimizer.kind=nadam"]),
    ("radam", &["optimizer.kind=radam"]),
    ("lion", &["optimizer.kind=lion"]),
    ("lamb", &["optimizer.kind=lamb"]),
    ("adafactor", &["optimizer.kind=adafactor"]),
    ("muon", &["optimizer.kind=muon"]),
];

/// That no optimizer of the program is missing here.
fn check_complete() {
    let mut command = trainer(["config", "--set", "optimizer.kind=\"?\""]);
    let refused = crate::work_dir::Ended::of(&mut command).check_code(2).stderr;
    let choices =
        refused.split("one of").nth(1).unwrap_or_else(|| panic!("no list of optimizers in: {refused}"));
    let listed: BTreeSet<&str> = choices.split(';').next().unwrap().split('"').skip(1).step_by(2).collect();
    let kind = |settings: &&[&'static str]| settings[0].trim_start_matches("optimizer.kind=");
    let tried: BTreeSet<&str> = OPTIMIZERS.iter().map(|(_, settings)| kind(settings)).collect();
    assert_eq!(listed, tried, "{refused}");
}

#[test]
#[ignore = "a campaign: scripts/faults/run.sh steps"]
fn steps() {
    check_complete();
    let mut trials = Vec::new();
    let boundaries: Vec<Boundary> = (1..=STEPS)
        .map(Boundary::Step)
        .chain((1..=EPOCHS).map(Boundary::Epoch))
        .chain([Boundary::Finished])
        .collect();
    for (optimizer, settings) in OPTIMIZERS {
        for threads in ["1", "2"] {
            for boundary in &boundaries {
                for side in [Side::Before, Side::Behind] {
                    let name = format!("{optimizer}, {threads} threads, {side:?} {boundary:?}.");
                    let boundary = *boundary;
                    // With all checkpoints until then durable, and with the newest one on its way.
                    let pace = if side == Side::Behind { Pace::InTurn } else { Pace::Free };
                    let settings = [settings, &["--threads", threads][..]].concat();
                    trials.push(Trial::new(name, move |record| {
                        let dir = sixty_steps(&settings);
                        boundary.strike(side, pace, &dir);
                        record.count("kills");
                        record.keep(&dir);
                        let recorded = check_image(&dir.path());
                        if let Boundary::Step(step) = boundary {
                            // Before the record of a step, the step before it is recorded.
                            assert_eq!(
                                recorded,
                                step - u64::from(side == Side::Before),
                                "the last step recorded"
                            );
                        }
                        dir.finish(&[]);
                        undisturbed(&settings).check(&dir);
                    }));
                }
            }
        }
    }
    run_all("steps", trials);
}
