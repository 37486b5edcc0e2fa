//! Where a run is told to.

/// The tracking server of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MlflowPlan {
    /// The server; `None` for that of the environment, if it names one.
    pub uri: Option<String>,
    /// The experiment; `None` for that of the environment, or `Default`.
    pub experiment: Option<String>,
    /// What the run is called; `None` for the name of its work directory.
    pub run_name: Option<String>,
    /// Whether the trained model is sent.
    pub artifact: bool,
    /// The values of every so many steps are sent; 0 for none.
    pub every_steps: u64,
}
