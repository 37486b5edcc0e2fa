//! Records and back.

use super::{Event, EventError, Finished, HistoryLost, StepDone};

#[test]
fn an_event_comes_back_as_it_was() {
    let step = StepDone {
        step: 7,
        epoch: 2,
        batch: 3,
        loss_bits: 0x3f80_0000,
        lr: 0.1,
        gradient_norm: 2.5,
        examples: 64,
        digest: None,
    };
    let lost = HistoryLost { run_id: "0f".to_owned(), checkpoint: "c".to_owned(), step: 3 };
    for event in [
        Event::StepDone(step),
        Event::HistoryLost(lost),
        Event::Finished(Finished { step: 9, epoch: 3, reason: "done".to_owned() }),
    ] {
        let (kind, payload) = event.encode().unwrap();
        assert_eq!(Event::decode(1, kind, &payload).unwrap(), event);
    }
}

#[test]
fn an_unknown_kind_and_a_short_payload_are_refused() {
    assert!(matches!(Event::decode(5, 999, &[]), Err(EventError::UnknownKind { sequence: 5, kind: 999 })));
    assert!(matches!(Event::decode(6, 4, &[1]), Err(EventError::Payload { sequence: 6, kind: 4, .. })));
}
