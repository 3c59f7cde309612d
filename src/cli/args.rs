//! The command line as clap structs; man page and completions come from these too.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, value_parser};

use super::photos::MAX_MEGAPIXELS;
use crate::head::{Method, Share};
use crate::text::Prompts;

/// Recognise things by name on a camera board, offline.
#[derive(Debug, Parser)]
#[command(
    name = "edgeclip",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit status: 0 done, 1 failed or some photos unreadable, 2 wrong usage.\n\
    Settings: flags win over EDGECLIP_* variables, these over the config file: `edgeclip config show`."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Most threads that may be asked for.
pub(crate) const MAX_THREADS: usize = 256;
/// Most answers for each photo.
pub(crate) const MAX_TOP: usize = 10_000;

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// Model bundle, a file or the name of an installed one [env: EDGECLIP_MODEL] [default: starter.ecmodel in the usual places]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) model: Option<PathBuf>,
    /// Bundle with the text encoder [env: EDGECLIP_TEXT_MODEL] [default: NAME-text.ecmodel beside the model]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) text_model: Option<PathBuf>,
    /// Threads; 0 takes every core [env: EDGECLIP_THREADS] [default: 0]
    #[arg(long, value_name = "N", global = true, value_parser = value_parser!(u16).range(0..=MAX_THREADS as i64))]
    pub(crate) threads: Option<u16>,
    /// Config file [env: EDGECLIP_CONFIG] [default: edgeclip/config.toml in the user's config folder, then /etc]
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// JSON on stdout, one object a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say more on stderr; twice for still more, thrice for what libraries say
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Say nothing on stderr but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say what photos show, out of given names
    Classify(Classify),
    /// Write the features of photos, or the text weights of names
    Embed(Embed),
    #[cfg_attr(feature = "camera", doc = "Teach a class from photos or a camera")]
    #[cfg_attr(not(feature = "camera"), doc = "Teach a class from photos")]
    Learn(Learn),
    /// Forget the shots of a class, or single shots
    Forget(Forget),
    /// Go back to an earlier save of the classifier
    Undo(Steps),
    /// Take back an undo
    Redo(Steps),
    /// List the saves of the classifier, newest first
    History {
        #[command(flatten)]
        file: ClassifierFile,
    },
    /// What the classifier thinks of its own shots: accuracy, confusions, likely wrong labels
    Audit(Audit),
    /// Measure accuracy on labelled photos, or heads on features
    Eval(Eval),
    /// Exchange heads with other programs, as safetensors
    #[command(subcommand)]
    Head(Head),
    /// The classes of a classifier file
    #[command(subcommand)]
    Classes(Classes),
    /// Model bundles: what is in them, whether they are whole, making them
    #[command(subcommand)]
    Model(Model),
    /// Watch a camera: steady answers, live, to the terminal and elsewhere
    #[cfg(feature = "camera")]
    Watch(Box<super::watch::args::Watch>),
    /// List cameras: names, formats, what each would run in, and why one cannot be used
    #[cfg(all(feature = "camera", target_os = "linux"))]
    Cameras,
    /// Time this machine: latency, rate, memory
    Bench(Bench),
    /// Settings in force and where each comes from
    #[command(subcommand)]
    Config(Config),
    /// Print shell completions
    Completions {
        /// Shell to complete in
        shell: clap_complete::Shell,
    },
    /// Print the man page (roff)
    Man,
}

/// Names from the command line or a file.
#[derive(Debug, Default, Args)]
pub(crate) struct Names {
    /// Names, comma-separated: "mug, screwdriver, cat"
    #[arg(long, value_name = "A,B,C", conflicts_with = "labels_file")]
    pub(crate) labels: Option<String>,
    /// File of names, one a line: `name` or `name | prompt | prompt`
    #[arg(long, value_name = "FILE")]
    pub(crate) labels_file: Option<PathBuf>,
    /// Prompt set [default: the model's own]
    #[arg(long, value_name = "SET", value_parser = PossibleValuesParser::new(Prompts::NAMES))]
    pub(crate) prompts: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Classify {
    /// Photos (JPEG, PNG, WebP, BMP), or folders to search for them
    #[arg(required = true, value_name = "PHOTO|FOLDER")]
    pub(crate) photos: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) names: Names,
    /// Classifier file [env: EDGECLIP_CLASSIFIER] [default: default.ecclass in the user's data folder]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["labels", "labels_file"])]
    pub(crate) classifier: Option<PathBuf>,
    /// Answers for each photo [env: EDGECLIP_TOP] [default: 3]
    #[arg(long, value_name = "K", value_parser = value_parser!(u16).range(1..=MAX_TOP as i64))]
    pub(crate) top: Option<u16>,
    #[command(flatten)]
    pub(crate) decode: Decode,
}

/// Which head learns, and how.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Learning")]
pub(crate) struct HeadFlags {
    /// Head [default: auto, or what the classifier learned with last]
    #[arg(long, value_name = "HEAD", value_parser = PossibleValuesParser::new(Method::NAMES))]
    pub(crate) head: Option<String>,
    /// clip-adapter: share of the adapted feature, 0 to 1, or `search` [default: 0.2]
    #[arg(long, value_name = "A", value_parser = parse_share)]
    pub(crate) alpha: Option<Share>,
    /// clip-adapter: share of the adapted text weight, 0 to 1, or `search` [default: 0]
    #[arg(long, value_name = "B", value_parser = parse_share)]
    pub(crate) beta: Option<Share>,
    /// clip-adapter: training [default: full-batch]
    #[arg(long, value_name = "HOW", value_parser = ["full-batch", "authors", "lbfgs"])]
    pub(crate) training: Option<String>,
    /// clip-adapter: seed of the random start
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Learn {
    /// The class, then its photos or folders of them; only the class with --camera, only photos with --background
    #[arg(
        value_name = "CLASS PHOTO|FOLDER",
        required_unless_present_any = ["from", "background"],
        conflicts_with = "from"
    )]
    pub(crate) what: Vec<PathBuf>,
    /// Folder with a folder of photos for each class, named after it
    #[arg(long, value_name = "FOLDER", conflicts_with = "background")]
    pub(crate) from: Option<PathBuf>,
    /// The photos show none of the classes: answer `unknown` to their like
    #[arg(long)]
    pub(crate) background: bool,
    /// Views of each photo to learn from: 2 adds it mirrored, more add parts of it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u8).range(1..=12))]
    pub(crate) views: u8,
    /// Let photos alone say what a new class is, not its name
    #[arg(long)]
    pub(crate) no_name: bool,
    /// Keep a small picture of each photo in the classifier
    #[arg(long)]
    pub(crate) keep_photos: bool,
    /// Share of strange things that may be taken for a class; sets the threshold of `unknown`
    #[arg(long, value_name = "SHARE", value_parser = parse_false_accept)]
    pub(crate) false_accept: Option<f32>,
    #[command(flatten)]
    pub(crate) head: HeadFlags,
    #[command(flatten)]
    pub(crate) file: ClassifierFile,
    #[command(flatten)]
    pub(crate) decode: Decode,
    #[cfg(feature = "camera")]
    #[command(flatten)]
    pub(crate) burst: super::watch::args::Burst,
}

#[derive(Debug, Args)]
pub(crate) struct Forget {
    /// Class whose shots to forget; its name stays if it has a text weight
    #[arg(value_name = "CLASS", required_unless_present_any = ["shot", "background"], conflicts_with_all = ["shot", "background"])]
    pub(crate) class: Option<String>,
    /// Single shots, by the ids that `classes list --shots` and `audit` show
    #[arg(long, value_name = "ID", num_args = 1.., conflicts_with = "background")]
    pub(crate) shot: Vec<u32>,
    /// The background shots
    #[arg(long)]
    pub(crate) background: bool,
    #[command(flatten)]
    pub(crate) file: ClassifierFile,
}

#[derive(Debug, Args)]
pub(crate) struct Steps {
    /// How many saves
    #[arg(value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=1000))]
    pub(crate) steps: u32,
    #[command(flatten)]
    pub(crate) file: ClassifierFile,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Draw the confusion matrix into this file, .png or .svg
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) file: ClassifierFile,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// Folder with a folder of photos for each class, named after it
    #[arg(
        value_name = "FOLDER",
        required_unless_present = "features",
        conflicts_with = "features"
    )]
    pub(crate) photos: Option<PathBuf>,
    /// Feature pack (safetensors) instead of photos
    #[arg(long, value_name = "PACK")]
    pub(crate) features: Option<PathBuf>,
    /// Learn from so many shots a class and test on the rest: 1,2,4,8,16 [without it: the classifier as it is]
    #[arg(long, value_name = "K,K", value_delimiter = ',')]
    pub(crate) shots: Vec<usize>,
    /// Heads to compare, comma-separated, or `all` [default: auto]
    #[arg(long, value_name = "HEAD,HEAD", value_delimiter = ',', value_parser = PossibleValuesParser::new(Method::NAMES.into_iter().chain(["all"])))]
    pub(crate) head: Vec<String>,
    /// Only this draw of the shots, from 0
    #[arg(long, value_name = "I", value_parser = value_parser!(u16).range(0..=999))]
    pub(crate) draw: Option<u16>,
    /// Draws of the shots
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) draws: u32,
    /// AUROC of things of no class too: the later half of the classes is held out, in half as much time again
    #[arg(long)]
    pub(crate) open_set: bool,
    /// Heads other than auto as they come: no calibration, no estimate, in a sixth of the time
    #[arg(long)]
    pub(crate) uncalibrated: bool,
    /// Whether class names may help
    #[arg(long, value_name = "use|ignore", default_value = "use", value_parser = ["use", "ignore"])]
    pub(crate) text: String,
    /// clip-adapter: seed of the random start
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Draw accuracy against shots, a line for each head, into this file, .svg or .png
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
    /// Draw the confusion matrix into this file, .png or .svg
    #[arg(long, value_name = "FILE")]
    pub(crate) picture: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) file: ClassifierFile,
    #[command(flatten)]
    pub(crate) decode: Decode,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Head {
    /// Write the learned head as safetensors
    Export {
        /// File to write
        #[arg(value_name = "FILE.safetensors")]
        output: PathBuf,
        #[command(flatten)]
        file: ClassifierFile,
    },
    /// Take a head from safetensors into a classifier of the same classes
    Import {
        /// File to read
        #[arg(value_name = "FILE.safetensors")]
        input: PathBuf,
        #[command(flatten)]
        file: ClassifierFile,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// Colour behind transparent pixels, as RRGGBB
    #[arg(long, value_name = "RRGGBB", default_value = "ffffff", value_parser = parse_colour)]
    pub(crate) backdrop: [u8; 3],
    /// Largest photo, in million pixels
    #[arg(long, value_name = "MP", default_value_t = 50, value_parser = value_parser!(u64).range(1..=MAX_MEGAPIXELS))]
    pub(crate) max_megapixels: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// Photos, or folders to search for them
    #[arg(required_unless_present_any = ["labels", "labels_file"], value_name = "PHOTO|FOLDER")]
    pub(crate) photos: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) names: Names,
    /// Write a NumPy matrix here, and what its rows are to FILE.txt; without it: JSON lines on stdout
    #[arg(short, long, value_name = "FILE.npy")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) decode: Decode,
}

#[derive(Debug, Args)]
pub(crate) struct ClassifierFile {
    /// Classifier file [env: EDGECLIP_CLASSIFIER] [default: default.ecclass in the user's data folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) classifier: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Classes {
    /// List the classes with their shots
    List {
        /// List every shot
        #[arg(long)]
        shots: bool,
        #[command(flatten)]
        file: ClassifierFile,
    },
    /// Add classes by name; makes the classifier if there is none
    Add {
        /// Names to add
        #[arg(value_name = "NAME", required_unless_present_any = ["labels", "labels_file"])]
        names: Vec<String>,
        #[command(flatten)]
        more: Names,
        #[command(flatten)]
        file: ClassifierFile,
    },
    /// Move shots to another class
    Move {
        /// Ids of the shots
        #[arg(required = true, value_name = "ID")]
        shots: Vec<u32>,
        /// Class to move them to
        #[arg(long, value_name = "CLASS", required_unless_present = "background")]
        to: Option<String>,
        /// Move them to the background
        #[arg(long, conflicts_with = "to")]
        background: bool,
        #[command(flatten)]
        file: ClassifierFile,
    },
    /// Remove classes with their shots
    Remove {
        /// Names to remove
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        #[command(flatten)]
        file: ClassifierFile,
    },
    /// Give a class another name; what it recognises stays the same
    Rename {
        /// Name it has
        name: String,
        /// Name to give it
        new_name: String,
        #[command(flatten)]
        file: ClassifierFile,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Model {
    /// Show what a bundle holds
    Inspect {
        /// Bundle [default: the model in force]
        file: Option<PathBuf>,
        /// Print the licence texts in full
        #[arg(long)]
        licences: bool,
        /// List the vocabulary, a name a line
        #[arg(long, conflicts_with = "licences")]
        vocabulary: bool,
    },
    /// Check every byte of a bundle and run its encoders once, or compare its features and answers with
    /// those of what it was made of
    Verify {
        /// Bundle [default: the model in force]
        file: Option<PathBuf>,
        /// Model to compare features and answers with: a folder, or an ONNX file
        #[arg(long, value_name = "FOLDER|FILE", requires = "photos")]
        against: Option<PathBuf>,
        /// Photos to compare on
        #[arg(long, value_name = "FOLDER", requires = "against")]
        photos: Option<PathBuf>,
        /// File of names to compare texts and answers on, one a line: `name` or `name | prompt | prompt`
        /// [default: the folders of the photos, else everyday names]
        #[arg(long, value_name = "FILE", requires = "against")]
        labels_file: Option<PathBuf>,
    },
    /// Make a bundle of a published model: ONNX or safetensors (docs/models.md)
    Import(Box<Import>),
    /// Fetch a model by name from a hub and import it
    Pull(Pull),
    /// List the models that can be pulled by name
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Name of `model list`, or OWNER/REPOSITORY; a branch, tag or commit may follow
    #[arg(value_name = "NAME[@REVISION]")]
    pub(crate) name: String,
    /// Bundle to write [default: NAME.ecmodel in the user's models folder]
    #[arg(short, long, value_name = "NAME.ecmodel")]
    pub(crate) output: Option<PathBuf>,
    /// int8: image weights of a quarter of the size, judged layer by layer; none: as published
    #[arg(long, default_value = "int8", value_parser = ["int8", "none"])]
    pub(crate) quantize: String,
    /// Use what was pulled before, and no network
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// Folder as model hubs have it, folder with a bundle.toml, or the files of a model
    #[arg(required = true, value_name = "FOLDER|FILE")]
    pub(crate) paths: Vec<PathBuf>,
    /// Bundle to write
    #[arg(short, long, value_name = "NAME.ecmodel")]
    pub(crate) output: PathBuf,
    /// Name of the bundle [default: that of the folder or file]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Form to take where the folder has several [default: the most exact]
    #[arg(long, value_parser = ["fp32", "fp16", "int8", "quantized", "uint8"])]
    pub(crate) variant: Option<String>,
    /// int8: image weights of a quarter of the size, judged layer by layer; none: as published
    #[arg(long, default_value = "none", value_parser = ["int8", "none"])]
    pub(crate) quantize: String,
    /// Photos of the field to judge int8 on and to fix ranges by [default: made-up pictures]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) calibrate: Option<PathBuf>,
    /// Leave the text encoder out
    #[arg(long)]
    pub(crate) no_text: bool,
    /// File of names, as of --labels-file: their text vectors go into the bundle, so that boards need no text encoder
    #[arg(long, value_name = "FILE")]
    pub(crate) vocabulary: Option<PathBuf>,
    /// Output of the image model that is the feature [default: image_embeds]
    #[arg(long, value_name = "NAME", help_heading = "The model's ends")]
    pub(crate) image_output: Option<String>,
    /// Output of the text model that is the text's vector [default: text_embeds]
    #[arg(long, value_name = "NAME", help_heading = "The model's ends")]
    pub(crate) text_output: Option<String>,
    /// How tokens become one vector, where the output has many
    #[arg(long, value_parser = ["class", "mean"], help_heading = "The model's ends")]
    pub(crate) pool: Option<String>,
    /// Projection of the image output: FILE.npy, or FILE.safetensors:TENSOR
    #[arg(long, value_name = "FILE", help_heading = "The model's ends")]
    pub(crate) projection: Option<String>,
    /// Projection of the text output, likewise
    #[arg(long, value_name = "FILE", help_heading = "The model's ends")]
    pub(crate) text_projection: Option<String>,
    /// Axes of the picture [default: as the model declares them]
    #[arg(long, value_parser = ["nchw", "nhwc"], help_heading = "The model's ends")]
    pub(crate) layout: Option<String>,
    /// exp(logit scale) [default: the model's, else 100]
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        help_heading = "The model's ends"
    )]
    pub(crate) logit_scale: Option<f32>,
    /// Logit bias; makes scores sigmoid, as in SigLIP
    #[arg(
        long,
        value_name = "X",
        allow_hyphen_values = true,
        help_heading = "The model's ends"
    )]
    pub(crate) logit_bias: Option<f32>,
    #[command(flatten)]
    pub(crate) pixels: Pixels,
}

/// Preprocessing; what is not given comes from preprocessor_config.json, else from CLIP.
#[derive(Debug, Args)]
#[command(next_help_heading = "Preprocessing [default: preprocessor_config.json, else CLIP's own]")]
pub(crate) struct Pixels {
    /// Shortest side N, or both sides WxH, of the picture before the crop
    #[arg(long, value_name = "N|WxH", value_parser = parse_resize)]
    pub(crate) size: Option<crate::preprocess::Resize>,
    /// Centre that is kept, N or WxH
    #[arg(long, value_name = "N|WxH", value_parser = parse_sides)]
    pub(crate) crop: Option<(u32, u32)>,
    /// Mean of red, green and blue, on the scale of 0 to 1
    #[arg(long, value_name = "R,G,B", value_parser = parse_triple)]
    pub(crate) mean: Option<[f32; 3]>,
    /// Spread of red, green and blue, on the scale of 0 to 1
    #[arg(long, value_name = "R,G,B", value_parser = parse_triple)]
    pub(crate) std: Option<[f32; 3]>,
    /// Resize filter
    #[arg(long, value_parser = ["bicubic", "bilinear"])]
    pub(crate) filter: Option<String>,
}

fn parse_triple(text: &str) -> Result<[f32; 3], String> {
    let numbers: Option<Vec<f32>> = text.split(',').map(|v| v.trim().parse().ok()).collect();
    let triple = numbers.and_then(|n| <[f32; 3]>::try_from(n).ok());
    match triple {
        Some(t) if t.iter().any(|v| *v > 1.0) => {
            Err("on the scale of 0 to 1: divide by 255, as in 0.48,0.46,0.41".into())
        }
        Some(t) => Ok(t),
        None => Err("three numbers, as in 0.5,0.5,0.5".into()),
    }
}

fn parse_sides(text: &str) -> Result<(u32, u32), String> {
    let (width, height) = text.split_once('x').unwrap_or((text, text));
    match (width.parse(), height.parse()) {
        (Ok(width), Ok(height)) => Ok((width, height)),
        _ => Err("a number of pixels, or WIDTHxHEIGHT".into()),
    }
}

fn parse_resize(text: &str) -> Result<crate::preprocess::Resize, String> {
    use crate::preprocess::Resize;
    let (width, height) = parse_sides(text)?;
    Ok(match text.contains('x') {
        true => Resize::Exact { width, height },
        false => Resize::Shortest(width),
    })
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Runs of each measurement
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(3..=100_000))]
    pub(crate) runs: u32,
    /// Frame size
    #[arg(long, default_value = "1280x720", value_name = "WxH", value_parser = parse_size)]
    pub(crate) size: (u32, u32),
    /// Time each step of the encoder too
    #[arg(long)]
    pub(crate) profile: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print each setting, its value and its source
    Show,
}

fn parse_colour(text: &str) -> Result<[u8; 3], String> {
    let hex = text.trim_start_matches('#');
    let value = u32::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 6);
    let [_, r, g, b] = value.ok_or("six hex digits, as in ffffff")?.to_be_bytes();
    Ok([r, g, b])
}

fn parse_share(text: &str) -> Result<Share, String> {
    if text == "search" {
        return Ok(Share::Searched);
    }
    let number = text.parse().ok();
    let share = number.filter(|share| (0.0..=1.0).contains(share));
    share
        .map(Share::Fixed)
        .ok_or_else(|| "a share from 0 to 1, or `search`".into())
}

fn parse_false_accept(text: &str) -> Result<f32, String> {
    let number = text.parse().ok();
    number
        .filter(|share| 0.0 < *share && *share < 1.0)
        .ok_or_else(|| "a share between 0 and 1, as 0.05".into())
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parse = |s: &str| s.parse().ok().filter(|n| (1..=8192).contains(n));
    text.split_once('x')
        .and_then(|(w, h)| Some((parse(w)?, parse(h)?)))
        .ok_or_else(|| "WIDTHxHEIGHT, each 1 to 8192, as in 1280x720".into())
}
