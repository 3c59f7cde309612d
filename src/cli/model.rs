//! `model`: what bundles hold, whether they are whole, making them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::args::{self, Global};
use super::output::{Output, human_bytes};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, places};
use crate::bundle::{Bundle, Card};
use crate::encoder::Encoder;
use crate::frame::Frame;
use crate::import::{self, Layout, Options, Pixels, Pool};
use crate::preprocess::{Filter, Resize};
use crate::text::TextEncoder;

pub(super) fn run(global: &Global, verb: args::Model, out: &mut Output) -> Result<Done, Stop> {
    let chosen = |file: Option<PathBuf>| match file {
        Some(file) => Ok(file),
        None => places::model_path(&Settings::gather(global, VerbFlags::default())?),
    };
    match verb {
        args::Model::Inspect {
            file,
            licences,
            vocabulary,
        } => {
            let bundle = Bundle::open(&chosen(file)?)?;
            if licences {
                return show_licences(bundle.card(), out);
            }
            if vocabulary {
                return show_vocabulary(&bundle, out);
            }
            inspect(&bundle, out)
        }
        args::Model::Verify { file } => verify(&chosen(file)?, out),
        args::Model::Import(args) => make(&args, out),
    }
}

fn make(args: &args::Import, out: &mut Output) -> Result<Done, Stop> {
    let made = import::import(&args.paths, &options(args), &args.output)?;
    for note in &made.notes {
        log::warn!("{note}");
    }
    inspect(&made.bundle, out)
}

fn options(args: &args::Import) -> Options {
    let triple = |v: &Option<Vec<f32>>| v.as_ref().and_then(|v| <[f32; 3]>::try_from(&v[..]).ok());
    let p = &args.pixels;
    Options {
        name: args.name.clone(),
        variant: args.variant.clone(),
        image_output: args.image_output.clone(),
        text_output: args.text_output.clone(),
        pool: args.pool.as_deref().map(|p| match p {
            "class" => Pool::Class,
            _ => Pool::Mean,
        }),
        projection: args.projection.clone(),
        layout: args.layout.as_deref().map(|l| match l {
            "nchw" => Layout::Nchw,
            _ => Layout::Nhwc,
        }),
        pixels: Pixels {
            resize: p.size,
            crop: p.crop,
            mean: triple(&p.mean),
            std: triple(&p.std),
            filter: p.filter.as_deref().map(|f| match f {
                "bicubic" => Filter::Bicubic,
                _ => Filter::Bilinear,
            }),
        },
        logit_scale: args.logit_scale,
        logit_bias: args.logit_bias,
        no_text: args.no_text,
    }
}

fn inspect(bundle: &Bundle, out: &mut Output) -> Result<Done, Stop> {
    let card = bundle.card();
    let size = bundle.envelope().len_bytes() as u64;
    let names = bundle.vocabulary()?.map_or(0, |v| v.names.len());
    let sections: Vec<_> = bundle
        .envelope()
        .sections()
        .map(|s| (s.name.to_owned(), s.len_bytes as u64))
        .collect();
    if out.json {
        let listed: Vec<_> = sections
            .iter()
            .map(|(n, b)| serde_json::json!({ "name": n, "bytes": b }))
            .collect();
        out.object(&serde_json::json!({
            "path": bundle.path(), "name": card.name, "about": card.about, "dim": card.dim,
            "feature_space": bundle.feature_space().to_string(), "source": card.source,
            "preprocess": card.preprocess, "score": card.score, "templates": card.templates,
            "image_encoder": card.image, "text_encoder": card.text, "vocabulary": names,
            "licences": card.licences.iter().map(|l| &l.name).collect::<Vec<_>>(),
            "bytes": size, "sha256": hex(&bundle.envelope().sha256()), "sections": listed,
        }))?;
        return Ok(Done::Whole);
    }
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |key: &str, value: String| rows.push([key.into(), value]);
    row("name", card.name.clone());
    row("about", card.about.clone());
    row(
        "file",
        format!("{}, {}", bundle.path().display(), human_bytes(size)),
    );
    row("sha256", hex(&bundle.envelope().sha256()));
    row(
        "space",
        format!("{} ({} floats)", bundle.feature_space(), card.dim),
    );
    row("source", card.source.clone());
    row("input", input_words(card));
    row(
        "score",
        format!(
            "{:?}, scale {}, bias {}",
            card.score.form, card.score.scale, card.score.bias
        )
        .to_lowercase(),
    );
    row("prompts", card.templates.join(" | "));
    row(
        "image",
        card.image
            .map_or("none".into(), |f| format!("{f:?}").to_lowercase()),
    );
    row(
        "text",
        card.text.as_ref().map_or("none".into(), |t| {
            let kind = if t.exact {
                "exact"
            } else {
                "a small stand-in for the exact one"
            };
            format!("{kind}, up to {} tokens", t.max_tokens)
        }),
    );
    row(
        "names",
        if names == 0 {
            "none".into()
        } else {
            format!("{names} ready (model inspect --vocabulary)")
        },
    );
    for licence in &card.licences {
        row("licence", format!("{}: {}", licence.name, licence.covers));
    }
    for (name, bytes) in &sections {
        row("section", format!("{:>10}  {name}", human_bytes(*bytes)));
    }
    out.table(&rows.into_iter().map(Vec::from).collect::<Vec<_>>(), &[])?;
    Ok(Done::Whole)
}

fn input_words(card: &Card) -> String {
    let p = &card.preprocess;
    let mut words = match p.resize {
        Resize::Shortest(side) => format!("shortest side {side}"),
        Resize::Exact { width, height } => format!("{width}×{height}"),
    };
    write!(words, ", {:?}", p.filter).expect("strings take all text");
    if let Some((width, height)) = p.crop {
        write!(words, ", centre {width}×{height}").expect("strings take all text");
    }
    write!(words, ", mean {:.3?}, std {:.3?}", p.mean, p.std).expect("strings take all text");
    words.to_lowercase()
}

fn show_licences(card: &Card, out: &mut Output) -> Result<Done, Stop> {
    for l in &card.licences {
        if out.json {
            out.object(&serde_json::json!({ "name": l.name, "covers": l.covers, "text": l.text }))?;
        } else {
            out.line(&format!("== {}: {} ==\n\n{}\n", l.name, l.covers, l.text))?;
        }
    }
    Ok(Done::Whole)
}

fn show_vocabulary(bundle: &Bundle, out: &mut Output) -> Result<Done, Stop> {
    for n in bundle.vocabulary()?.map(|v| v.names).unwrap_or_default() {
        if out.json {
            out.object(&n)?;
        } else {
            let aliases: String = n.aliases.iter().map(|a| format!(" | {a}")).collect();
            out.line(&format!("{}{aliases}", n.name))?;
        }
    }
    Ok(Done::Whole)
}

fn verify(path: &Path, out: &mut Output) -> Result<Done, Stop> {
    let bundle = Bundle::open(path)?;
    bundle.envelope().verify().map_err(|e| e.at(path))?;
    let mut checked = vec![format!("{} sections", bundle.envelope().sections().len())];
    if bundle.card().image.is_some() {
        let mut encoder = Encoder::open(&bundle, 1)?;
        encoder.encode(&Frame::from_rgb(64, 48, vec![128; 64 * 48 * 3])?)?;
        checked.push("image encoder".into());
    }
    if let Some(text) = TextEncoder::open(&bundle)? {
        text.encode(&["a photo of a mug.".into()], &mut |_| {})?;
        checked.push("text encoder".into());
    }
    if let Some(v) = bundle.vocabulary().map_err(|e| e.at(path))? {
        checked.push(format!("{} names", v.names.len()));
    }
    let sha256 = hex(&bundle.envelope().sha256());
    if out.json {
        out.object(&serde_json::json!({ "path": path, "whole": true, "checked": checked, "sha256": sha256 }))?;
    } else {
        out.line(&format!(
            "{}: whole ({})\nsha256 {sha256}",
            path.display(),
            checked.join(", ")
        ))?;
    }
    Ok(Done::Whole)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
