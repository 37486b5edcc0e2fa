use super::definition::{Definition, Method};
use super::draw::{Drawn, draw};
use super::plan::{PlanError, SweepPlan};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// A folder with a `sweep.toml`, which is that of a sweep as well.
struct Folder(TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = Self(TempDir::new().unwrap());
        folder.write(text);
        folder
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sweep.toml")
    }

    #[track_caller]
    fn definition(&self) -> Definition {
        Definition::read(&self.path()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn drawn(&self) -> Vec<Drawn> {
        draw(&self.definition(), 1).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn adopt(&self) -> Result<(SweepPlan, usize), PlanError> {
        let definition = self.definition();
        SweepPlan::of(&definition, &self.drawn(), 1)?.adopt(self.0.path(), &definition)
    }

    /// Everything that is wrong, in one text.
    #[track_caller]
    fn mistakes(&self) -> String {
        match Definition::read(&self.path()) {
            Err(error) => error.to_string(),
            Ok(definition) => {
                let problems = draw(&definition, 1).expect_err("nothing is wrong");
                problems.iter().map(|problem| format!("{}\n", problem.words)).collect()
            }
        }
    }
}

fn settings(drawn: &[Drawn]) -> Vec<Vec<String>> {
    let of = |drawn: &Drawn| {
        let settings = drawn.settings.iter();
        settings.map(|varied| format!("{}={}", varied.key, varied.value.literal())).collect()
    };
    drawn.iter().map(of).collect()
}

#[track_caller]
fn check_mistakes(text: &str, words: &[&str]) {
    let said = Folder::with(text).mistakes();
    for word in words {
        assert!(said.contains(word), "{word:?} is not in:\n{said}");
    }
}

#[test]
fn a_grid_has_every_combination_the_last_axis_fastest() {
    let folder = Folder::with(
        "[sweep]\nname = '{size}-{lr}'\n[sweep.space]\nsize = { small = { \"train.batch_size\" = 8 }, large = { \
         train.batch_size = 64 } }\n\"optimizer.lr\" = { min = 0.1, max = 0.3, step = 0.1 }\n",
    );
    let drawn = folder.drawn();
    let names: Vec<&str> = drawn.iter().map(|drawn| drawn.name.as_str()).collect();
    assert_eq!(names, ["small-0.1", "small-0.2", "small-0.3", "large-0.1", "large-0.2", "large-0.3"]);
    assert_eq!(settings(&drawn)[5], ["train.batch_size=64", "optimizer.lr=0.3"]);
    assert_eq!((drawn[5].plan.optimizer.lr, drawn[5].plan.train.batch_size), (0.3, 64));
}

#[test]
fn draws_are_the_same_on_every_rerun_and_more_of_them_leave_the_first_as_they_are() {
    let text = |trials: u64, seed: u64| {
        format!(
            "[sweep]\nmethod = 'random'\ntrials = {trials}\nseed = {seed}\n[sweep.space]\noptimizer.lr = {{ min = 1e-4, max = \
             1e-1, log = true }}\ntrain.batch_size = {{ min = 16, max = 64, step = 16 }}\nseed = {{ min = 0, max = 9 }}\n\
             data.shuffle = [true, false]\n"
        )
    };
    let first = settings(&Folder::with(&text(40, 3)).drawn());
    assert_eq!(first, settings(&Folder::with(&text(40, 3)).drawn()));
    assert_eq!(first[..], settings(&Folder::with(&text(50, 3)).drawn())[..40]);
    assert_ne!(first, settings(&Folder::with(&text(40, 4)).drawn()));
    let lr: Vec<f64> =
        first.iter().map(|trial| trial[0].split_once('=').unwrap().1.parse().unwrap()).collect();
    assert!(lr.iter().all(|lr| (1e-4..=1e-1).contains(lr)));
    // Half of the orders of magnitude lie below 10 to the -2.5.
    let low = lr.iter().filter(|lr| **lr < 3.16e-3).count();
    assert!((10..=30).contains(&low), "{lr:?}");
    let sizes: std::collections::BTreeSet<&str> = first.iter().map(|trial| trial[1].as_str()).collect();
    let expected =
        ["train.batch_size=16", "train.batch_size=32", "train.batch_size=48", "train.batch_size=64"];
    assert!(sizes.iter().eq(&expected), "{sizes:?}");
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_the_nearest_name() {
    check_mistakes(
        "[sweep]\nmetod = 'grid'\nmode = 'up'\n[sweep.space]\n'optimizer.lrr' = [1]\n'train.epochs' = 3\n'seed' = [1, 1]\n\
         x = { min = 1, max = 2 }\n",
        &[
            "6 mistakes",
            "sweep.toml:2: unknown key `sweep.metod`; did you mean `method`?",
            ":3: `mode` is \"up\"",
            ":5: unknown setting `optimizer.lrr`; did you mean `optimizer.lr`?",
            ":6: `train.epochs` has one value",
            ":7: `seed` has 1 twice",
        ],
    );
    check_mistakes("[sweep]\nmethod = 'random'\n[sweep.space]\nseed = [1]\n", &["`trials` is missing"]);
    check_mistakes(
        "[sweep]\nmethod = 'hyperband'\n[sweep.space]\nseed = [1]\n",
        &["expected \"grid\", \"random\""],
    );
    check_mistakes("[train]\nepochs = 3\n", &["no table [sweep]"]);
    check_mistakes("[sweep]\n", &["`sweep.space` is missing"]);
}

#[test]
fn settings_that_no_trial_could_have_are_told_with_the_line_that_gives_them() {
    check_mistakes(
        "[train]\nepochs = 0\n[sweep]\n[sweep.space]\n'train.batch_size' = [0, 8]\nseed = [1, 2]\n",
        &["sweep.toml:5: `train.batch_size` is 0", "sweep.toml:2: `train.epochs` is 0"],
    );
    check_mistakes(
        "[sweep]\nname = 'x'\n[sweep.space]\nseed = [1, 2]\n",
        &["trials 1 and 2 have the same name"],
    );
    check_mistakes(
        "[sweep]\nmetric = 'val_top5'\n[sweep.space]\nseed = [1]\n",
        &["measures no val_top5; add it to `metrics`"],
    );
    check_mistakes("[sweep]\n[sweep.space]\noptimizer.lr = { min = 0.1, max = 1 }\n", &["no grid; add step"]);
    check_mistakes(
        "[sweep]\nmethod = 'halving'\n[sweep.space]\n'train.epochs' = [3, 4]\n",
        &["decides how long a trial is"],
    );
    check_mistakes(
        "[sweep]\n[sweep.space]\nseed = [1]\ntwice = { a = { seed = 2 } }\n",
        &["`seed` varies with `seed` (line 3), too"],
    );
}

#[test]
fn whole_numbers_of_a_range_are_exact_and_stay_in_it() {
    let drawn = |range: &str| -> Vec<i64> {
        let text = format!("[sweep]\nmethod = 'random'\ntrials = 40\n[sweep.space]\nseed = {range}\n");
        let of = |trial: Vec<String>| trial[0].split_once('=').unwrap().1.parse().unwrap();
        settings(&Folder::with(&text).drawn()).into_iter().map(of).collect()
    };
    let seeds = drawn("{ min = 4294967291, max = 4294967295 }");
    assert!(seeds.iter().all(|seed| (4_294_967_291..=4_294_967_295).contains(seed)), "{seeds:?}");
    assert_eq!(seeds.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{seeds:?}");
    let wide = drawn("{ min = 0, max = 9007199254740991 }");
    assert!(wide.iter().filter(|seed| **seed > 1 << 52).count() > 5, "{wide:?}");
    let even = drawn("{ min = 1000000001, max = 1000000009, step = 2, log = false }");
    assert!(even.iter().all(|seed| seed % 2 == 1), "{even:?}");
    check_mistakes(
        "[sweep]\nmethod = 'random'\ntrials = 2\n[sweep.space]\nseed = { min = 0, max = 9007199254740993 }\n",
        &["sweep.toml:5: `seed`: whole numbers of a range go up to 9007199254740991"],
    );
}

#[test]
fn a_range_of_more_steps_than_can_be_counted_is_drawn_from() {
    let text = "[sweep]\nmethod = 'random'\ntrials = 9\n[sweep.space]\noptimizer.lr = { min = 0.0, max = 1e30, step = 1e-3 }\n";
    let drawn = Folder::with(text).drawn();
    assert!(drawn.iter().any(|trial| trial.plan.optimizer.lr > 1.0), "all are the smallest");
}

#[test]
fn mistakes_of_the_space_the_names_and_the_settings_below_are_told_together() {
    check_mistakes(
        "train.epochs = 0\nfoo = 1\n[sweep]\nmetod = 'grid'\n[sweep.space]\nseed = [1]\n",
        &["3 mistakes", "did you mean `method`?", "sweep.toml:1: `train.epochs` is 0", "unknown key `foo`"],
    );
    check_mistakes(
        "train.epochs = 0\n[sweep]\nname = '{sed}'\n[sweep.space]\nseed = [1, 2]\n'train.batch_size' = [0]\n",
        &[
            "did you mean {seed}?",
            "sweep.toml:1: `train.epochs` is 0",
            "sweep.toml:6: `train.batch_size` is 0",
        ],
    );
}

#[test]
fn a_plan_over_a_known_one_keeps_its_numbers_and_a_part_of_it_is_whole() {
    let text = |values: &str| format!("[sweep]\nname = '{{lr}}'\n[sweep.space]\noptimizer.lr = {values}\n");
    let folder = Folder::with(&text("[0.1, 0.2]"));
    let (known, _) = folder.adopt().unwrap();
    folder.write(&text("[0.05, 0.1, 0.2]"));
    let made = SweepPlan::of(&folder.definition(), &folder.drawn(), 1).unwrap();
    let plan = made.over(known, &folder.definition()).unwrap();
    let of = |plan: &SweepPlan| -> Vec<(u64, String)> {
        plan.trials.iter().map(|trial| (trial.number, trial.name.clone())).collect()
    };
    assert_eq!(of(&plan), [(1, "0.1".to_owned()), (2, "0.2".to_owned()), (3, "0.05".to_owned())]);
    let part = plan.with_only(|trial| trial.number == 3);
    fs::write(folder.0.path().join("plan.json"), serde_json::to_vec(&part).unwrap()).unwrap();
    assert_eq!(SweepPlan::read(folder.0.path()).unwrap(), Some(part));
}

#[test]
fn a_plan_is_found_again_and_grows_but_never_changes() {
    let text = |epochs: u64, values: &str| {
        format!(
            "[train]\nepochs = {epochs}\n[sweep]\nname = '{{lr}}'\n[sweep.space]\noptimizer.lr = {values}\n"
        )
    };
    let folder = Folder::with(&text(3, "[0.1, 0.2]"));
    let (first, _) = folder.adopt().unwrap();
    let bytes = fs::read(folder.0.path().join("plan.json")).unwrap();
    assert_eq!(folder.adopt().unwrap(), (first.clone(), 0));
    assert_eq!(fs::read(folder.0.path().join("plan.json")).unwrap(), bytes);

    folder.write(&text(3, "[0.05, 0.1, 0.2]"));
    let (grown, added) = folder.adopt().unwrap();
    let names: Vec<&str> = grown.trials.iter().map(|trial| trial.name.as_str()).collect();
    assert_eq!((names.as_slice(), added), (&["0.1", "0.2", "0.05"][..], 1));
    assert_eq!(folder.adopt().unwrap(), (grown, 0));

    folder.write(&text(4, "[0.05, 0.2]"));
    let error = folder.adopt().unwrap_err().to_string();
    for words in ["train.epochs: 3 -> 4", "trial 1 (0.1) is gone: optimizer.lr = 0.1"] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_plan_that_was_changed_by_hand_is_refused() {
    let folder = Folder::with("[sweep]\n[sweep.space]\nseed = [1, 2]\n");
    folder.adopt().unwrap();
    let path = folder.0.path().join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("seed = 2", "seed = 3")).unwrap();
    assert!(matches!(folder.adopt(), Err(PlanError::Damaged { .. })));
    fs::write(&path, text.replace("\"format\": 1", "\"format\": 7")).unwrap();
    assert!(matches!(folder.adopt(), Err(PlanError::Version { found: 7, .. })));
    fs::write(&path, "{").unwrap();
    assert!(matches!(folder.adopt(), Err(PlanError::Damaged { .. })));
}

#[test]
fn a_halving_takes_no_more_trials_and_the_base_may_be_a_file_of_its_own() {
    let folder = Folder::with("");
    fs::write(folder.0.path().join("base.toml"), "train.epochs = 9\n").unwrap();
    let text = |seeds: &str| {
        format!(
            "[sweep]\nmethod = 'halving'\nbase = 'base.toml'\nname = '{{seed}}'\n[sweep.space]\nseed = {seeds}\n"
        )
    };
    folder.write(&text("[1, 2]"));
    let (plan, _) = folder.adopt().unwrap();
    assert_eq!(folder.definition().method, Method::Halving { trials: None, min_epochs: 1, factor: 3 });
    assert_eq!((plan.min_epochs, plan.factor, folder.drawn()[0].plan.train.epochs), (Some(1), Some(3), 9));
    folder.write(&text("[1, 2, 3]"));
    assert!(folder.adopt().unwrap_err().to_string().contains("taken part in the first rung"));
    check_mistakes(
        "[train]\nepochs = 1\n[sweep]\nbase = 'other.toml'\n[sweep.space]\nseed = [1]\n",
        &["`train` and `sweep.base` exclude each other"],
    );
}
