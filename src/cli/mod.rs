//! The command-line program: data to stdout, talk to stderr, exit status for scripts.

mod args;
mod audit;
mod bench;
#[cfg(feature = "camera")]
mod burst;
#[cfg(all(feature = "camera", target_os = "linux"))]
mod cameras;
mod classes;
mod classify;
mod compare;
mod config;
mod embed;
mod eval;
mod exchange;
mod heads;
mod judge;
mod learn;
mod man;
mod model;
mod names;
mod output;
mod photos;
mod places;
mod pull;
mod saving;
mod settings;
mod teach;
mod told;
#[cfg(feature = "camera")]
mod watch;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Global, Verb};
use output::Output;

/// How a verb ended when it did not fail outright.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Everything that was asked for.
    Whole,
    /// All but some photos, which were named on stderr.
    InPart,
}

/// Why a verb stopped.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Failed(#[from] crate::error::Error),
    /// Nobody reads our output any more, as after `| head`.
    #[error("the reader closed the pipe")]
    ClosedPipe,
    /// By Ctrl-C or a service manager, in the middle of work that leaves nothing half done.
    #[cfg(feature = "camera")]
    #[error("interrupted: nothing was saved")]
    Interrupted,
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
    #[error("{0}")]
    Usage(String),
}

impl From<std::io::Error> for Stop {
    fn from(e: std::io::Error) -> Self {
        match e.kind() {
            std::io::ErrorKind::BrokenPipe => Self::ClosedPipe,
            _ => Self::Output(e),
        }
    }
}

/// Runs the program on this process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    start_log(&cli.global);
    let json = cli.global.json;
    match dispatch(cli) {
        Ok(Done::Whole) | Err(Stop::ClosedPipe) => ExitCode::SUCCESS,
        Ok(Done::InPart) => ExitCode::from(1),
        Err(stop) => {
            let status = if matches!(stop, Stop::Usage(_)) { 2 } else { 1 };
            output::complain(&stop.to_string(), json);
            ExitCode::from(status)
        }
    }
}

fn dispatch(cli: Cli) -> Result<Done, Stop> {
    let mut out = Output::new(cli.global.json, cli.global.quiet);
    match cli.verb {
        Verb::Classify(args) => classify::run(&cli.global, args, &mut out),
        Verb::Embed(args) => embed::run(&cli.global, &args, &mut out),
        Verb::Learn(args) => learn::run(&cli.global, &args, &mut out),
        Verb::Forget(args) => saving::forget(&cli.global, args, &mut out),
        Verb::Undo(args) => saving::travel(&cli.global, args, true, &mut out),
        Verb::Redo(args) => saving::travel(&cli.global, args, false, &mut out),
        Verb::History { file } => saving::history(&cli.global, file, &mut out),
        Verb::Audit(args) => audit::run(&cli.global, &args, &mut out),
        Verb::Eval(args) => eval::run(&cli.global, &args, &mut out),
        Verb::Head(verb) => exchange::run(&cli.global, verb, &mut out),
        Verb::Classes(verb) => classes::run(&cli.global, verb, &mut out),
        Verb::Model(verb) => model::run(&cli.global, verb, &mut out),
        #[cfg(feature = "camera")]
        Verb::Watch(args) => watch::run(&cli.global, *args, &mut out),
        #[cfg(all(feature = "camera", target_os = "linux"))]
        Verb::Cameras => cameras::run(&cli.global, &mut out),
        Verb::Bench(args) => bench::run(&cli.global, &args, &mut out),
        Verb::Config(args::Config::Show) => config::show(&cli.global, &mut out),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "edgeclip", &mut script);
            out.bytes(&script)
        }
        Verb::Man => man::run(&mut out),
    }
}

fn start_log(global: &Global) {
    // What libraries say is of use to their authors alone.
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "error,edgeclip=warn",
        (_, 1) => "error,edgeclip=info",
        (_, 2) => "warn,edgeclip=debug",
        _ => "debug",
    };
    let plain = global.verbose < 2;
    let mut builder =
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or(level));
    if plain {
        // A line that changes in place, as of a watch, makes room for the note and comes again below it.
        let is_terminal = std::io::stderr().is_terminal();
        let room = if is_terminal { "\r\x1b[K" } else { "" };
        if is_terminal {
            builder.write_style(env_logger::WriteStyle::Always);
        }
        builder.format(move |to, record| {
            let word = match record.level() {
                log::Level::Error => "error: ",
                log::Level::Warn => "note: ",
                _ => "",
            };
            writeln!(to, "{room}{word}{}", record.args())
        });
    }
    // A second start, as in tests, keeps the first.
    builder.try_init().ok();
}
