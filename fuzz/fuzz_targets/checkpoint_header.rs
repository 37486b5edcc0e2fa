//! Any bytes as the header of a checkpoint, behind a checksum that is right.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::checkpoint_header);
