//! `model`: what bundles hold, whether they are whole, making them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::args::{self, Global};
use super::compare::Asked;
use super::output::{Output, count, human_bytes};
use super::settings::{Settings, VerbFlags};
use super::{Done, Stop, photos, places};
use crate::bundle::{Bundle, Card, EncoderForm};
use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::frame::Decode;
use crate::frame::Frame;
use crate::import::{self, Layout, Options, Pixels, Pool, Quantized};
use crate::preprocess::{Filter, Resize};
use crate::store;
use crate::text::TextEncoder;

/// Photos that int8 is judged on at most.
const MOST_CALIBRATION: usize = 64;

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
            inspect(&bundle, None, out)
        }
        args::Model::Verify {
            file,
            against: Some(against),
            photos: Some(photos),
            labels_file,
        } => {
            let asked = Asked {
                bundle: &chosen(file)?,
                against: &against,
                photos: &photos,
                labels_file: labels_file.as_deref(),
            };
            let settings = Settings::gather(global, VerbFlags::default())?;
            super::compare::run(&asked, &settings, out)
        }
        args::Model::Verify { file, .. } => verify(&chosen(file)?, out),
        args::Model::Import(args) => {
            import::check_output(&args.output)?;
            make(&args.paths, &options(&args)?, &args.output, out)
        }
        args::Model::Pull(args) => {
            let (folder, name, output) = super::pull::fetch(&args, out)?;
            let options = Options {
                name: Some(name),
                int8: args.quantize == "int8",
                ..Options::default()
            };
            make(&[folder], &options, &output, out)
        }
        args::Model::List => super::pull::list(out),
    }
}

fn make(
    paths: &[PathBuf],
    options: &Options,
    output: &Path,
    out: &mut Output,
) -> Result<Done, Stop> {
    let mut bar = None;
    let made = import::import(paths, options, output, &mut |done, total| {
        let bar = bar.get_or_insert_with(|| photos::progress_bar(total, "steps", out.quiet));
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    if !out.quiet {
        made.notes.iter().for_each(|n| eprintln!("note: {n}"));
        if let Some(q) = &made.quantized {
            eprintln!("{}", quantized_words(q));
        }
    }
    inspect(&made.bundle, made.quantized.as_ref(), out)
}

fn quantized_words(q: &Quantized) -> String {
    let mut words = format!(
        "int8: {} of {} products{}; encoder {} → {}; cosine to the float encoder {:.5} in the mean, {:.5} at least; {:.1} → {:.1} ms a picture",
        q.int8,
        q.int8 + q.floats.len(),
        if q.fixed > 0 {
            format!(" ({} with ranges fixed by calibration)", q.fixed)
        } else {
            String::new()
        },
        human_bytes(q.bytes.0 as u64),
        human_bytes(q.bytes.1 as u64),
        q.cosine.0,
        q.cosine.1,
        q.milliseconds.0,
        q.milliseconds.1,
    );
    for (name, error) in &q.floats {
        write!(
            words,
            "\n  stays in floats: {name} (squared error {error:.1e})"
        )
        .expect("strings take all text");
    }
    words
}

fn options(args: &args::Import) -> Result<Options, Stop> {
    let p = &args.pixels;
    let int8 = args.quantize == "int8";
    if args.calibrate.is_some() && !int8 {
        let words = "--calibrate goes with --quantize int8: add that, or leave --calibrate out";
        return Err(Stop::Usage(words.into()));
    }
    let calibrate = match &args.calibrate {
        Some(folder) => {
            let paths = photos::gather(std::slice::from_ref(folder))?;
            let decode = Decode::default();
            let readable = paths.iter().filter_map(|p| {
                let skipped = |e: &Error| log::error!("{e}; skipped");
                decode.load(p).inspect_err(skipped).ok()
            });
            let frames: Vec<_> = readable.take(MOST_CALIBRATION).collect();
            if frames.is_empty() {
                let expected = "photos of what the camera will see, or no --calibrate";
                let found = format!("none of {} photos readable", paths.len());
                return Err(Error::invalid("calibration", found, expected)
                    .at(folder)
                    .into());
            }
            frames
        }
        None => Vec::new(),
    };
    Ok(Options {
        name: args.name.clone(),
        variant: args.variant.clone(),
        image_output: args.image_output.clone(),
        text_output: args.text_output.clone(),
        pool: args.pool.as_deref().map(|p| match p {
            "class" => Pool::Class,
            _ => Pool::Mean,
        }),
        projection: args.projection.clone(),
        text_projection: args.text_projection.clone(),
        layout: args.layout.as_deref().map(|l| match l {
            "nchw" => Layout::Nchw,
            _ => Layout::Nhwc,
        }),
        pixels: Pixels {
            resize: p.size,
            crop: p.crop,
            mean: p.mean,
            std: p.std,
            filter: p.filter.as_deref().map(|f| match f {
                "bicubic" => Filter::Bicubic,
                _ => Filter::Bilinear,
            }),
        },
        logit_scale: args.logit_scale,
        logit_bias: args.logit_bias,
        no_text: args.no_text,
        vocabulary: args.vocabulary.clone(),
        int8,
        calibrate,
    })
}

fn inspect(bundle: &Bundle, quantized: Option<&Quantized>, out: &mut Output) -> Result<Done, Stop> {
    let card = bundle.card();
    let size = bundle.envelope().len_bytes() as u64;
    let names = bundle.vocabulary()?.map_or(0, |v| v.names.len());
    let sections: Vec<_> = bundle
        .envelope()
        .sections()
        .map(|s| (s.name.to_owned(), s.len_bytes as u64))
        .collect();
    let (int8, floats) = import::products(bundle)?;
    if out.json {
        let quantized = quantized.map(|q| {
            serde_json::json!({
                "cosine_mean": q.cosine.0, "cosine_min": q.cosine.1, "milliseconds_before": q.milliseconds.0,
                "milliseconds": q.milliseconds.1, "bytes_before": q.bytes.0, "bytes": q.bytes.1, "fixed_ranges": q.fixed,
            })
        });
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
            "int8_products": int8, "float_products": floats, "quantized": quantized,
            "bytes": size, "sha256": store::hex(&bundle.envelope().sha256()), "sections": listed,
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
    row("sha256", store::hex(&bundle.envelope().sha256()));
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
    row("image", image_words(card, int8));
    if int8 > 0 {
        floats.iter().for_each(|f| row("in floats", f.clone()));
    }
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

/// The form that the image encoder is kept in, whatever it was made of.
fn image_words(card: &Card, int8: usize) -> String {
    match (card.image, int8) {
        (None, _) => "none".into(),
        (Some(form), n) => {
            let form = match form {
                EncoderForm::Onnx => "graph as imported",
                EncoderForm::Graph => "fused graph",
            };
            match n {
                0 => format!("{form}, float"),
                n => format!("{form}, int8 ({})", count(n, "product", "products")),
            }
        }
    }
}

fn input_words(card: &Card) -> String {
    let p = &card.preprocess;
    let mut words = resize_words(p.resize);
    write!(words, ", {:?}", p.filter).expect("strings take all text");
    if let Some((width, height)) = p.crop {
        write!(words, ", centre {width}×{height}").expect("strings take all text");
    }
    write!(words, ", mean {:.3?}, std {:.3?}", p.mean, p.std).expect("strings take all text");
    words.to_lowercase()
}

pub(super) fn resize_words(resize: Resize) -> String {
    match resize {
        Resize::Shortest(side) => format!("shortest side {side}"),
        Resize::Exact { width, height } => format!("{width}×{height}"),
    }
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
    let sha256 = store::hex(&bundle.envelope().sha256());
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
