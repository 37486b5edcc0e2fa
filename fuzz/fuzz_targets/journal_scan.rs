//! Any bytes as the segments of a journal.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::journal_scan);
