//! Records for tests.

use super::History;
use crate::train::event::{Environment, EpochDone, Event, Resumed, Sampled, StepDone};

/// A history in its first attempt.
pub(crate) fn begun() -> History {
    History { attempts: 1, ..History::default() }
}

/// An update; its loss is 1 over its number.
pub(crate) fn step(number: u64) -> Event {
    let (lr, gradient_norm) = (0.1, 1.0);
    Event::StepDone(StepDone {
        step: number,
        epoch: 1,
        batch: number - 1,
        loss_bits: (1.0 / number as f32).to_bits(),
        lr,
        gradient_norm,
        examples: 4,
        digest: None,
    })
}

/// The end of an epoch of ten steps.
pub(crate) fn epoch(number: u64, loss: f64) -> Event {
    Event::EpochDone(EpochDone {
        epoch: number,
        step: number * 10,
        lr: 0.001,
        train_loss: loss,
        validation: vec![("val_loss".to_owned(), loss / 2.0)],
        is_best: true,
        seconds: 1.25,
        attempt: 1,
    })
}

/// A new attempt, in epoch 2.
pub(crate) fn attempt(attempt: u64, step: u64, discards_later: bool) -> Event {
    let environment = Environment {
        program: String::new(),
        onnxruntime: String::new(),
        device: "cpu".to_owned(),
        threads: 1,
    };
    let (epoch, batch, checkpoint) = (2, 0, None);
    Event::Resumed(Resumed { attempt, step, epoch, batch, checkpoint, environment, discards_later })
}

/// A reading of the clock.
pub(crate) fn sample(unix_ms: u64, step: u64) -> Event {
    Event::Sampled(Sampled { unix_ms, step, resident_bytes: 100_000_000 + step })
}
