use super::super::testing::{class, ended, event, fault, frame};
use super::*;

fn view() -> View {
    let counters = Snapshot {
        fps: 12.34,
        p50: Duration::from_millis(38),
        p99: Duration::from_millis(61),
        ..Snapshot::default()
    };
    View {
        state: class("cat"),
        reading: Some(frame(1)),
        counters: Some(counters),
    }
}

#[test]
fn the_line_has_state_answers_and_speed() {
    assert_eq!(
        render(&view(), 100, false),
        "cat   96%  █████████▋  dog 3%  mug 1%  12.3 fps  p50 38 ms, p99 61 ms"
    );
}

#[test]
fn a_narrow_line_loses_its_end_and_never_wraps() {
    assert_eq!(
        render(&view(), 40, false),
        "cat   96%  █████████▋  dog 3%  mug 1%"
    );
    assert_eq!(render(&view(), 12, false), "cat   96%");
    assert_eq!(render(&view(), 2, false), "c…");
    assert_eq!(render(&view(), 0, false), "");
    let mut hostile = view();
    hostile.state = class(&"\u{732b}\u{1b}".repeat(50));
    for width in 0..200 {
        for state in [
            hostile.state.clone(),
            fault(&"lost ".repeat(20)),
            State::Unknown,
        ] {
            let view = View {
                state,
                ..hostile.clone()
            };
            assert!(render(&view, width, false).width() <= width);
        }
    }
}

#[test]
fn hostile_names_steer_nothing() {
    let mut hostile = view();
    hostile.state = class("\u{1b}[2J\r\ncat\u{202e}");
    let line = render(&hostile, 100, false);
    assert!(
        !line.contains(['\u{1b}', '\r', '\n', '\u{202e}']),
        "{line:?}"
    );
    let line = render(&hostile, 100, true);
    let escapes = line.matches('\u{1b}').count();
    assert_eq!(escapes, line.matches("\u{1b}[0m").count() * 2);
    let line = event_line(&event(1, fault("\u{1b}[31m")), None);
    assert!(!line.contains('\u{1b}'));
}

#[test]
fn a_fault_is_said_in_words() {
    let view = View {
        state: fault("/dev/video0: unplugged; plug it in again"),
        ..view()
    };
    assert_eq!(
        render(&view, 100, false),
        "fault: /dev/video0: unplugged; plug it in again"
    );
    assert!(render(&view, 100, true).starts_with("\u{1b}[31;1mfault"));
    assert_eq!(render(&View::default(), 100, false), "starting");
}

#[test]
fn what_was_is_told_but_of_a_fault_before_a_fault() {
    let was = (fault("gone"), Duration::from_millis(600));
    let line = event_line(&event(2, fault("gone still")), Some(&was));
    assert!(!line.contains("was"), "{line}");
    let line = event_line(&event(2, State::Unknown), Some(&was));
    assert!(line.ends_with("(was: fault for 0.6 s)"), "{line}");
}

#[test]
fn the_bar_is_as_long_as_the_probability() {
    assert_eq!(bar(0.0), " ".repeat(10));
    assert_eq!(bar(1.0), "█".repeat(10));
    assert_eq!(bar(0.5), "█████     ");
    assert_eq!(bar(f32::NAN), " ".repeat(10));
    assert_eq!(bar(7.0), "█".repeat(10));
}

#[test]
fn lengths_of_time_read_well() {
    let said = |ms| lasting(Duration::from_millis(ms));
    assert_eq!(said(3_200), "3.2 s");
    assert_eq!(said(59_990), "59.9 s");
    assert_eq!(said(250_000), "4 min 10 s");
    assert_eq!(said(7_500_000), "2 h 5 min");
    assert_eq!(said(273_600_000), "3 d 4 h");
}

#[test]
fn without_a_terminal_each_event_is_a_plain_line() {
    let mut out = Vec::new();
    let mut sink = Terminal::new(&mut out, None, false);
    assert!(!sink.wants_frames() && !sink.wants_counters());
    let unknown = event(1, State::Unknown);
    let over = ended(&unknown, Duration::from_millis(3200));
    for e in [unknown, over, event(2, class("cat"))] {
        assert!(matches!(
            sink.take(&News::Event(e)),
            Ok(()) | Err(Refused::Idle)
        ));
    }
    sink.close();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "10:12:03Z  unknown\n10:12:03Z  cat  96%  (was: unknown for 3.2 s)\n"
    );
}

#[test]
fn on_a_terminal_the_line_changes_in_place_and_not_at_each_frame() {
    let mut out = Vec::new();
    let mut sink = Terminal::new(&mut out, Some(|| 24), false);
    for n in 0..100 {
        assert!(matches!(
            sink.take(&News::Frame(frame(n))),
            Ok(()) | Err(Refused::Idle)
        ));
    }
    sink.take(&News::Event(event(2, fault("gone")))).unwrap();
    sink.close();
    let text = String::from_utf8(out).unwrap();
    assert!(
        text.starts_with("\rcat   96%  █████████▋\x1b[K"),
        "{text:?}"
    );
    assert!(
        text.ends_with("\r10:12:03Z  fault: gone\x1b[K\n\rfault: gone\x1b[K\rfault: gone\x1b[K\n"),
        "{text:?}"
    );
    assert!(text.matches("cat").count() < 50);
    assert_eq!(text.matches('\n').count(), 2);
}
