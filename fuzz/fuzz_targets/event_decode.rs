//! Any bytes as records of a training run. The source is that of `trainer`; the rest of that crate needs ONNX Runtime.
//! What the records fold to is tested over this target's corpus, in `tests/it/records.rs`.
#![no_main]

#[path = "../../src/train/best_epoch.rs"]
#[allow(dead_code)]
mod best_epoch;
#[path = "../../src/train/event.rs"]
#[allow(dead_code)]
mod event;
#[path = "../../src/train/lineage.rs"]
#[allow(dead_code)]
mod lineage;
#[path = "../../src/train/shortage.rs"]
#[allow(dead_code)]
mod shortage;
#[path = "../../src/train/step_done.rs"]
#[allow(dead_code)]
mod step_done;

use event::Event;

trainer_fuzz::target!(decode);

/// Two bytes of kind and two of length in front of each payload. What decodes has these bytes as its only encoding.
fn decode(mut bytes: &[u8]) {
    while let Some((&[kind, high_kind, low, high], rest)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, next) = rest.split_at(length);
        bytes = next;
        let kind = u16::from_le_bytes([kind % 32, high_kind & 1]);
        let Ok(event) = Event::decode(1, kind, payload) else { continue };
        assert_eq!(event.encode().ok(), Some((kind, payload.to_vec())), "a second encoding was accepted");
    }
}
