//! Any bytes as a segment whose checksums are all taken for right.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::journal_scan_unchecked);
