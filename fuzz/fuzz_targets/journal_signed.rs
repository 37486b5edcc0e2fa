//! Segments whose headers, numbers and checksums are put right after each mutation.
#![no_main]

trainer_fuzz::target!(trainer_fuzz::fuzzing::journal_scan);
trainer_fuzz::signed!(trainer_fuzz::fuzzing::sign_journal);
