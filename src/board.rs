//! What a board tells of itself: how hot it is, and whether it holds its processor back.

use std::path::{Path, PathBuf};

/// A board's files, as the kernel shows them below `/`.
#[derive(Clone, Debug)]
pub(crate) struct Board {
    root: PathBuf,
}

/// Bits of a Raspberry Pi's firmware, and what each means while it is set.
const FIRMWARE: [(u32, &str); 4] = [
    (0, "too little voltage"),
    (1, "the clock is capped"),
    (2, "throttled"),
    (3, "near its limit of temperature"),
];
/// The bits that say that it was so since the board started.
const SINCE_START: u32 = 16;
/// A clock below this share of its greatest is held back, if the processor is at work.
const FULL_CLOCK: f64 = 0.9;
const MOST_CORES: usize = 1024;

impl Board {
    /// The one that runs this program.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn here() -> Self {
        Self::below(Path::new("/"))
    }

    /// The one whose files lie below `root`.
    pub(crate) fn below(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Degrees Celsius of the hottest zone.
    pub(crate) fn degrees(&self) -> Option<f32> {
        hottest(&self.root.join("sys/class/thermal"))
    }

    /// What holds the processor back, to be asked right after work; none where nothing does or nothing is told.
    #[cfg_attr(not(feature = "cli"), allow(dead_code))]
    pub(crate) fn held_back(&self) -> Vec<String> {
        let mut words = Vec::new();
        let firmware = self.text("sys/devices/platform/soc/soc:firmware/get_throttled");
        if let Some(bits) = firmware.and_then(|t| u32::from_str_radix(&t, 16).ok()) {
            for (bit, what) in FIRMWARE {
                if bits >> bit & 1 == 1 {
                    words.push(what.to_owned());
                } else if bits >> (bit + SINCE_START) & 1 == 1 {
                    words.push(format!("{what} earlier"));
                }
            }
        }
        // Of the core that runs fastest: others may be idle.
        let clocks = (0..MOST_CORES).map_while(|core| {
            let clock = |name: &str| {
                let path = format!("sys/devices/system/cpu/cpu{core}/cpufreq/{name}");
                self.text(&path)?
                    .parse::<f64>()
                    .ok()
                    .filter(|khz| *khz > 0.0)
            };
            Some((clock("scaling_cur_freq")?, clock("cpuinfo_max_freq")?))
        });
        let fastest = clocks.max_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1)));
        if let Some((now, most)) = fastest.filter(|(now, most)| *now < FULL_CLOCK * most) {
            let [now, most] = [now, most].map(|khz| khz / 1e3);
            words.push(format!("{now:.0} of {most:.0} MHz"));
        }
        words
    }

    fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().trim_start_matches("0x").to_owned())
    }
}

/// Degrees Celsius of the hottest of `zones`.
pub(crate) fn hottest(zones: &Path) -> Option<f32> {
    let entries = std::fs::read_dir(zones).ok()?;
    let degrees = entries.flatten().filter_map(|zone| {
        let text = std::fs::read_to_string(zone.path().join("temp")).ok()?;
        text.trim().parse::<f32>().ok()
    });
    degrees.reduce(f32::max).map(|millis| millis / 1000.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Board) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let board = Board::below(dir.path());
        (dir, board)
    }

    #[test]
    fn a_pi_tells_its_heat_and_what_holds_it_back() {
        let cpu = "sys/devices/system/cpu/cpu0/cpufreq";
        let firmware = "sys/devices/platform/soc/soc:firmware/get_throttled";
        let (_dir, board) = tree(&[
            ("sys/class/thermal/thermal_zone0/temp", "61322\n"),
            ("sys/class/thermal/thermal_zone1/temp", "no number\n"),
            (firmware, "50005\n"),
            (
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                "500000\n",
            ),
            (
                "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq",
                "1800000\n",
            ),
            (&format!("{cpu}/scaling_cur_freq"), "600000\n"),
            (&format!("{cpu}/cpuinfo_max_freq"), "1800000\n"),
        ]);
        assert_eq!(board.degrees(), Some(61.322));
        assert_eq!(
            board.held_back(),
            ["too little voltage", "throttled", "600 of 1800 MHz"]
        );
        let (_dir, board) = tree(&[
            (firmware, "0x80000\n"),
            (&format!("{cpu}/scaling_cur_freq"), "1790000\n"),
            (&format!("{cpu}/cpuinfo_max_freq"), "1800000\n"),
        ]);
        assert_eq!(board.held_back(), ["near its limit of temperature earlier"]);
    }

    #[test]
    fn a_board_that_tells_nothing_has_nothing_told_of_it() {
        let (_dir, board) = tree(&[]);
        assert_eq!(board.degrees(), None);
        assert!(board.held_back().is_empty());
    }
}
