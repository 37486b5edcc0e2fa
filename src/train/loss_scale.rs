//! The scale of the loss in float16: what the gradients are multiplied with while they are computed.
//!
//! The smallest positive float16 is 6e-8, and many gradients are smaller. So the loss is multiplied with a large number
//! before gradients are taken, and the gradients are divided by it in 32 bits. The rule is that of
//! `torch.amp.GradScaler`: a gradient that overflows halves the scale, and its batch is left out; many updates in a row
//! without an overflow double it. Both factors are powers of two, so that a scale rounds nothing.

use crate::config::LossScalePlan;
use trainer_runtime::codec::{Decode, Encode};

/// The state of the scale; part of what is saved.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[bincode(crate = "trainer_runtime::codec::bincode")]
pub struct LossScale {
    /// What the mean loss of the next batch is multiplied with.
    pub scale: f32,
    /// Updates since the scale last changed.
    pub clean_steps: u64,
}

/// Below 1 a scale makes gradients vanish that float16 has; what overflows all the same has no place in it.
const SMALLEST: f32 = 1.0;
/// 2 to the 100, in reach only where nothing overflows; its square is still finite in the sums of the norm.
const LARGEST: f32 = (1_u128 << 100) as f32;

impl LossScale {
    /// The scale at the beginning of a run.
    #[must_use]
    pub fn start(plan: LossScalePlan) -> Self {
        Self { scale: plan.initial, clean_steps: 0 }
    }

    /// Counts an update whose gradients were finite; `true` if the scale was doubled.
    pub fn grow(&mut self, plan: LossScalePlan) -> bool {
        self.clean_steps += 1;
        // More than the number of steps, where a change of the settings lowered it.
        if self.clean_steps < plan.growth_steps {
            return false;
        }
        self.clean_steps = 0;
        let grown = (self.scale * 2.0).min(LARGEST);
        let changes = grown > self.scale;
        self.scale = self.scale.max(grown);
        changes
    }

    /// Takes a batch whose gradients were not finite; `false` if the scale can not become smaller.
    pub fn back_off(&mut self) -> bool {
        self.clean_steps = 0;
        let changes = self.scale > SMALLEST;
        self.scale = (self.scale * 0.5).max(SMALLEST);
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGEST, LossScale, SMALLEST};
    use crate::config::LossScalePlan;

    const PLAN: LossScalePlan = LossScalePlan { initial: 65_536.0, growth_steps: 3 };

    fn after(steps: &str) -> LossScale {
        let mut scale = LossScale::start(PLAN);
        for step in steps.chars() {
            _ = if step == '+' { scale.grow(PLAN) } else { scale.back_off() };
        }
        scale
    }

    #[test]
    fn an_overflow_halves_the_scale_and_begins_to_count_anew() {
        assert_eq!(after("++-"), LossScale { scale: 32_768.0, clean_steps: 0 });
        assert_eq!(after("++-++"), LossScale { scale: 32_768.0, clean_steps: 2 });
    }

    #[test]
    fn as_many_updates_as_the_settings_say_double_the_scale() {
        assert_eq!(after("++"), LossScale { scale: 65_536.0, clean_steps: 2 });
        assert_eq!(after("+++"), LossScale { scale: 131_072.0, clean_steps: 0 });
        assert_eq!(after("-++++++").scale, 131_072.0);
    }

    #[test]
    fn the_scale_stays_between_its_bounds_and_says_when_nothing_changes() {
        let mut scale = LossScale { scale: 1.5, clean_steps: 2 };
        assert!(scale.back_off());
        assert_eq!(scale.scale, SMALLEST);
        assert!(!scale.back_off());
        let mut scale = LossScale { scale: LARGEST, clean_steps: 2 };
        assert!(!scale.grow(PLAN));
        assert_eq!(scale, LossScale { scale: LARGEST, clean_steps: 0 });
    }
}
