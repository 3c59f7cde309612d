//! rten on an ONNX file, with its weights packed at opening.

use std::sync::Arc;

use compare_encoders::{Failure, Task, serve};
use rten::{Model, ModelOptions, RunOptions, ThreadPool};
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

fn main() -> Result<(), Failure> {
    let task = Task::from_args()?;
    let shape = [task.batch, 3, task.side, task.side];
    let inputs: Vec<_> = task
        .tensors()
        .into_iter()
        .map(|values| NdTensor::from_data(shape, values))
        .collect();
    let open = || {
        let model = ModelOptions::with_all_ops()
            .prepack_weights(true)
            .load_file(&task.model)?;
        let pool = Arc::new(ThreadPool::with_num_threads(task.threads));
        Ok((model, RunOptions::default().with_thread_pool(Some(pool))))
    };
    serve(open, |(model, options): &mut (Model, RunOptions), turn| {
        let input = inputs[turn % inputs.len()].view();
        let output = model.run_one(input.into(), Some(options.clone()))?;
        let values = NdTensor::<f32, 2>::try_from(output)?.into_data();
        let dim = values.len() / task.batch;
        Ok(values.chunks(dim).map(<[f32]>::to_vec).collect())
    })
}
