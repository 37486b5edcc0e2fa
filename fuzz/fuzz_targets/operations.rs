//! A random sequence of operations, crashes and flipped bits, against a plain model.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::operations);
