//! Writes the ONNX file of a bundle's image encoder: `image_onnx BUNDLE FILE`.

use compare_encoders::Failure;
use edgeclip::Bundle;
use edgeclip::bundle::ImageSections;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bundle, file] = &args[..] else {
        return Err("usage: image_onnx BUNDLE FILE".into());
    };
    let Some(ImageSections::Onnx(bytes)) = Bundle::open(bundle.as_ref())?.image_encoder()? else {
        return Err(format!("{bundle}: no image encoder in ONNX").into());
    };
    Ok(std::fs::write(file, &bytes[..])?)
}
