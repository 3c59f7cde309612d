//! From flags to sinks.

use super::args;
use crate::cli::Stop;
use crate::cli::output::Output;
use crate::error::Error;
use crate::sink::{Detail, Lines, Sink, Terminal};

/// Every sink that the flags ask for; the first one is stdout.
pub(super) fn of(args: &args::Watch, out: &Output) -> Result<Vec<Box<dyn Sink>>, Stop> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if out.json {
        let detail = match args.each.as_str() {
            "frame" => Detail::Frames,
            _ => Detail::Events,
        };
        sinks.push(Box::new(Lines::new(std::io::stdout(), detail)));
    } else {
        sinks.push(Box::new(Terminal::stdout()));
    }
    if let Some(path) = &args.sinks.log {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        let file = file.map_err(|e| Error::io(path, "append to", e))?;
        sinks.push(Box::new(Lines::new(file, Detail::Events)));
    }
    Ok(sinks)
}
