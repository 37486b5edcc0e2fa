//! Any bytes as values of the shapes that records are made of.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::codec_decode);
