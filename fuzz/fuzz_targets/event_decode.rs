//! Any bytes as records of a training run, and the history that they fold to. The sources are those of `trainer`; the
//! rest of that crate needs ONNX Runtime.
#![no_main]

#[path = "../../src/train/event.rs"]
#[allow(dead_code)]
mod event;
#[path = "../../src/train/history.rs"]
#[allow(dead_code)]
mod history;

use event::Event;
use history::History;

trainer_fuzz::target!(decode);

/// Two bytes of kind and two of length in front of each payload. What decodes has these bytes as its only encoding.
fn decode(mut bytes: &[u8]) {
    let mut history = History::default();
    while let Some((&[kind, unused, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, next) = rest.split_at(length);
        bytes = next;
        let kind = u16::from_le_bytes([kind % 16, unused & 1]);
        let Ok(event) = Event::decode(1, kind, payload) else { continue };
        assert_eq!(event.encode().ok(), Some((kind, payload.to_vec())), "a second encoding was accepted");
        history.add(event);
    }
    let _ = history.to_csv();
}
