//! A photo and names, an answer: `cargo run --release --example classify [PHOTO [NAMES]]`.

use std::path::Path;

use edgeclip::text::{TextTower, parse_labels};
use edgeclip::{Bundle, Classifier, Encoder};

fn main() -> edgeclip::Result<()> {
    let mut args = std::env::args().skip(1);
    let photo = args
        .next()
        .unwrap_or_else(|| "examples/photos/cat.jpg".into());
    let names = args
        .next()
        .unwrap_or_else(|| "cat, dog, cup of coffee, rocket".into());

    let model = Bundle::open(Path::new("models/starter.ecmodel"))?;
    let weights = TextTower::open(&model, None)?.weights(&parse_labels(&names)?, &mut |_, _| {})?;
    let classifier = Classifier::from_labels(&model, weights)?;

    let mut encoder = Encoder::open(&model, 1)?;
    let frame = edgeclip::frame::Decode::default().load(Path::new(&photo))?;
    let feature = encoder.encode(&frame)?;
    for answer in classifier.answers(&feature, 3)? {
        println!("{:5.1} %  {}", 100.0 * answer.p, answer.label);
    }
    Ok(())
}
