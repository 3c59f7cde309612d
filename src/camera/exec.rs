//! JPEGs from a program's standard output.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::group;
use super::jpegs::Jpegs;
use super::mjpeg::Splitter;
use super::{Captured, Fault, Source};
use crate::error::{Error, Result};

/// Longest line of the program's own words that is passed on, in bytes.
const MOST_LINE: usize = 500;
/// How long its end is waited for, when nothing more comes or it was killed.
const FAREWELL: Duration = Duration::from_millis(100);

/// A running program. It ends with this value, and with it all that it started.
pub(super) struct Exec {
    jpegs: Jpegs,
    program: String,
    child: Option<Child>,
    words: Words,
    /// Whether it wrote something, and no picture.
    strays: Arc<AtomicBool>,
}

impl Exec {
    /// Starts the program; its words on standard error go to the log.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn open(command: &[String]) -> Result<Self> {
        let program = command.first().cloned().unwrap_or_default();
        let failed = |e| Error::io(Path::new(&program), "start", e);
        let mut start = Command::new(&program);
        start.args(command.iter().skip(1)).stdin(Stdio::null());
        start.stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that what it starts can be ended with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut start, 0);
        let mut child = start.spawn().map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // From here on whatever goes wrong ends the program.
        let mut exec = Self {
            jpegs: Jpegs::default(),
            program: program.clone(),
            child: Some(child),
            words: Words::default(),
            strays: Arc::default(),
        };
        if let (Some(stdout), Some(stderr)) = (stdout, stderr) {
            exec.words.listen(&program, stderr).map_err(failed)?;
            exec.read(stdout).map_err(failed)?;
        }
        Ok(exec)
    }

    fn read(&self, stdout: ChildStdout) -> std::io::Result<()> {
        let (newest, program) = (self.jpegs.newest(), self.program.clone());
        let strays = Arc::clone(&self.strays);
        let work = move || {
            let mut splitter = Splitter::new(stdout);
            let read = newest.read(&mut splitter, u64::MAX);
            strays.store(matches!(read, Ok(0)) && splitter.has_read(), Relaxed);
            newest.end(match read {
                Ok(_) => Fault::End,
                Err(e) => Fault::Lost(Error::io(Path::new(&program), "read from", e)),
            });
        };
        thread::Builder::new()
            .name("exec".into())
            .spawn(work)
            .map(drop)
    }

    /// How the program ended, which has closed its output.
    fn end(&mut self) -> Error {
        let status = self.child.as_mut().and_then(|c| wait(c, FAREWELL));
        let (what, expected) = match self.strays.load(Relaxed) {
            false => ("the end of", "more JPEGs"),
            true => (
                "no JPEG in the output of",
                "JPEGs one after the other (MJPEG)",
            ),
        };
        let how = status.map_or("it closed its output".to_owned(), |s| s.to_string());
        let mut found = format!("{what} `{}` ({how})", self.program);
        if let Some(last) = self.words.last() {
            found = format!("{found} with the words: {last}");
        }
        Error::invalid("program", found, expected)
    }
}

impl Source for Exec {
    fn about(&self) -> String {
        format!("{}: JPEGs of a program", self.program)
    }

    fn next(&mut self, buffer: Vec<u8>, patience: Duration) -> Result<Captured, Fault> {
        self.jpegs
            .next(buffer, patience)
            .map_err(|fault| match fault {
                // It is not the end of what it shows.
                Fault::End => Fault::Lost(self.end()),
                other => other,
            })
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.jpegs.stop();
        let Some(mut child) = self.child.take() else {
            return;
        };
        // Once waited for, its number may be another's.
        if let Ok(None) = child.try_wait() {
            group::kill(&mut child);
        }
        if wait(&mut child, FAREWELL).is_none() {
            // A driver may hold it for long; somebody must still take its end.
            thread::spawn(move || child.wait());
        }
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
            Ok(status) => return status,
            Err(_) => return None,
        }
    }
}

/// What the program says on standard error.
#[derive(Default)]
struct Words {
    last: Arc<Mutex<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Words {
    fn listen(&mut self, program: &str, stderr: ChildStderr) -> std::io::Result<()> {
        let (program, last) = (program.to_owned(), Arc::clone(&self.last));
        let work = move || {
            each_line(BufReader::new(stderr), |line| {
                log::info!("{program}: {line}");
                *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
            });
        };
        let thread = thread::Builder::new().name("exec words".into());
        self.thread = Some(thread.spawn(work)?);
        Ok(())
    }

    /// The last line, when all of them are there.
    fn last(&self) -> Option<String> {
        let until = Instant::now() + FAREWELL;
        while self.thread.as_ref().is_some_and(|t| !t.is_finished()) && Instant::now() < until {
            thread::sleep(Duration::from_millis(2));
        }
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Some(last.clone()).filter(|l| !l.is_empty())
    }
}

/// Lines cut to a bearable length, and without what would steer a terminal.
fn each_line(from: impl BufRead, mut each: impl FnMut(String)) {
    let mut line = Vec::new();
    let mut flush = |line: &mut Vec<u8>| {
        let text: String = String::from_utf8_lossy(line)
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        line.clear();
        if !text.trim().is_empty() {
            each(text.trim().to_owned());
        }
    };
    for byte in from.bytes().map_while(std::io::Result::ok) {
        match byte {
            b'\n' | b'\r' => flush(&mut line),
            _ if line.len() < MOST_LINE => line.push(byte),
            _ => {}
        }
    }
    flush(&mut line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_cleaned_and_passed_on_line_by_line() {
        let long = "x".repeat(2000);
        let text = format!("one\n\n\x1b[31mtwo\rthree\n{long}\nfour");
        let mut lines = Vec::new();
        each_line(text.as_bytes(), |l| lines.push(l));
        assert_eq!(lines, ["one", "[31mtwo", "three", &long[..500], "four"]);
    }
}
