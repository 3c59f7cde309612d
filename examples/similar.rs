//! Which photos look alike, without any name: features of a folder, compared pair by pair.

use std::path::PathBuf;

use edgeclip::{Bundle, Encoder};

fn main() -> edgeclip::Result<()> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "examples/photos".into());
    let model = Bundle::open("models/starter.ecmodel".as_ref())?;
    let mut encoder = Encoder::open(&model, 0)?;

    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("a folder")
        .flatten()
        .map(|e| e.path())
        .collect();
    paths.sort();
    let decode = edgeclip::frame::Decode::default();
    let frames: Vec<_> = paths
        .iter()
        .filter_map(|p| Some((p, decode.load(p).ok()?)))
        .collect();
    let (paths, frames): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
    let features = encoder.encode_batch(&frames, 0)?;

    for (i, a) in features.iter().enumerate() {
        let others = features.iter().enumerate().filter(|(j, _)| *j != i);
        let cosines = others.map(|(j, b)| (a.cosine(b.values()), j));
        if let Some((cosine, j)) = cosines.max_by(|x, y| x.0.total_cmp(&y.0)) {
            println!(
                "{} is most like {} ({cosine:.2})",
                paths[i].display(),
                paths[j].display()
            );
        }
    }
    Ok(())
}
