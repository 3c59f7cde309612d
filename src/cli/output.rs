//! What goes to stdout, and how: aligned columns for people, JSON lines for programs.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use unicode_width::UnicodeWidthStr;

use super::{Done, Stop};
use crate::text::cut;
pub(super) use crate::text::printable;

/// Columns of the longest class name in a table; JSON has names whole.
const MAX_CLASS_WIDTH: usize = 32;

/// Stdout with the reader's wishes.
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) quiet: bool,
    out: std::io::BufWriter<std::io::Stdout>,
    is_terminal: bool,
}

impl Output {
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        let stdout = std::io::stdout();
        let is_terminal = stdout.is_terminal();
        Self {
            json,
            quiet,
            out: std::io::BufWriter::new(stdout),
            is_terminal,
        }
    }

    /// Whether stdout takes colours: a terminal, and `NO_COLOR` unset.
    pub(super) fn colours(&self) -> bool {
        self.is_terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
    }

    /// One line of text.
    pub(super) fn line(&mut self, text: &str) -> Result<(), Stop> {
        writeln!(self.out, "{}", text.trim_end())?;
        // Each line is of use by itself: a photo takes longer than a write.
        Ok(self.out.flush()?)
    }

    /// Words beside the answer, on stderr, unless nobody wants to hear them.
    pub(super) fn say(&self, words: &str) {
        if !self.quiet {
            // Nobody is left to tell if stderr is closed.
            writeln!(std::io::stderr(), "{words}").ok();
        }
    }

    /// One JSON object on a line.
    pub(super) fn object(&mut self, value: &impl Serialize) -> Result<(), Stop> {
        serde_json::to_writer(&mut self.out, value)
            .map_err(|e| Stop::from(std::io::Error::from(e)))?;
        writeln!(self.out)?;
        Ok(self.out.flush()?)
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<Done, Stop> {
        self.out.write_all(bytes)?;
        self.out.flush()?;
        Ok(Done::Whole)
    }

    /// Rows in columns as wide as their widest cell; columns in `right` are flushed right.
    pub(super) fn table(&mut self, rows: &[Vec<String>], right: &[usize]) -> Result<(), Stop> {
        let widths = widths(rows);
        for row in rows {
            let line = align(row, &widths, right);
            self.line(&line)?;
        }
        Ok(())
    }
}

/// The widest cell of each column, as terminals show it.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    (0..columns)
        .map(|c| {
            rows.iter()
                .filter_map(|r| r.get(c))
                .map(|t| t.width())
                .max()
                .unwrap_or(0)
        })
        .collect()
}

/// One row in columns of `widths`, two spaces apart.
pub(super) fn align(row: &[String], widths: &[usize], right: &[usize]) -> String {
    padded(row, widths, right).join("  ")
}

/// The cells of a row, each filled up to its width.
pub(super) fn padded(row: &[String], widths: &[usize], right: &[usize]) -> Vec<String> {
    let cells = row.iter().zip(widths).enumerate();
    let pad = |(c, (text, width)): (usize, (&String, &usize))| {
        let space = " ".repeat(width.saturating_sub(text.width()));
        if right.contains(&c) {
            format!("{space}{text}")
        } else {
            format!("{text}{space}")
        }
    };
    cells.map(pad).collect()
}

/// A class name as tables show it: printable, its end cut where it is long.
pub(super) fn class_cell(name: &str) -> String {
    cut(name, MAX_CLASS_WIDTH)
}

/// The last words of a verb that failed, on stderr.
pub(super) fn complain(words: &str, json: bool) {
    let mut err = std::io::stderr().lock();
    // Nobody is left to tell if stderr is closed too.
    if json {
        writeln!(err, "{}", serde_json::json!({ "error": words })).ok();
    } else {
        writeln!(err, "edgeclip: {words}").ok();
    }
}

/// `1 shot`, `2 shots`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// Bytes as people read them.
pub(super) fn human_bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.2} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_letters_keep_columns_aligned() {
        let rows = [["\u{732b}", "1"], ["cat", "2"]].map(|r| r.map(str::to_owned).to_vec());
        let widths = widths(&rows);
        assert_eq!(align(&rows[0], &widths, &[]), "\u{732b}   1");
        assert_eq!(align(&rows[1], &widths, &[]), "cat  2");
    }
}
