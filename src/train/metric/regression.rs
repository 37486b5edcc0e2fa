//! The coefficient of determination.

/// Mean and squared deviations of the targets, and squared errors, for each value of an example.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Determination {
    columns: Vec<Column>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Column {
    count: u64,
    mean: f64,
    /// Sum of the squared deviations from the mean (B. Welford, 1962).
    deviations: f64,
    errors: f64,
}

impl Determination {
    /// Adds a value of an example, by its index in the example.
    pub(super) fn add(&mut self, column: usize, value: f64, target: f64) {
        if self.columns.len() <= column {
            self.columns.resize(column + 1, Column::default());
        }
        let Some(column) = self.columns.get_mut(column) else { return };
        column.count += 1;
        let from_old_mean = target - column.mean;
        column.mean += from_old_mean / column.count as f64;
        column.deviations += from_old_mean * (target - column.mean);
        column.errors += (value - target) * (value - target);
    }

    /// The mean over the values of an example of 1 - errors / deviations. Where the targets do not vary it is 1 for
    /// answers without error and 0 for others, as scikit-learn has it. NaN if nothing was added.
    pub(super) fn value(&self) -> f64 {
        let counted = self.columns.iter().filter(|column| column.count > 0);
        let values: Vec<f64> = counted
            .map(|column| match (column.deviations == 0.0, column.errors == 0.0) {
                (true, true) => 1.0,
                (true, false) if !column.errors.is_nan() => 0.0,
                _ => 1.0 - column.errors / column.deviations,
            })
            .collect();
        values.iter().sum::<f64>() / values.len() as f64
    }
}
