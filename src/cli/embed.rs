//! `embed`: features of photos, or text weights of names, as a NumPy matrix or JSON lines.

use std::path::{Path, PathBuf};

use ndarray::Array2;
use serde::Serialize;

use super::args::{self, Global};
use super::classify::report;
use super::output::Output;
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, photos, places};
use crate::error::Error;
use crate::{import, store};

/// One line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<&'a [f32]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

const EMPTY: Line<'static> = Line {
    path: None,
    label: None,
    feature: None,
    ms: None,
    error: None,
};

/// Rows that go to a matrix file at the end.
#[derive(Default)]
struct Rows {
    names: Vec<String>,
    values: Vec<f32>,
}

pub(super) fn run(global: &Global, args: &args::Embed, out: &mut Output) -> Result<Done, Stop> {
    let settings = Settings::gather(global, VerbFlags::default())?;
    let labels = args.names.given()?;
    if labels.is_some() && !args.photos.is_empty() {
        return Err(Stop::Usage(
            "photos and names at once: embed one or the other".into(),
        ));
    }
    let model = places::open_model(&settings)?;
    let mut rows = args.output.as_ref().map(|_| Rows::default());
    let mut done = Done::Whole;
    if let Some(labels) = labels {
        let weights = args.names.weights(&labels, &model, &settings)?;
        for (label, row) in weights.labels.iter().zip(weights.weights.rows()) {
            let values = row.to_vec();
            match &mut rows {
                Some(rows) => rows.push(label.name(), &values),
                None => out.object(&Line {
                    label: Some(label.name()),
                    feature: Some(&values),
                    ..EMPTY
                })?,
            }
        }
    } else {
        let photos = photos::gather(&args.photos)?;
        let threads = settings.threads.value;
        let encoder = photos::open_encoder(&model, photos.len(), &settings.threads)?;
        let mut unreadable = 0;
        photos::encode_all(
            &encoder,
            &photos,
            &args.decode.rules(),
            threads,
            out.quiet,
            |path, result| {
                let name = &*path.to_string_lossy();
                match (result, &mut rows) {
                    (Ok(encoded), Some(rows)) => rows.push(name, encoded.feature.values()),
                    (Ok(encoded), None) => {
                        let ms = Some((encoded.took.as_secs_f64() * 1e6).round() / 1e3);
                        out.object(&Line {
                            path: Some(name),
                            feature: Some(encoded.feature.values()),
                            ms,
                            ..EMPTY
                        })?;
                    }
                    (Err(e), rows) => {
                        unreadable += 1;
                        if rows.is_none() {
                            out.object(&Line {
                                path: Some(name),
                                error: Some(e.to_string()),
                                ..EMPTY
                            })?;
                        } else {
                            log::error!("{e}; skipped");
                        }
                    }
                }
                Ok::<(), Stop>(())
            },
        )?;
        done = report(unreadable, photos.len());
    }
    if let (Some(path), Some(rows)) = (&args.output, rows) {
        rows.write(path, model.dim(), out)?;
    }
    Ok(done)
}

impl Rows {
    fn push(&mut self, name: &str, values: &[f32]) {
        self.names.push(name.to_owned());
        self.values.extend_from_slice(values);
    }

    /// The matrix to `path`, the names of its rows to `path` with `.txt` added.
    fn write(self, path: &Path, dim: usize, out: &mut Output) -> Result<(), Stop> {
        let count = self.names.len();
        let matrix = Array2::from_shape_vec((count, dim), self.values)
            .expect("every row has the model's width");
        store::replace_with(path, |to| {
            import::write_npy(to, matrix.view()).map_err(|e| Error::io(path, "write", e))
        })?;
        let list = PathBuf::from(format!("{}.txt", path.display()));
        store::replace_with(&list, |to| {
            self.names
                .iter()
                .try_for_each(|n| writeln!(to, "{n}"))
                .map_err(|e| Error::io(&list, "write", e))
        })?;
        if out.json {
            return out
                .object(&serde_json::json!({ "matrix": path, "rows": count, "names": list }));
        }
        out.say(&format!(
            "{count} rows in {}, their names in {}",
            path.display(),
            list.display()
        ));
        Ok(())
    }
}
