//! For people: a line an event, and on a terminal one below them that changes in place.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use unicode_width::UnicodeWidthStr;

use super::lines::Whole;
use super::{News, Refused, Sink, Utc};
use crate::live::{Event, Reading, Snapshot, State};
use crate::text::{cut, printable};

/// Columns of the longest class name.
const NAME_COLUMNS: usize = 32;
/// Columns of the bar.
const BAR_COLUMNS: usize = 10;
/// A line changes at most this often, for a slow console; a new state is shown at once.
const REDRAW: Duration = Duration::from_millis(100);

/// What the line is about.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What is settled.
    pub state: State,
    /// The newest frame.
    pub reading: Option<Reading>,
    /// The newest counters.
    pub counters: Option<Snapshot>,
}

/// How a terminal is written to.
pub struct Terminal<W> {
    out: Whole<W>,
    /// Columns now, where it is a terminal.
    columns: Option<fn() -> usize>,
    colours: bool,
    view: View,
    shown: Option<Instant>,
    /// The state that ended last, for the words about what was.
    was: Option<(State, Duration)>,
}

impl Terminal<std::io::Stdout> {
    /// Stdout: in place where it is a terminal, in colours unless `NO_COLOR` says otherwise.
    #[must_use]
    pub fn stdout() -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let columns = is_terminal.then_some(columns as fn() -> usize);
        Self::new(std::io::stdout(), columns, is_terminal && !plain)
    }
}

impl<W: Write + Send> Terminal<W> {
    /// Anything that takes bytes. With `columns`, which tells how wide it is now, one line changes
    /// in place; without, each event is a line and no escape code is written.
    pub fn new(out: W, columns: Option<fn() -> usize>, colours: bool) -> Self {
        Self {
            out: Whole::new(out),
            columns,
            colours,
            view: View::default(),
            shown: None,
            was: None,
        }
    }

    /// Draws the line again, now or when it is due.
    fn draw(&mut self, now: bool) -> Result<(), Refused> {
        let Some(columns) = self.columns else {
            return Ok(());
        };
        if !now && self.shown.is_some_and(|s| s.elapsed() < REDRAW) {
            return Err(Refused::Idle);
        }
        self.shown = Some(Instant::now());
        // The last column stays free: a letter there makes some terminals go to the next line.
        let line = render(&self.view, columns().saturating_sub(1), self.colours);
        self.out.write(format!("\r{line}\x1b[K").as_bytes())
    }

    fn event(&mut self, event: &Event) -> Result<(), Refused> {
        if event.ended.is_some() {
            self.was = Some((event.state.clone(), event.lasted));
            return Err(Refused::Idle);
        }
        self.view.state = event.state.clone();
        let line = event_line(event, self.was.as_ref());
        if self.columns.is_none() {
            return self.out.write(format!("{line}\n").as_bytes());
        }
        self.out.write(format!("\r{line}\x1b[K\n").as_bytes())?;
        self.draw(true)
    }
}

impl<W: Write + Send> Sink for Terminal<W> {
    fn name(&self) -> &'static str {
        "terminal"
    }

    fn wants_frames(&self) -> bool {
        self.columns.is_some()
    }

    fn wants_counters(&self) -> bool {
        self.columns.is_some()
    }

    fn take(&mut self, news: &News) -> Result<(), Refused> {
        match news {
            News::Event(event) => self.event(event),
            News::Frame(reading) => {
                let is_new = reading.state != self.view.state;
                self.view.state = reading.state.clone();
                self.view.reading = Some(reading.clone());
                self.draw(is_new)
            }
            News::Counters(snapshot, _) => {
                self.view.counters = Some(*snapshot);
                self.draw(false)
            }
        }
    }

    fn close(&mut self) {
        // What comes next begins on a line of its own.
        if self.shown.is_some() && self.draw(true).is_ok() {
            self.out.write(b"\n").ok();
        }
    }
}

/// The line of a terminal so many columns wide: the state first, then as much as there is room for.
#[must_use]
pub fn render(view: &View, width: usize, colours: bool) -> String {
    let mut line = Painted::new(width, colours);
    match &view.state {
        State::Fault(words) => {
            line.cut("31;1", &format!("fault: {words}"));
            return line.text;
        }
        State::Class(label) => line.cut("32;1", &cut(label, NAME_COLUMNS)),
        State::Unknown => line.cut("33;1", "unknown"),
        State::Starting => line.cut("2", "starting"),
    }
    if let Some(reading) = &view.reading {
        if matches!(view.state, State::Class(_)) {
            line.add("", &percent(reading.p));
            line.add("32", &bar(reading.p));
        }
        let settled = super::json::label(&view.state);
        let others = reading.top.iter().flatten();
        for top in others.filter(|t| settled != Some(&*t.label)).take(2) {
            let name = cut(&top.label, NAME_COLUMNS);
            line.add("2", &format!("{name} {}", percent(top.p).trim_start()));
        }
    }
    if let Some(counters) = &view.counters {
        line.add("", &format!("{:.1} fps", counters.fps));
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let (p50, p99) = (ms(counters.p50), ms(counters.p99));
        line.add("", &format!("p50 {p50:.0} ms, p99 {p99:.0} ms"));
    }
    line.text
}

/// The line of a state that began: `12:04:31Z  cat  96%  (was: unknown for 3.2 s)`.
fn event_line(event: &Event, was: Option<&(State, Duration)>) -> String {
    let mut line = format!("{}  {}", Utc(event.started).clock(), words(&event.state));
    if matches!(event.state, State::Class(_)) {
        line += &format!("  {}", percent(event.confidence).trim_start());
    }
    // From one fault to the next, the last one's length says nothing: the source was never back.
    let was =
        was.filter(|(was, _)| !matches!((was, &event.state), (State::Fault(_), State::Fault(_))));
    if let Some((state, lasted)) = was {
        let state = cut(state.word(), NAME_COLUMNS);
        line += &format!("  (was: {state} for {})", lasting(*lasted));
    }
    line
}

fn words(state: &State) -> String {
    match state {
        State::Fault(words) => format!("fault: {}", printable(words)),
        _ => printable(state.word()),
    }
}

fn percent(p: f32) -> String {
    format!("{:>3.0}%", 100.0 * p)
}

/// A bar in eighths of a column.
fn bar(p: f32) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    // A number that is none casts to an empty bar.
    let eighths = ((p.clamp(0.0, 1.0) * 8.0 * BAR_COLUMNS as f32).round()) as usize;
    let drawn = "█".repeat(eighths / 8) + EIGHTHS[eighths % 8];
    let rest = BAR_COLUMNS - drawn.chars().count();
    drawn + &" ".repeat(rest)
}

/// A length of time as people say it.
fn lasting(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0..60 => format!("{:.1} s", time.as_secs_f64().min(59.9)),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// Text that grows to the right until it is full.
struct Painted {
    text: String,
    left: usize,
    colours: bool,
}

impl Painted {
    fn new(width: usize, colours: bool) -> Self {
        Self {
            text: String::new(),
            left: width,
            colours,
        }
    }

    /// As much of the text as there is room for.
    fn cut(&mut self, colour: &str, text: &str) {
        self.paint(colour, &cut(text, self.left));
    }

    /// The text two spaces on; if there is no room for it, nothing more.
    fn add(&mut self, colour: &str, text: &str) {
        if text.width() + 2 > self.left {
            self.left = 0;
            return;
        }
        self.paint("", "  ");
        self.paint(colour, text);
    }

    fn paint(&mut self, colour: &str, text: &str) {
        self.left -= text.width().min(self.left);
        if self.colours && !colour.is_empty() {
            self.text += &format!("\x1b[{colour}m{text}\x1b[0m");
        } else {
            self.text += text;
        }
    }
}

/// Columns of the terminal that stdout is; where it does not tell, those of the environment, or 80.
fn columns() -> usize {
    if let Some((width, _)) = terminal_size::terminal_size_of(std::io::stdout()) {
        return width.0.into();
    }
    let told = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    told.filter(|c| *c > 0).unwrap_or(80)
}

#[cfg(test)]
#[path = "terminal_tests.rs"]
mod tests;
