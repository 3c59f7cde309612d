//! The shipped encoder in tract, two ways: the file's quantization as it stands, and with
//! activations left in float as edgeclip runs it. Interleaved, medians, one thread.
//!
//! `cargo bench --bench encoder`

use std::time::Instant;

use edgeclip::bundle::ImageSections;
use edgeclip::{Bundle, Encoder, Frame};
use tract_onnx::prelude::*;

const ROUNDS: usize = 30;

fn main() {
    let path =
        std::env::var_os("EDGECLIP_MODEL").unwrap_or_else(|| "models/starter.ecmodel".into());
    let bundle = Bundle::open(path.as_ref()).expect("a model bundle: set EDGECLIP_MODEL");
    let Some(ImageSections::Onnx(onnx)) = bundle.image_encoder().expect("whole") else {
        println!("the bundle's encoder is not kept as ONNX: nothing to compare");
        return;
    };
    let start = Instant::now();
    let mut encoder = Encoder::open(&bundle, 1).expect("an encoder that opens");
    let opened = start.elapsed();
    let as_it_stands = as_it_stands(&onnx, encoder.input_size());

    let frame = Frame::from_rgb(
        224,
        224,
        (0..224 * 224 * 3).map(|i| (i * 31 % 251) as u8).collect(),
    );
    let frame = frame.expect("a frame of the stated size");
    let (w, h) = encoder.input_size();
    let input = Tensor::zero::<f32>(&[1, 3, h as usize, w as usize]).expect("a small tensor");
    let input: TValue = input.into();
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        times[0].push(ms(|| drop(encoder.encode(&frame).expect("encodes"))));
        if let Some(plan) = &as_it_stands {
            times[1].push(ms(|| drop(plan.run(tvec!(input.clone())).expect("runs"))));
        }
    }
    let [ours, theirs] = times.map(|mut t| {
        t.sort_by(f64::total_cmp);
        t.get(t.len() / 2).copied()
    });
    println!(
        "{:<44}  median ms, {ROUNDS} interleaved runs, 1 thread",
        "image encoder"
    );
    println!(
        "{:<44}  {:>9.1}",
        "int8 weights, float activations (edgeclip)",
        ours.unwrap_or(f64::NAN)
    );
    match theirs.zip(ours) {
        Some((theirs, ours)) => {
            println!(
                "{:<44}  {theirs:>9.1}  ({:.2} times as long)",
                "quantized as the file says (tract)",
                theirs / ours
            );
        }
        None => println!(
            "{:<44}  tract does not run it",
            "quantized as the file says (tract)"
        ),
    }
    println!(
        "{:<44}  {:>9.1}",
        "opening: parse, unfold, optimise",
        opened.as_secs_f64() * 1e3
    );
}

fn ms(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e3
}

fn as_it_stands(onnx: &[u8], (w, h): (u32, u32)) -> Option<Arc<TypedSimplePlan>> {
    let fact = InferenceFact::dt_shape(f32::datum_type(), [1, 3, h as usize, w as usize]);
    let model = tract_onnx::onnx()
        .with_ignore_value_info(true)
        .model_for_read(&mut &onnx[..])
        .ok()?;
    let model = model.with_input_fact(0, fact).ok()?.into_optimized().ok()?;
    TypedSimplePlan::new(model).ok()
}
