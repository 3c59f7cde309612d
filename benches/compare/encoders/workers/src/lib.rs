//! What the workers share: their arguments, their pictures and the lines that they answer.
//!
//! `WORKER MODEL PICTURES SIDE BATCH THREADS`; PICTURES holds pictures of SIDE × SIDE, one after the
//! other, as f32 tensors or as RGB bytes. Each inference takes the next batch. Lines in, lines out:
//!
//! ```text
//!                 idle              nothing is opened yet
//! open            opened MS         to the first feature
//! run             MS                one inference
//! features TURN   VALUE…            a line for each picture of that batch
//! ```

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

/// Why a worker stops; the program that started it reads the words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a worker was started with.
pub struct Task {
    /// File of the model.
    pub model: PathBuf,
    /// Width and height of a picture.
    pub side: usize,
    /// Pictures of one inference.
    pub batch: usize,
    /// Threads of one inference.
    pub threads: usize,
    pictures: Vec<u8>,
}

impl Task {
    /// # Errors
    /// Arguments are missing or no numbers, or the pictures cannot be read.
    pub fn from_args() -> Result<Self, Failure> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [model, pictures, side, batch, threads] = &args[..] else {
            return Err("usage: WORKER MODEL PICTURES SIDE BATCH THREADS".into());
        };
        Ok(Self {
            model: model.into(),
            pictures: std::fs::read(pictures)?,
            side: side.parse()?,
            batch: batch.parse()?,
            threads: threads.parse()?,
        })
    }

    /// Batches × `batch` × 3 × `side` × `side` numbers.
    #[must_use]
    pub fn tensors(&self) -> Vec<Vec<f32>> {
        let (values, _) = self.pictures.as_chunks::<4>();
        let values: Vec<f32> = values.iter().map(|v| f32::from_le_bytes(*v)).collect();
        let batch = self.batch * 3 * self.side * self.side;
        values.chunks_exact(batch).map(<[f32]>::to_vec).collect()
    }

    /// The bytes of each picture, RGB.
    pub fn rgb(&self) -> impl Iterator<Item = &[u8]> {
        self.pictures.chunks_exact(3 * self.side * self.side)
    }
}

/// Answers lines until the other end closes. `infer` is given the opened model and a turn.
///
/// # Errors
/// The model cannot be opened or run, or a line is unknown.
pub fn serve<M>(
    open: impl Fn() -> Result<M, Failure>,
    mut infer: impl FnMut(&mut M, usize) -> Result<Vec<Vec<f32>>, Failure>,
) -> Result<(), Failure> {
    let (mut model, mut turn) = (None, 0);
    say("idle")?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let start = Instant::now();
        match (&line.split_whitespace().collect::<Vec<_>>()[..], &mut model) {
            (["open"], _) => {
                infer(model.insert(open()?), 0)?;
                say(&format!("opened {}", ms(start)))?;
            }
            (["run"], Some(model)) => {
                turn += 1;
                infer(model, turn)?;
                say(&ms(start).to_string())?;
            }
            (["features", turn], Some(model)) => {
                for feature in infer(model, turn.parse()?)? {
                    let values: Vec<String> = feature.iter().map(f32::to_string).collect();
                    say(&values.join(" "))?;
                }
            }
            _ => return Err(format!("{line}: unknown, or nothing is opened").into()),
        }
    }
    Ok(())
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
