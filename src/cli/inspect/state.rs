//! The state in a checkpoint, for people and programs.

use crate::train::saved::Saved;
use serde::Serialize;
use serde_json::{Value, json};
use trainer_runtime::codec;

/// What the state tensor of a checkpoint says.
#[derive(Debug, Clone, Serialize)]
pub struct StateReport {
    /// Epoch of the next batch, from 1.
    pub next_epoch: u64,
    /// Index of the next batch in its epoch, from 0.
    pub next_batch: u64,
    /// Mean training loss of the epoch's batches so far; nothing before the first.
    pub train_loss: Option<f64>,
    /// Learning rate of the last update.
    pub lr: f64,
    /// The column that best tracking and early stopping watch; nothing before the first epoch ended.
    pub watched: Option<String>,
    /// Its best value.
    pub best: Option<BestReport>,
    /// The value that early stopping wants improved.
    pub early_stopping_reference: Option<f64>,
    /// Epochs since that was set.
    pub epochs_without_improvement: u64,
    /// How often a plateau reduced the learning rate.
    pub plateau_reductions: u64,
    /// The loss that a plateau is measured against; nothing before the first epoch ended.
    pub plateau_best: Option<f64>,
    /// Epochs that were not better than that.
    pub plateau_bad_epochs: u64,
    /// Batches left out in the whole run, for a loss or gradient that was not finite.
    pub refused_batches: u64,
    /// Those of them in a row up to now.
    pub refused_in_a_row: u64,
    /// What the loss is multiplied with in float16.
    pub loss_scale: Option<f32>,
    /// CRC32 of the settings that bind a resume, as 8 hexadecimal digits.
    pub settings_fingerprint: String,
}

/// The best epoch.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BestReport {
    /// Value of what is watched.
    pub value: f64,
    /// After which epoch.
    pub epoch: u64,
    /// The last step of that epoch.
    pub step: u64,
}

impl StateReport {
    /// What these bytes say; `None` if they are not the state of a training that this version knows.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let saved: Saved = codec::decode(bytes).ok()?;
        saved.is_known().then(|| Self::of(&saved))
    }

    fn of(saved: &Saved) -> Self {
        let weight = saved.epoch_loss_weight;
        let best =
            saved.best.map(|best| BestReport { value: best.value, epoch: best.epoch, step: best.step });
        Self {
            next_epoch: saved.epoch,
            next_batch: saved.batch,
            train_loss: (weight > 0.0).then_some(saved.epoch_loss_sum / weight),
            lr: saved.last_lr,
            watched: Some(saved.watched.clone()).filter(|watched| !watched.is_empty()),
            best,
            early_stopping_reference: saved.early_stopping.reference,
            epochs_without_improvement: saved.early_stopping.epochs_without_improvement,
            plateau_reductions: saved.plateau.reductions,
            plateau_best: Some(saved.plateau.best).filter(|best| best.is_finite()),
            plateau_bad_epochs: saved.plateau.bad_epochs,
            refused_batches: saved.refused,
            refused_in_a_row: saved.refused_in_a_row,
            loss_scale: saved.loss_scale.map(|scale| scale.scale),
            settings_fingerprint: format!("{:08x}", saved.plan_fingerprint),
        }
    }

    /// The lines for people, each with its name.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![("next", format!("epoch {}, batch index {}", self.next_epoch, self.next_batch))];
        if let Some(loss) = self.train_loss {
            lines.push(("train_loss", format!("{loss:.6} (mean of the epoch so far)")));
        }
        lines.push(("lr", format!("{:.3e}", self.lr)));
        if let Some(watched) = &self.watched {
            lines.push(("watched", watched.clone()));
        }
        if let Some(BestReport { value, epoch, step }) = self.best {
            lines.push(("best", format!("{value:.6} at epoch {epoch}, step {step}")));
        }
        if let Some(reference) = self.early_stopping_reference {
            let epochs = self.epochs_without_improvement;
            lines.push(("early stop", format!("{epochs} epochs without improvement on {reference:.6}")));
        }
        if let Some(best) = self.plateau_best {
            let (bad, reductions) = (self.plateau_bad_epochs, self.plateau_reductions);
            let text = format!("{bad} epochs not better than {best:.6}; {reductions} reductions so far");
            lines.push(("plateau", text));
        }
        if self.refused_batches > 0 {
            let row = self.refused_in_a_row;
            lines.push(("left out", format!("{} batches, {row} in a row now", self.refused_batches)));
        }
        if let Some(scale) = self.loss_scale {
            lines.push(("loss scale", scale.to_string()));
        }
        lines.push(("settings", format!("fingerprint {}", self.settings_fingerprint)));
        lines
    }

    /// Every field by its name, those of `best` with a point between.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = Vec::new();
        if let Value::Object(object) = json!(self) {
            for (name, value) in object {
                if name == "best" {
                    for part in ["value", "epoch", "step"] {
                        fields.push((format!("best.{part}"), value.get(part).cloned().unwrap_or_default()));
                    }
                } else {
                    fields.push((name, value));
                }
            }
        }
        fields
    }
}
