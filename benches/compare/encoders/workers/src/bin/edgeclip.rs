//! edgeclip as a program would use it: a bundle, frames, features.
//!
//! Its times hold the preprocessing of frames that need no resize, for which the others get
//! ready tensors; `EDGECLIP_PREPROCESS=1` times that part alone.

use compare_encoders::{Failure, Task, serve};
use edgeclip::preprocess::Preprocessor;
use edgeclip::{Bundle, Encoder, Feature, Frame};

fn main() -> Result<(), Failure> {
    let task = Task::from_args()?;
    let side = u32::try_from(task.side)?;
    let frames = task
        .rgb()
        .map(|bytes| Frame::from_rgb(side, side, bytes.to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    if std::env::var_os("EDGECLIP_PREPROCESS").is_some() {
        return preprocess(&task, &frames);
    }
    let batches: Vec<&[Frame]> = frames.chunks_exact(task.batch).collect();
    // Many frames go one to a thread, as the program itself does.
    let within = if task.batch == 1 { task.threads } else { 1 };
    serve(
        || Ok(Encoder::open(&Bundle::open(&task.model)?, within)?),
        |encoder, turn| {
            let features = match batches[turn % batches.len()] {
                [one] => vec![encoder.encode(one)?],
                many => encoder.encode_batch(many, task.threads)?,
            };
            let values = features.iter().map(Feature::values);
            Ok(values.map(<[f32]>::to_vec).collect())
        },
    )
}

fn preprocess(task: &Task, frames: &[Frame]) -> Result<(), Failure> {
    serve(
        || {
            let bundle = Bundle::open(&task.model)?;
            let preprocessor = Preprocessor::new(bundle.preprocess().clone())?;
            let (w, h) = preprocessor.input_size();
            Ok((preprocessor, vec![0.0; 3 * w as usize * h as usize]))
        },
        |(preprocessor, tensor), turn| {
            preprocessor.tensor_into(&frames[turn % frames.len()], tensor)?;
            Ok(Vec::new())
        },
    )
}
