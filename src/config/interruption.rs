//! The part of the plan that says what happens when a run is stopped, or when memory runs out.

/// What signals do.
#[derive(Debug, Clone, PartialEq)]
pub struct StopPlan {
    /// Seconds after a stop signal at which the process leaves, whatever it is doing; above 0.
    pub grace_s: f64,
    /// What SIGUSR1 does.
    pub usr1: Usr1,
}

/// What SIGUSR1 does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usr1 {
    /// Saves, and training goes on.
    Save,
    /// Saves and stops, as the other stop signals.
    Stop,
}

/// How a run deals with memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryPlan {
    /// What happens when memory for a step can not be had.
    pub on_oom: OnOom,
    /// Whether a thread watches the limits of control groups and the machine's memory, and saves before they are met.
    pub watch: bool,
    /// Patterns of names of nodes whose outputs are computed again in the backward pass.
    pub recompute: Vec<String>,
    /// Megabytes that training may take by its shapes; activations are computed again until it fits.
    pub budget_mb: Option<f64>,
}

/// What happens when memory for a step can not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOom {
    /// The micro-batch is halved, and training goes on.
    Shrink,
    /// The state is saved, and the process ends.
    Stop,
}

/// Examples of one gradient computation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MicroBatch {
    /// The whole batch.
    Whole,
    /// So many; at least 1.
    Examples(usize),
    /// The most that fit into memory, found out before the first step.
    Auto,
}
