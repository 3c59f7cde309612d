//! JSON lines, one a frame or one an event, to whatever takes bytes.

use std::io::{ErrorKind, Write};

use super::json::Line;
use super::{News, Refused, Sink};

/// What each line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A line a frame; events are left out, for each frame has its state.
    Frames,
    /// A line when a state begins and one when it ends.
    Events,
}

/// Lines of JSON; docs/live.md has their schema.
pub struct Lines<W> {
    name: &'static str,
    out: Whole<W>,
    detail: Detail,
    buffer: Vec<u8>,
}

impl<W: Write + Send> Lines<W> {
    /// Lines into `out`, each with one write and a flush; `name` is the sink's in messages.
    pub fn new(name: &'static str, out: W, detail: Detail) -> Self {
        Self {
            name,
            out: Whole::new(out),
            detail,
            buffer: Vec::with_capacity(512),
        }
    }
}

impl<W: Write + Send> Sink for Lines<W> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn wants_frames(&self) -> bool {
        self.detail == Detail::Frames
    }

    fn take(&mut self, news: &News) -> Result<(), Refused> {
        let line = match (news, self.detail) {
            (News::Frame(reading), Detail::Frames) => Line::from(reading),
            (News::Event(event), Detail::Events) => Line::from(event),
            _ => return Err(Refused::Idle),
        };
        line.write(&mut self.buffer).map_err(Refused::Failed)?;
        self.out.write(&self.buffer)
    }
}

/// A writer of whole lines: one that a full disk cut short does not spoil the next.
pub(super) struct Whole<W> {
    out: W,
    is_torn: bool,
}

impl<W: Write> Whole<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            is_torn: false,
        }
    }

    /// Writes a line, with its end in it.
    pub(super) fn write(&mut self, line: &[u8]) -> Result<(), Refused> {
        if self.is_torn {
            self.all(b"\n")?;
            self.is_torn = false;
        }
        self.all(line)?;
        self.out.flush().map_err(refused)
    }

    fn all(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => return Err(refused(ErrorKind::WriteZero.into())),
                Ok(n) => {
                    bytes = &bytes[n..];
                    self.is_torn = !bytes.is_empty();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(refused(e)),
            }
        }
        Ok(())
    }
}

fn refused(e: std::io::Error) -> Refused {
    match e.kind() {
        ErrorKind::BrokenPipe => Refused::Closed,
        _ => Refused::Failed(format!("cannot write: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io;
    use std::time::Duration;

    use super::super::testing::{class, ended, event, fault, frame};
    use super::*;
    use crate::live::State;

    fn lines(detail: Detail, news: &[News]) -> Vec<String> {
        let mut out = Vec::new();
        let mut sink = Lines::new("json", &mut out, detail);
        for n in news {
            assert!(matches!(sink.take(n), Ok(()) | Err(Refused::Idle)));
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_frame_is_one_line_of_the_documented_form() {
        let lines = lines(Detail::Frames, &[News::Frame(frame(7))]);
        assert_eq!(
            lines,
            [concat!(
                r#"{"frame":7,"time":"2026-11-25T10:12:03.123Z","state":"class","label":"cat","p":0.9634,"#,
                r#""top":[{"label":"cat","p":0.9634},{"label":"dog","p":0.03},{"label":"mug","p":0.0066}],"#,
                r#""latency_ms":38.4}"#
            )]
        );
    }

    #[test]
    fn an_event_is_one_line_when_it_begins_and_one_when_it_ends() {
        let cat = event(3, class("cat"));
        let over = ended(&cat, Duration::from_millis(3200));
        let broken = event(4, fault("/dev/video0: unplugged"));
        let news = [cat, over, broken].map(News::Event);
        assert_eq!(
            lines(Detail::Events, &news),
            [
                r#"{"event":"start","number":3,"state":"class","label":"cat","started":"2026-11-25T10:12:03.123Z","ended":null,"lasted_s":0.0,"confidence":0.96,"frames":1}"#,
                r#"{"event":"end","number":3,"state":"class","label":"cat","started":"2026-11-25T10:12:03.123Z","ended":"2026-11-25T10:12:06.323Z","lasted_s":3.2,"confidence":0.96,"frames":40}"#,
                r#"{"event":"start","number":4,"state":"fault","label":null,"started":"2026-11-25T10:12:03.123Z","ended":null,"lasted_s":0.0,"confidence":null,"frames":1,"reason":"/dev/video0: unplugged"}"#,
            ]
        );
    }

    #[test]
    fn only_the_asked_detail_is_written() {
        let news = [News::Frame(frame(1)), News::Event(event(1, State::Unknown))];
        assert!(lines(Detail::Frames, &news)[0].starts_with(r#"{"frame":1"#));
        assert!(lines(Detail::Events, &news)[0].starts_with(r#"{"event":"start""#));
        assert_eq!(lines(Detail::Frames, &news).len(), 1);
        assert_eq!(lines(Detail::Events, &news).len(), 1);
    }

    #[test]
    fn hostile_names_and_odd_numbers_stay_one_line_of_json() {
        let mut reading = frame(1);
        reading.state = class("a\"b\\\n\u{1b}[2J\u{202e}");
        reading.p = f32::NAN;
        let lines = lines(Detail::Frames, &[News::Frame(reading)]);
        assert_eq!(lines.len(), 1);
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(value["label"], "a\"b\\\n\u{1b}[2J\u{202e}");
        assert!(value["p"].is_null());
    }

    #[test]
    fn the_buffer_is_used_again() {
        let mut sink = Lines::new("json", io::sink(), Detail::Frames);
        sink.take(&News::Frame(frame(1))).unwrap();
        let at = (sink.buffer.as_ptr(), sink.buffer.capacity());
        for n in 2..1000 {
            sink.take(&News::Frame(frame(n))).unwrap();
        }
        assert_eq!(at, (sink.buffer.as_ptr(), sink.buffer.capacity()));
    }

    #[test]
    fn a_closed_pipe_is_told_apart_from_a_failure() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut sink = Lines::new("json", writer, Detail::Frames);
        assert_eq!(sink.take(&News::Frame(frame(1))), Err(Refused::Closed));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_a_failure_with_words() {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = Lines::new("json", full, Detail::Frames);
        let Err(Refused::Failed(words)) = sink.take(&News::Frame(frame(1))) else {
            panic!("taken");
        };
        assert!(words.contains("No space left"), "{words}");
    }

    /// Room for so many bytes, which comes again.
    struct Disk {
        room: usize,
        holds: Vec<u8>,
    }

    impl Write for &mut Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= n;
            self.holds.extend(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_does_not_spoil_the_next() {
        let mut disk = Disk {
            room: 10,
            holds: Vec::new(),
        };
        let mut whole = Whole::new(&mut disk);
        assert!(whole.write(b"{\"a\":1}\n").is_ok());
        assert!(whole.write(b"{\"b\":2}\n").is_err());
        assert!(whole.write(b"{\"c\":3}\n").is_err());
        whole.out.room = 100;
        assert!(whole.write(b"{\"d\":4}\n").is_ok());
        assert_eq!(disk.holds, b"{\"a\":1}\n{\"\n{\"d\":4}\n");
    }
}
