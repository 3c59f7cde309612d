//! A command for each event: one at a time, never by a shell, killed if it takes too long.

use std::io::{ErrorKind, Write, stderr};
use std::path::Path;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::json::{Line, label, moment, reason, share};
use super::{News, Refused, Sink};
use crate::camera::group;
use crate::error::{Error, Result};
use crate::live::Event;

/// How long a command may take, unless told otherwise.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// A program that is run when a state begins and when it ends.
///
/// In its arguments `{label}`, `{state}`, `{p}` and `{event}` stand for the event; its environment
/// has the same as `EDGECLIP_LABEL` and so on, and it reads the event's line of JSON. What it prints
/// goes to stderr. While one runs the next events wait in the outlet's queue, which keeps the latest.
pub struct Command {
    program: String,
    arguments: Vec<String>,
    limit: Duration,
    line: Vec<u8>,
}

impl Command {
    /// A program and its arguments, each as it is; `limit` is usually [`COMMAND_LIMIT`].
    ///
    /// # Errors
    /// There is no program, or none of that name.
    pub fn new(words: Vec<String>, limit: Duration) -> Result<Self> {
        let mut words = words.into_iter();
        let Some(program) = words.next().filter(|p| !p.is_empty()) else {
            return Err(Error::invalid(
                "command",
                "no words",
                "a program, then its arguments",
            ));
        };
        if !is_there(&program) {
            let expected = "a program in PATH, or one named by its path";
            return Err(Error::invalid(
                "command",
                format!("no program `{program}`"),
                expected,
            ));
        }
        Ok(Self {
            program,
            arguments: words.collect(),
            limit,
            line: Vec::new(),
        })
    }

    /// Words in braces in its arguments that stand for nothing, and stay as they are.
    pub fn strange(&self) -> impl Iterator<Item = &str> {
        self.arguments.iter().flat_map(|a| strange(a))
    }

    fn start(&self, event: &Event) -> std::io::Result<Child> {
        let facts = facts(event);
        let mut process = Process::new(&self.program);
        process.args(self.arguments.iter().map(|a| filled(a, &facts)));
        for (name, value) in &facts {
            process.env(format!("EDGECLIP_{}", name.to_uppercase()), value);
        }
        process.stdin(Stdio::piped()).stdout(Stdio::from(stderr()));
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut process, 0);
        process.spawn()
    }

    fn run(&mut self, event: &Event) -> Result<(), String> {
        Line::from(event).write(&mut self.line)?;
        let program = &self.program;
        let mut child = self.start(event).map_err(|e| match e.kind() {
            ErrorKind::NotFound => format!("{program}: no such program: name it by its path"),
            _ => format!("{program}: cannot start: {e}"),
        })?;
        // A line is shorter than a pipe holds, so that this does not wait; a command that does not
        // read it has closed its end, which is its right.
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&self.line).ok();
        }
        let ended = wait(&mut child, self.limit).map_err(|e| format!("{program}: {e}"))?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("{program}: ended with {status}")),
            None => Err(format!(
                "{program}: killed after {:.1} s: make it faster, or give it more time",
                self.limit.as_secs_f32()
            )),
        }
    }
}

impl Sink for Command {
    fn name(&self) -> &'static str {
        "command"
    }

    fn wants_frames(&self) -> bool {
        false
    }

    fn take(&mut self, news: &News) -> Result<(), Refused> {
        match news {
            News::Event(event) => self.run(event).map_err(Refused::Failed),
            News::Frame(_) | News::Counters(..) => Ok(()),
        }
    }
}

/// Whether a command of this name can be found now. One that may not be run says so when it is.
fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|f| f.join(program).is_file())
}

/// Names of places.
const PLACES: [&str; 6] = ["label", "state", "p", "event", "number", "reason"];

/// `{lable}`, but neither `%{http_code}` of curl nor `${HOME}`.
fn strange(argument: &str) -> impl Iterator<Item = &str> {
    let words = argument.match_indices('{').filter_map(|(at, _)| {
        let word = argument[at + 1..].split_once('}')?.0;
        let is_ours = !argument[..at].ends_with(['%', '$']);
        let is_word = !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
        (is_ours && is_word).then_some(word)
    });
    words.filter(|word| !PLACES.contains(word))
}

/// What a command may be told of an event.
fn facts(event: &Event) -> [(&'static str, String); 6] {
    // No argument and no variable can hold a zero byte.
    let held = |text: &str| text.replace('\0', "\u{fffd}");
    [
        ("label", held(label(&event.state).unwrap_or(""))),
        ("state", event.state.kind().to_owned()),
        ("p", share(event.confidence).to_string()),
        ("event", moment(event).to_owned()),
        ("number", event.number.to_string()),
        ("reason", held(reason(&event.state).unwrap_or(""))),
    ]
}

/// An argument with the facts in their places. One pass: a label may look like a place itself.
fn filled(argument: &str, facts: &[(&str, String)]) -> String {
    let mut out = String::with_capacity(argument.len());
    let mut rest = argument;
    while let Some(at) = rest.find('{') {
        out += &rest[..at];
        rest = &rest[at..];
        let place = facts.iter().find_map(|(name, value)| {
            let after = rest[1..].strip_prefix(name)?.strip_prefix('}')?;
            Some((value, after))
        });
        match place {
            Some((value, after)) => {
                out += value;
                rest = after;
            }
            None => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
}

/// Waits for a command; after `limit` it and all that it started are killed, and there is no status.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            group::kill(child);
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "command_tests.rs"]
mod tests;
