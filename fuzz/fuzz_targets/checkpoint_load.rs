//! A checkpoint whose checksums are put right after each mutation.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::checkpoint_load);
trainer_fuzz::signed!(trainer_fuzz::fuzzing::sign_checkpoint);
