//! The committed state: replaced from a checkpoint, held for one, and looked at.

use super::Engine;
use crate::engine::error::EngineError;
use crate::engine::optimizer::gradient_norm;
use crate::engine::session::{Cancel, Place};
use crate::engine::state::{Layout, StateSet};
use crate::engine::transfer::{self, fill_all};
use crate::engine::update_session::UpdateSession;
use ort::memory::Allocator;
use std::borrow::Cow;
use std::sync::Arc;

impl Engine {
    /// Names and shapes of the state's tensors.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A handle that cancels the run in progress.
    #[must_use]
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Replaces the state: `values` gives the contents of tensor `i` of [`Layout::tensors`]. Where it gives none, a moving
    /// average starts as its parameter, and everything else as zeros.
    ///
    /// # Errors
    /// If a tensor can not be copied to the device. Slices of another length than their tensor are an error, too. What
    /// the state then is, is not defined.
    pub fn load<'v>(&mut self, values: impl Fn(usize) -> Option<&'v [f32]>) -> Result<(), EngineError> {
        let values = |index| values(index).map(Cow::Borrowed);
        if let Some(current) = Arc::get_mut(&mut self.current) {
            // In place: a second set would take twice the memory that training needs at that moment.
            return fill_all(current, &self.layout, &values);
        }
        let mut fresh = self.fresh_set()?;
        fill_all(&mut fresh, &self.layout, &values)?;
        self.current = Arc::new(fresh);
        self.spare = None;
        Ok(())
    }

    pub(super) fn fresh_set(&mut self) -> Result<StateSet, EngineError> {
        let device =
            self.update_session.as_ref().map_or(Ok(Allocator::default()), UpdateSession::allocator)?;
        let id = self.next_id;
        self.next_id += 1;
        StateSet::allocate(&self.layout, &device, id)
    }

    /// The committed state. It never changes while it is held; holding it makes later steps use a second set of buffers.
    ///
    /// # Errors
    /// If the state lives on a device and can not be copied from it.
    pub fn snapshot(&self) -> Result<Arc<StateSet>, EngineError> {
        if self.place == Place::Cpu {
            return Ok(Arc::clone(&self.current));
        }
        let mut copy = StateSet::allocate(&self.layout, &Allocator::default(), u64::MAX)?;
        for (to, from) in copy.iter_mut().zip(self.current.iter()) {
            transfer::copy(from, to)?;
        }
        Ok(Arc::new(copy))
    }

    /// Whether somebody holds the state, so that the next update needs a second set of buffers.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.current) > 1
    }

    /// Whether every number of a state in host memory is finite.
    #[must_use]
    pub fn is_finite(&self, set: &StateSet) -> bool {
        let slices: Vec<&[f32]> = set.host_slices().collect();
        // The sum of squares is taken in f64, where no f32 overflows, and a NaN or an infinity anywhere shows in it.
        self.pool.install(|| gradient_norm(&slices)).is_finite()
    }
}
