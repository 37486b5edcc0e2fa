//! The records of a run from bytes that fuzzing found interesting.

use std::fs;
use std::path::Path;

use trainer::train::event::Event;
use trainer::train::history::History;

/// The events in an input of the fuzz target `event_decode`, which says how they are laid out.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some((&[kind, high_kind, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, next) = rest.split_at(length);
        bytes = next;
        let kind = u16::from_le_bytes([kind % 32, high_kind & 1]);
        events.extend(Event::decode(1, kind, payload));
    }
    events
}

#[test]
fn whatever_records_say_they_can_be_folded_to_a_history_and_printed() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/event_decode");
    let mut found = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        let mut history = History::default();
        for event in events(&bytes) {
            found += 1;
            assert!(!format!("{event:?}").is_empty());
            history.add(event);
        }
        assert!(history.to_csv().ends_with('\n'));
        assert!(history.last_step() == 0 || !history.steps.is_empty());
    }
    assert!(found > 10, "the corpus has {found} events");
}
