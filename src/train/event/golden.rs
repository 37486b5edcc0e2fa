//! The bytes of a record of each kind, as version 1 of the format has them: a change here is a change of the format.
//!
//! Each line of hexadecimal digits was written after docs/formats.md, field by field, and not by this program.

use super::{
    BranchCut, CheckpointDropped, CheckpointDurable, EarlyStopped, Environment, EpochDone, Event, Finished,
    HistoryLost, InputsChanged, LossScaleChanged, MemoryPressure, MicroBatchChanged, OutOfMemory,
    PlanChanged, Resumed, RunNamed, RunStarted, Sampled, SignalReceived, StepDone, StepRefused, Stopped,
    WorkerDied,
};
use crate::train::best::Best;

fn text(text: &str) -> String {
    text.to_owned()
}

fn environment() -> Environment {
    Environment { program: text("0.1.0"), onnxruntime: text("1.31.1"), device: text("cuda:0"), threads: 8 }
}

fn golden() -> Vec<(u16, Event, &'static str)> {
    [runs(), steps(), ends(), memory(), lineage()].concat()
}

fn runs() -> Vec<(u16, Event, &'static str)> {
    vec![
        (
            1,
            Event::RunStarted(RunStarted {
                settings: text("seed = 7\n"),
                environment: environment(),
                data_lock: text("{\"a\":1}"),
                model_crc32: 0xdead_beef,
            }),
            "0900000000000000 73656564203d20370a 0500000000000000 302e312e30 0600000000000000 \
             312e33312e31 0600000000000000 637564613a30 0800000000000000 0700000000000000 \
             7b2261223a317d efbeadde",
        ),
        (
            2,
            Event::Resumed(Resumed {
                attempt: 2,
                step: 1200,
                epoch: 4,
                batch: 17,
                checkpoint: Some(text("step-00001200.safetensors")),
                environment: environment(),
                discards_later: true,
            }),
            "0200000000000000 b004000000000000 0400000000000000 1100000000000000 01 1900000000000000 \
             737465702d30303030313230302e7361666574656e736f7273 0500000000000000 302e312e30 \
             0600000000000000 312e33312e31 0600000000000000 637564613a30 0800000000000000 01",
        ),
        (
            3,
            Event::PlanChanged(PlanChanged {
                settings: text("seed = 8\n"),
                changes: vec![text("seed: 7 -> 8"), text("ü")],
            }),
            "0900000000000000 73656564203d20380a 0200000000000000 0c00000000000000 \
             736565643a2037202d3e2038 0200000000000000 c3bc",
        ),
        (
            12,
            Event::InputsChanged(InputsChanged {
                data_lock: text("{\"a\":2}"),
                model_crc32: 1,
                changes: vec![text("a.npz: CRC-32")],
            }),
            "0700000000000000 7b2261223a327d 01000000 0100000000000000 0d00000000000000 \
             612e6e707a3a204352432d3332",
        ),
    ]
}

fn steps() -> Vec<(u16, Event, &'static str)> {
    vec![
        (
            4,
            Event::StepDone(StepDone {
                step: 1201,
                epoch: 4,
                batch: 17,
                loss_bits: 0x3f80_0000,
                lr: 0.001,
                gradient_norm: 2.5,
                examples: 64,
                digest: None,
            }),
            "b104000000000000 0400000000000000 1100000000000000 0000803f fca9f1d24d62503f \
             0000000000000440 4000000000000000",
        ),
        (
            18,
            Event::StepDone(StepDone {
                step: 1300,
                epoch: 4,
                batch: 116,
                loss_bits: 0x3f80_0000,
                lr: 0.001,
                gradient_norm: 2.5,
                examples: 64,
                digest: Some(0x0102_0304_0506_0708),
            }),
            "1405000000000000 0400000000000000 7400000000000000 0000803f fca9f1d24d62503f \
             0000000000000440 4000000000000000 0807060504030201",
        ),
        (
            5,
            Event::StepRefused(StepRefused {
                epoch: 4,
                batch: 18,
                loss_bits: f32::NAN.to_bits(),
                gradient_norm: f64::INFINITY,
            }),
            "0400000000000000 1200000000000000 0000c07f 000000000000f07f",
        ),
        (
            20,
            Event::LossScaleChanged(LossScaleChanged { epoch: 4, batch: 19, from: 65_536.0, to: 32_768.0 }),
            "0400000000000000 1300000000000000 00008047 00000047",
        ),
        (
            6,
            Event::EpochDone(EpochDone {
                epoch: 4,
                step: 1600,
                lr: 0.001,
                train_loss: 0.25,
                validation: vec![(text("val_loss"), 0.5), (text("val_accuracy"), 1.0)],
                is_best: true,
                seconds: 1.25,
                attempt: 2,
            }),
            "0400000000000000 4006000000000000 fca9f1d24d62503f 000000000000d03f 0200000000000000 \
             0800000000000000 76616c5f6c6f7373 000000000000e03f 0c00000000000000 \
             76616c5f6163637572616379 000000000000f03f 01 000000000000f43f 0200000000000000",
        ),
        (
            7,
            Event::CheckpointDurable(CheckpointDurable {
                name: text("epoch-0004-step-00001600.safetensors"),
                step: 1600,
                len_bytes: 123_456,
                digest: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
            }),
            "2400000000000000 \
             65706f63682d303030342d737465702d30303030313630302e7361666574656e736f7273 \
             4006000000000000 40e2010000000000 000102030405060708090a0b0c0d0e0f",
        ),
        (
            8,
            Event::CheckpointDropped(CheckpointDropped { name: text("step-00001200.safetensors") }),
            "1900000000000000 737465702d30303030313230302e7361666574656e736f7273",
        ),
    ]
}

fn ends() -> Vec<(u16, Event, &'static str)> {
    vec![
        (
            9,
            Event::SignalReceived(SignalReceived { signal: text("SIGTERM"), step: 1601 }),
            "0700000000000000 5349475445524d 4106000000000000",
        ),
        (
            10,
            Event::EarlyStopped(EarlyStopped {
                epoch: 9,
                monitor: text("val_loss"),
                epochs_without_improvement: 5,
            }),
            "0900000000000000 0800000000000000 76616c5f6c6f7373 0500000000000000",
        ),
        (
            11,
            Event::Finished(Finished { step: 3600, epoch: 9, reason: text("stopped early") }),
            "100e000000000000 0900000000000000 0d00000000000000 73746f70706564206561726c79",
        ),
        (
            13,
            Event::Stopped(Stopped { reason: text("its time was over"), step: 1601 }),
            "1100000000000000 6974732074696d6520776173206f766572 4106000000000000",
        ),
        (
            19,
            Event::HistoryLost(HistoryLost {
                run_id: text("0f"),
                checkpoint: text("step-00001200.safetensors"),
                step: 1200,
            }),
            "0200000000000000 3066 1900000000000000 737465702d30303030313230302e7361666574656e736f7273 \
             b004000000000000",
        ),
    ]
}

fn memory() -> Vec<(u16, Event, &'static str)> {
    vec![
        (
            14,
            Event::OutOfMemory(OutOfMemory {
                step: 12,
                epoch: 2,
                batch: 3,
                micro_batch: 32,
                requested_bytes: Some(123_456),
                message: text("computing gradients: no"),
            }),
            "0c00000000000000 0200000000000000 0300000000000000 2000000000000000 01 40e2010000000000 \
             1700000000000000 636f6d707574696e67206772616469656e74733a206e6f",
        ),
        (
            15,
            Event::MicroBatchChanged(MicroBatchChanged {
                step: 12,
                epoch: 2,
                batch: 3,
                micro_batch: 16,
                eval_batch: 64,
                reason: text("memory ran out"),
            }),
            "0c00000000000000 0200000000000000 0300000000000000 1000000000000000 4000000000000000 \
             0e00000000000000 6d656d6f72792072616e206f7574",
        ),
        (
            16,
            Event::WorkerDied(WorkerDied {
                cause: text("was killed by SIGKILL"),
                signal: Some(9),
                exit_code: None,
                oom_kills: 1,
            }),
            "1500000000000000 776173206b696c6c6564206279205349474b494c4c 01 09000000 00 0100000000000000",
        ),
        (
            17,
            Event::MemoryPressure(MemoryPressure {
                step: 12,
                scope: text("machine"),
                used_bytes: 950,
                limit_bytes: 1000,
                growth_bytes_per_s: 2.5,
                reason: text("nearly all of it is used"),
            }),
            "0c00000000000000 0700000000000000 6d616368696e65 b603000000000000 e803000000000000 \
             0000000000000440 1800000000000000 6e6561726c7920616c6c206f662069742069732075736564",
        ),
        (
            21,
            Event::Sampled(Sampled { unix_ms: 1_795_000_000_123, step: 12, resident_bytes: 123_456_789 }),
            "7b5e56eea1010000 0c00000000000000 15cd5b0700000000",
        ),
    ]
}

fn lineage() -> Vec<(u16, Event, &'static str)> {
    vec![
        (
            22,
            Event::BranchCut(BranchCut {
                branch: 2,
                of_branch: 1,
                checkpoint: text("step-00001200.safetensors"),
                step: 1200,
                epoch: 4,
                batch: 17,
                taken_in: true,
                moved: vec![text("best.safetensors")],
                reached_step: 1601,
                reached_epoch: 9,
                best: Some(Best { value: 0.25, epoch: 3, step: 1100 }),
            }),
            "0200000000000000 0100000000000000 1900000000000000 \
             737465702d30303030313230302e7361666574656e736f7273 b004000000000000 0400000000000000 \
             1100000000000000 01 0100000000000000 1000000000000000 \
             626573742e7361666574656e736f7273 4106000000000000 0900000000000000 01 \
             000000000000d03f 0300000000000000 4c04000000000000",
        ),
        (23, Event::RunNamed(RunNamed { name: text("digits-2") }), "0800000000000000 6469676974732d32"),
    ]
}

#[test]
fn every_kind_of_record_has_the_bytes_of_the_format_and_comes_back_from_them() {
    let mut kinds = Vec::new();
    for (kind, event, hex) in golden() {
        let digits: String = hex.split_whitespace().collect();
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(event.encode().unwrap(), (kind, bytes.clone()), "kind {kind}");
        assert_eq!(Event::decode(1, kind, &bytes).unwrap(), event, "kind {kind}");
        // Neither less nor more is a record.
        assert!(Event::decode(1, kind, &bytes[..bytes.len() - 1]).is_err(), "kind {kind}");
        assert!(Event::decode(1, kind, &[&bytes[..], &[0]].concat()).is_err(), "kind {kind}");
        kinds.push(kind);
    }
    kinds.sort_unstable();
    let known: Vec<u16> = (1..=u16::MAX).filter(|kind| is_known(*kind)).collect();
    assert_eq!(kinds, known, "a kind has no golden bytes");
}

fn is_known(kind: u16) -> bool {
    !matches!(Event::decode(1, kind, &[]), Err(super::EventError::UnknownKind { .. }))
}
