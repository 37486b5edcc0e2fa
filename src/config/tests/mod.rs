//! Tests of settings as a whole, from text to plan and back.
