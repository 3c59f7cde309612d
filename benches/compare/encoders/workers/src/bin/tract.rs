//! tract on an ONNX file as it stands, optimised by tract alone.

use compare_encoders::{Failure, Task, serve};
use tract_onnx::prelude::*;

fn main() -> Result<(), Failure> {
    let task = Task::from_args()?;
    let shape = [task.batch, 3, task.side, task.side];
    let inputs = task
        .tensors()
        .iter()
        .map(|values| Ok(Tensor::from_shape(&shape, values)?.into()))
        .collect::<TractResult<Vec<TValue>>>()?;
    let open = || {
        // Files quantized by ONNX Runtime carry shapes that stop tract from fixing the batch.
        let model = tract_onnx::onnx()
            .with_ignore_value_info(true)
            .model_for_path(&task.model)?
            .with_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), shape))?
            .into_optimized()?;
        let executor = match task.threads {
            1 => multithread::Executor::SingleThread,
            n => multithread::Executor::multithread(n),
        };
        let options = RunOptions {
            executor: Some(executor),
            ..Default::default()
        };
        Ok(TypedSimplePlan::new_with_options(model, &options)?)
    };
    serve(open, |plan: &mut Arc<TypedSimplePlan>, turn| {
        let outputs = plan.run(tvec!(inputs[turn % inputs.len()].clone()))?;
        let view = outputs[0].try_as_plain_ram()?;
        let values = view.as_slice::<f32>()?;
        let dim = values.len() / task.batch;
        Ok(values.chunks(dim).map(<[f32]>::to_vec).collect())
    })
}
