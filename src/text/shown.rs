//! Names as terminals show them: harmless, and cut to the columns there are.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Characters that steer a terminal, or turn the line around, made visible.
#[must_use]
pub fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// A name of at most so many columns: printable, its end cut where it is long.
#[must_use]
pub fn cut(name: &str, columns: usize) -> String {
    let name = printable(name);
    if name.width() <= columns {
        return name;
    }
    let mut width = 0;
    let fits = |c: &char| {
        width += c.width().unwrap_or(0);
        width < columns
    };
    let start: String = name.chars().take_while(fits).collect();
    let end = if columns == 0 { "" } else { "…" };
    format!("{}{end}", start.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_by_the_columns_they_take() {
        assert_eq!(cut("my blue mug", 32), "my blue mug");
        assert_eq!(cut(&"x".repeat(32), 32), "x".repeat(32));
        assert_eq!(cut(&"x".repeat(33), 32), format!("{}…", "x".repeat(31)));
        let wide = cut(&"\u{732b}".repeat(50), 32);
        assert_eq!((wide.chars().count(), wide.width()), (16, 31));
        assert_eq!((cut("cat", 1), cut("cat", 0)), ("…".into(), String::new()));
    }

    #[test]
    fn what_steers_a_terminal_is_shown_instead() {
        let hostile = "a\u{1b}[2Jb\r\nc\u{7}\u{202e}d\u{9b}";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}[2Jb\u{fffd}\u{fffd}c\u{fffd}\u{fffd}d\u{fffd}"
        );
        assert_eq!(printable("Käse \u{732b}"), "Käse \u{732b}");
    }
}
