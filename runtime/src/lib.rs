//! Journal, checkpoints, lock and signals for long computations that must not lose a step.
