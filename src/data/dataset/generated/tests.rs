use std::path::{Path, PathBuf};

use crate::config::{ArrayMap, DataPlan, DataSource, TokenType, TokensPlan};
use crate::data::fixtures::{Folder, map, npy, npy_f32, plan};
use crate::data::{Dataset, Dtype, Feed, HostArray, Loader, OpenError, Role, Split, Values};

fn tokens(train: &str, window: usize) -> TokensPlan {
    let (dtype, windows_per_epoch) = (TokenType::U16, None);
    TokensPlan { train: PathBuf::from(train), validation: None, dtype, window, windows_per_epoch }
}

fn of_tokens(tokens: TokensPlan) -> DataPlan {
    plan(DataSource::Tokens(tokens), map(None), map(None))
}

/// The numbers from 0 as 16-bit tokens, so that each says where it stands.
fn counting(count: u16) -> Vec<u8> {
    (0..count).flat_map(u16::to_le_bytes).collect()
}

fn loader(split: &Split) -> Loader {
    let feed = |role, name: &str| Feed { role, name: name.to_owned(), dtype: Dtype::I64, shape: None };
    Loader::bind(split, &[feed(Role::Input, "x"), feed(Role::Target, "y")]).unwrap()
}

fn integers(array: &HostArray) -> &[i64] {
    match &array.values {
        Values::I64(values) => values,
        other => panic!("{other:?}"),
    }
}

/// The first token of each window of an epoch; inputs and targets are checked to be the text from there on.
#[track_caller]
fn starts(split: &Split, epoch: u64, window: usize) -> Vec<i64> {
    let loader = loader(split);
    let examples: Vec<usize> = (0..loader.len()).collect();
    let mut arrays = Vec::new();
    loader.load(epoch, &examples, &mut arrays).unwrap();
    assert_eq!(arrays[0].shape, [examples.len(), window]);
    let windows = integers(&arrays[0]).chunks(window).zip(integers(&arrays[1]).chunks(window));
    windows
        .map(|(input, target)| {
            let first = input[0];
            let text: Vec<i64> = (first..=first + window as i64).collect();
            assert_eq!((input, target), (&text[..window], &text[1..]));
            first
        })
        .collect()
}

fn open(folder: &Folder, plan: &DataPlan, seed: u64) -> Result<Dataset, OpenError> {
    Dataset::open(plan, seed, folder.path())
}

#[test]
fn windows_are_drawn_anew_in_each_epoch_by_the_seed() {
    let folder = Folder::new();
    folder.write("train.bin", counting(1000));
    let plan = of_tokens(tokens("train.bin", 10));
    let data = open(&folder, &plan, 7).unwrap();
    assert_eq!(data.train().len(), 99);
    let first = starts(data.train(), 1, 10);
    assert_eq!(first, starts(open(&folder, &plan, 7).unwrap().train(), 1, 10));
    assert_ne!(first, starts(data.train(), 2, 10));
    assert_ne!(first, starts(open(&folder, &plan, 8).unwrap().train(), 1, 10));
    assert!(first.iter().any(|start| start % 10 != 0), "{first:?}");
    let all: Vec<i64> = (1..=60).flat_map(|epoch| starts(data.train(), epoch, 10)).collect();
    assert_eq!((all.iter().min(), all.iter().max()), (Some(&0), Some(&989)), "every place is reached");
}

#[test]
fn without_shuffling_windows_stand_one_behind_the_other() {
    let folder = Folder::new();
    folder.write("train.bin", counting(35));
    let plan = DataPlan { shuffle: false, ..of_tokens(tokens("train.bin", 10)) };
    let data = open(&folder, &plan, 7).unwrap();
    assert_eq!(starts(data.train(), 1, 10), [0, 10, 20]);
    let more = TokensPlan { windows_per_epoch: Some(5), ..tokens("train.bin", 10) };
    let plan = DataPlan { shuffle: false, ..of_tokens(more) };
    assert_eq!(starts(open(&folder, &plan, 7).unwrap().train(), 3, 10), [0, 10, 20, 5, 15]);
}

#[test]
fn validation_windows_are_those_of_their_file_or_of_the_end_of_the_training_file() {
    let folder = Folder::new();
    folder.write("train.bin", counting(100));
    folder.write("val.bin", counting(21));
    let own = TokensPlan { validation: Some("val.bin".into()), ..tokens("train.bin", 10) };
    let data = open(&folder, &of_tokens(own), 1).unwrap();
    assert_eq!(starts(data.validation().unwrap(), 1, 10), [0, 10]);
    assert_eq!(data.lock().files.len(), 2);
    let plan = DataPlan { validation_fraction: Some(0.3), ..of_tokens(tokens("train.bin", 10)) };
    let data = open(&folder, &plan, 1).unwrap();
    assert_eq!(starts(data.validation().unwrap(), 1, 10), [70, 80]);
    let trained: Vec<i64> = (1..50).flat_map(|epoch| starts(data.train(), epoch, 10)).collect();
    assert!(trained.iter().all(|start| start + 10 < 70), "no window reaches into the validation tokens");
}

#[test]
fn tokens_are_read_from_every_form_of_file() {
    let folder = Folder::new();
    let wide: Vec<u8> = (0..50_u32).flat_map(u32::to_le_bytes).collect();
    folder.write("u16.npy", npy("<u2", "(50,)", &counting(50)));
    folder.write("u32.npy", npy("<u4", "(50,)", &wide));
    folder.write("u32.bin", &wide);
    for (name, dtype) in
        [("u16.npy", TokenType::U16), ("u32.npy", TokenType::U16), ("u32.bin", TokenType::U32)]
    {
        let plan = of_tokens(TokensPlan { dtype, ..tokens(name, 8) });
        let data = open(&folder, &plan, 3).unwrap();
        starts(data.train(), 1, 8);
        assert_eq!(data.largest_label("y"), Some(49), "{name}: the last token is a target");
        assert!(data.holds_label("y", 1) && !data.holds_label("y", 50));
    }
}

#[test]
fn tokens_that_can_not_be_windows_are_refused() {
    let folder = Folder::new();
    folder.write("short.bin", counting(10));
    folder.write("odd.bin", [0_u8; 21]);
    folder.write("floats.npy", npy_f32("(30,)", &[0.0; 30]));
    folder.write("table.npy", npy("<u2", "(10, 3)", &[0; 60]));
    let refusal = |name: &str| open(&folder, &of_tokens(tokens(name, 10)), 1).unwrap_err().to_string();
    assert!(refusal("short.bin").contains("has 10 tokens for this split, expected more than the 10"));
    assert!(refusal("odd.bin").contains("takes 20 bytes, found 21"), "{}", refusal("odd.bin"));
    assert!(refusal("floats.npy").contains("holds float32"));
    assert!(refusal("table.npy").contains("expected one axis"));
    assert!(refusal("none.bin").contains("can not open"));
    let wrong = ArrayMap::stored(Some("images"));
    let plan = plan(DataSource::Tokens(tokens("short.bin", 4)), wrong, map(None));
    let error = Dataset::open(&plan, 1, Path::new(folder.path())).unwrap_err().to_string();
    assert!(error.contains("`images`") && error.contains("`tokens` or `next`"), "{error}");
}
