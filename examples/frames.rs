//! Frames of a camera, opened again whenever it is lost: what a program of your own starts with.
//!
//! `cargo run --release --example frames -- /dev/video0 10 YUYV`: all may be left out.

use std::time::{Duration, Instant};

use edgeclip::camera::{Fault, Format, Source, Wish};

const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(target_os = "linux")]
fn main() -> edgeclip::Result<()> {
    use edgeclip::camera::{devices, v4l::Device};
    use std::path::PathBuf;

    let mut args = std::env::args().skip(1);
    let path = args.next().map(PathBuf::from);
    let Some(path) = path.or_else(|| devices::nodes().into_iter().next()) else {
        println!("no camera here: `edgeclip cameras` says what to check");
        return Ok(());
    };
    let count: u32 = args.next().and_then(|n| n.parse().ok()).unwrap_or(10);
    let format = args.next().map(|name| move |f: &Format| f.name() == name);
    let wish = Wish {
        format: format.and_then(|named| Format::ALL.into_iter().find(named)),
        input: (224, 224),
        ..Wish::default()
    };

    // The first open must succeed; later ones may have to wait for somebody to plug it in.
    let mut camera = Device::open(&path, &wish)?;
    println!("{}", camera.about());
    let mut left = count;
    while left > 0 {
        left = watch(&mut camera, left);
        if left > 0 {
            std::thread::sleep(Duration::from_millis(300));
            match Device::open(&path, &wish) {
                Ok(again) => camera = again,
                Err(error) => println!("{error}"),
            }
        }
    }
    Ok(())
}

/// Shows so many frames; how many are left when the camera is lost.
fn watch(camera: &mut dyn Source, mut left: u32) -> u32 {
    let mut buffer = Vec::new();
    while left > 0 {
        match camera.next(std::mem::take(&mut buffer), PATIENCE) {
            Ok(captured) => {
                let (w, h) = captured.frame.size();
                let ms = Instant::now().duration_since(captured.taken).as_millis();
                // Given back, so that the next frame needs no new memory.
                buffer = captured.frame.into_bytes();
                let sum: u64 = buffer.iter().map(|b| u64::from(*b)).sum();
                let mean = sum / buffer.len() as u64;
                println!(
                    "frame {}: {w}x{h}, {ms} ms old, mean level {mean}",
                    captured.sequence
                );
                left -= 1;
            }
            Err(Fault::Silent) => println!("silent"),
            Err(Fault::Damaged(error)) => println!("damaged: {error}"),
            Err(Fault::Lost(error)) => {
                println!("lost: {error}");
                return left;
            }
            Err(Fault::End) => return 0,
        }
    }
    left
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("cameras of V4L2 are found on Linux");
}
