//! `config show`: settings in force and where each comes from.

use std::path::{Path, PathBuf};

use super::args::Global;
use super::output::Output;
use super::places;
use super::settings::{Settings, Source, VerbFlags};
use super::{Done, Stop};

pub(super) fn show(global: &Global, out: &mut Output) -> Result<Done, Stop> {
    let settings = Settings::gather(global, VerbFlags::default())?;
    let shown = |p: &Path| p.display().to_string();
    let found = |path: Result<PathBuf, _>| {
        path.map_or_else(|_: crate::error::Error| "not found".into(), |p| shown(&p))
    };
    let text = match &settings.text_model.value {
        Some(path) => shown(path),
        None => "NAME-text.ecmodel beside the model".into(),
    };
    let rows: Vec<(&str, String, &Source)> = vec![
        (
            "model",
            found(places::model_path(&settings)),
            &settings.model.source,
        ),
        ("text-model", text, &settings.text_model.source),
        (
            "classifier",
            found(places::classifier_path(&settings)),
            &settings.classifier.source,
        ),
        (
            "threads",
            settings.threads.value.to_string(),
            &settings.threads.source,
        ),
        ("top", settings.top.value.to_string(), &settings.top.source),
    ];
    if out.json {
        let object: serde_json::Map<String, serde_json::Value> = rows
            .iter()
            .map(|(k, v, s)| {
                (
                    (*k).into(),
                    serde_json::json!({ "value": v, "source": s.to_string() }),
                )
            })
            .collect();
        out.object(&object)?;
        return Ok(Done::Whole);
    }
    let table: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(k, v, s)| vec![k.to_owned(), v, format!("({s})")])
        .collect();
    out.table(&table, &[])?;
    let config = settings.config.as_deref().map_or("none".into(), shown);
    out.line(&format!("config file: {config}"))?;
    Ok(Done::Whole)
}
