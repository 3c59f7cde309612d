//! An encoder as tract runs it.

use std::sync::Arc;

use tract_core::prelude::*;

use super::run_error;
use crate::error::Result;

/// A plan with its working memory.
pub(super) struct Tracted {
    plan: Arc<TypedSimplePlan>,
    state: TypedSimpleState,
    input: Arc<Tensor>,
}

impl Tracted {
    /// Working memory for pictures of `shape`.
    ///
    /// # Errors
    /// tract cannot set up its state.
    pub(super) fn new(plan: Arc<TypedSimplePlan>, shape: &[usize; 4]) -> Result<Self> {
        let state = plan.spawn().map_err(|e| run_error(&e))?;
        let input = Tensor::zero::<f32>(shape).map_err(|e| run_error(&e))?;
        Ok(Self {
            plan,
            state,
            input: Arc::new(input),
        })
    }

    /// The same plan with working memory of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(super) fn fork(&self) -> Result<Self> {
        Ok(Self {
            plan: Arc::clone(&self.plan),
            state: self.plan.spawn().map_err(|e| run_error(&e))?,
            input: Arc::new((*self.input).clone()),
        })
    }

    /// Runs on one picture.
    ///
    /// # Errors
    /// The graph fails to run.
    pub(super) fn run(&mut self, picture: &[f32], output: &mut Vec<f32>) -> Result<()> {
        // The state has let go of the last input; a copy happens only if it has not.
        let input = Arc::make_mut(&mut self.input);
        let mut view = input.try_as_plain_ram_mut().map_err(|e| run_error(&e))?;
        let values = view.as_slice_mut::<f32>().map_err(|e| run_error(&e))?;
        values.copy_from_slice(picture);
        let outputs = self
            .state
            .run(tvec!(TValue::from_const(Arc::clone(&self.input))))
            .map_err(|e| run_error(&e))?;
        let view = outputs[0].try_as_plain_ram().map_err(|e| run_error(&e))?;
        output.clear();
        output.extend_from_slice(view.as_slice::<f32>().map_err(|e| run_error(&e))?);
        Ok(())
    }
}
