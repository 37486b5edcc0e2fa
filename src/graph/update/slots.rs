//! What each algorithm keeps for a parameter.

use crate::config::OptimizerKind;

/// A tensor that an optimizer keeps for one parameter. It starts at zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// PyTorch's name for it.
    pub name: &'static str,
    /// Its dimensions.
    pub dims: Vec<usize>,
}

/// The slots of a parameter of these dimensions, in the order in which everything here takes them.
#[must_use]
pub fn slots(kind: &OptimizerKind, dims: &[usize]) -> Vec<Slot> {
    let alike = |names: &[&'static str]| {
        names.iter().map(|name| Slot { name, dims: dims.to_vec() }).collect::<Vec<_>>()
    };
    match kind {
        OptimizerKind::Sgd { momentum: 0.0, .. } => Vec::new(),
        OptimizerKind::Sgd { .. } | OptimizerKind::Muon { .. } => alike(&["momentum_buffer"]),
        OptimizerKind::Adam { .. }
        | OptimizerKind::AdamW { .. }
        | OptimizerKind::NAdam { .. }
        | OptimizerKind::RAdam { .. }
        | OptimizerKind::Lamb { .. } => alike(&["exp_avg", "exp_avg_sq"]),
        OptimizerKind::Lion { .. } => alike(&["exp_avg"]),
        OptimizerKind::Adagrad { .. } => alike(&["sum"]),
        OptimizerKind::Adadelta { .. } => alike(&["square_avg", "acc_delta"]),
        OptimizerKind::RmsProp { momentum, centered, .. } => match (*momentum > 0.0, *centered) {
            (false, false) => alike(&["square_avg"]),
            (true, false) => alike(&["square_avg", "momentum_buffer"]),
            (false, true) => alike(&["square_avg", "grad_avg"]),
            (true, true) => alike(&["square_avg", "momentum_buffer", "grad_avg"]),
        },
        OptimizerKind::Adafactor { .. } => match Factors::of(dims) {
            None => alike(&["variance"]),
            Some(factors) => {
                let [row_var, col_var] = factors.dims(dims);
                vec![Slot { name: "row_var", dims: row_var }, Slot { name: "col_var", dims: col_var }]
            }
        },
    }
}

/// A tensor of at least two axes as a batch of matrices over its last two, as Adafactor factors it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factors {
    /// Number of matrices.
    pub matrices: usize,
    /// Rows of each.
    pub rows: usize,
    /// Columns of each.
    pub columns: usize,
}

impl Factors {
    /// The factors of a tensor of these dimensions; `None` if it has fewer than two axes.
    #[must_use]
    pub fn of(dims: &[usize]) -> Option<Self> {
        let (batch, [rows, columns]) = dims.split_last_chunk()?;
        Some(Self { matrices: batch.iter().product(), rows: *rows, columns: *columns })
    }

    /// Dimensions of the mean square of each row and of each column, with the other axis kept as 1.
    fn dims(self, dims: &[usize]) -> [Vec<usize>; 2] {
        let batch = dims.get(..dims.len().saturating_sub(2)).unwrap_or_default();
        let with = |last: [usize; 2]| batch.iter().copied().chain(last).collect();
        [with([self.rows, 1]), with([1, self.columns])]
    }
}
