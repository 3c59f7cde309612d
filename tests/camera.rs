//! Sources as a user names them: opened, read, disturbed and left.

#![cfg(feature = "camera")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use edgeclip::camera::{Captured, Fault, Source, Spec, Wish};
use edgeclip::frame::Frame;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(20);

fn jpeg(grey: u8) -> Vec<u8> {
    let frame = Frame::from_rgb(16, 16, vec![grey; 16 * 16 * 3]).unwrap();
    frame.to_thumbnail(16).unwrap()
}

fn folder(greys: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (number, grey) in greys.iter().enumerate() {
        fs::write(dir.path().join(format!("{number}.jpg")), jpeg(*grey)).unwrap();
    }
    dir
}

fn open_as(text: &str, fps: Option<f32>) -> Result<Box<dyn Source>, edgeclip::Error> {
    let wish = Wish {
        fps,
        ..Wish::default()
    };
    Spec::parse(text)?.open(&wish)
}

fn open(text: &str) -> Box<dyn Source> {
    open_as(text, None).unwrap()
}

fn refusal(text: &str) -> String {
    open_as(text, None).err().unwrap().to_string()
}

fn next(source: &mut dyn Source) -> Result<Captured, Fault> {
    source.next(Vec::new(), LONG)
}

/// The grey of the next frame, to the nearest ten, as JPEG is not exact.
fn grey(source: &mut dyn Source) -> u8 {
    let level = next(source).unwrap().frame.bytes()[0];
    (level + 5) / 10 * 10
}

fn lost(source: &mut dyn Source) -> String {
    loop {
        match next(source) {
            Err(Fault::Lost(why)) => return why.to_string(),
            Err(Fault::Damaged(_)) | Ok(_) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

fn replay(dir: &Path) -> String {
    format!("replay:{}", dir.display())
}

#[test]
fn a_folder_gives_its_pictures_by_name_and_ends() {
    let dir = folder(&[50, 100, 200]);
    let mut source = open(dir.path().to_str().unwrap());
    assert!(source.about().contains("3 pictures"), "{}", source.about());
    for (sequence, level) in [50, 100, 200].into_iter().enumerate() {
        let got = next(&mut *source).unwrap();
        assert_eq!(got.sequence, sequence as u64);
        assert!(got.frame.bytes()[0].abs_diff(level) < 4);
    }
    for _ in 0..2 {
        assert!(matches!(next(&mut *source), Err(Fault::End)));
    }
}

#[test]
fn a_pattern_gives_what_it_matches() {
    let dir = folder(&[50, 100, 200]);
    let mut source = open(&format!("{}/[12].jpg", dir.path().display()).replace("[12]", "?"));
    assert_eq!(grey(&mut *source), 50);
    assert!(refusal(&format!("{}/*.png", dir.path().display())).contains("no picture"));
}

#[test]
fn a_damaged_picture_in_the_middle_is_skipped() {
    let dir = folder(&[50, 100, 200]);
    fs::write(dir.path().join("1.jpg"), &jpeg(100)[..200]).unwrap();
    let mut source = open(dir.path().to_str().unwrap());
    assert_eq!(grey(&mut *source), 50);
    let Err(Fault::Damaged(why)) = next(&mut *source) else {
        panic!("not damaged");
    };
    assert!(why.to_string().contains("1.jpg"), "{why}");
    assert_eq!(grey(&mut *source), 200);
}

#[test]
fn folders_without_pictures_and_without_being_are_refused() {
    let dir = folder(&[]);
    assert!(refusal(dir.path().to_str().unwrap()).contains("no picture"));
    let missing = dir.path().join("missing");
    assert!(refusal(missing.to_str().unwrap()).contains("no file or folder"));
    assert!(refusal(&replay(&missing)).contains("no such file"));
}

#[test]
fn a_wished_rate_is_kept_and_patience_is_too() {
    let dir = folder(&[50, 100, 200]);
    let mut source = open_as(dir.path().to_str().unwrap(), Some(2.0)).unwrap();
    let began = Instant::now();
    next(&mut *source).unwrap();
    let asked = Instant::now();
    assert!(matches!(source.next(Vec::new(), SHORT), Err(Fault::Silent)));
    assert!(asked.elapsed() >= SHORT);
    let second = next(&mut *source).unwrap();
    assert!(second.taken - began >= Duration::from_millis(500));
    assert!(open_as("test", Some(0.0)).is_err());
}

#[test]
fn a_replay_has_no_end() {
    let dir = folder(&[50, 100]);
    let mut source = open_as(&replay(dir.path()), Some(200.0)).unwrap();
    for count in 0..7 {
        let got = next(&mut *source).unwrap();
        assert_eq!(got.sequence, count);
        let level = [50, 100][count as usize % 2];
        assert!(got.frame.bytes()[0].abs_diff(level) < 4);
    }
}

#[test]
fn a_replay_keeps_the_times_of_its_recorder_unless_a_rate_is_wished() {
    let dir = folder(&[50, 100, 200]);
    let times = "2.jpg 10.0\n0.jpg 10.15\n1.jpg 10.2\n";
    fs::write(dir.path().join("times.txt"), times).unwrap();
    let mut source = open(&replay(dir.path()));
    let began = Instant::now();
    // The pause after the last is the mean of the others.
    for (level, ms) in [(200, 0), (50, 150), (100, 200), (200, 300), (50, 450)] {
        let got = next(&mut *source).unwrap();
        assert!(got.frame.bytes()[0].abs_diff(level) < 4);
        let passed = got.taken - began;
        assert!(passed >= Duration::from_millis(ms), "{ms}: {passed:?}");
    }
    // By name again.
    let mut source = open_as(&replay(dir.path()), Some(100.0)).unwrap();
    assert_eq!(grey(&mut *source), 50);
}

#[test]
fn a_file_of_jpegs_gives_them_once_or_over_and_over() {
    let dir = folder(&[]);
    let path = dir.path().join("clip.mjpeg");
    let cut = &jpeg(100)[..300];
    fs::write(&path, [&jpeg(50), cut, &jpeg(200)].concat()).unwrap();
    let name = path.to_str().unwrap();
    let mut source = open(name);
    assert_eq!(grey(&mut *source), 50);
    assert!(matches!(next(&mut *source), Err(Fault::Damaged(_))));
    assert_eq!(grey(&mut *source), 200);
    assert!(matches!(next(&mut *source), Err(Fault::End)));
    let mut source = open_as(&format!("replay:{name}"), Some(500.0)).unwrap();
    let whole = (0..9).filter(|_| next(&mut *source).is_ok()).count();
    assert_eq!(whole, 6);
    fs::write(&path, b"nothing").unwrap();
    assert!(refusal(name).contains("no whole picture"));
    fs::remove_file(&path).unwrap();
    assert!(refusal(name).contains("cannot open"));
}

#[test]
fn memory_is_used_again() {
    let dir = folder(&[50]);
    let clip = dir.path().join("clip.mjpg");
    fs::write(&clip, jpeg(9).repeat(5)).unwrap();
    for text in ["test", clip.to_str().unwrap()] {
        let mut source = open_as(text, Some(500.0)).unwrap();
        let first = next(&mut *source).unwrap().frame.into_bytes();
        let place = first.as_ptr();
        let second = source.next(first, LONG).unwrap().frame;
        assert_eq!(second.bytes().as_ptr(), place, "{text}");
    }
}

#[cfg(unix)]
mod programs {
    use super::*;

    /// `sh` is named by the tests; the source itself runs none.
    fn script(dir: &Path, text: &str) -> String {
        let path = dir.join("camera.sh");
        fs::write(&path, text).unwrap();
        format!("exec:sh '{}'", path.display())
    }

    fn alive(pid: &str) -> bool {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // A zombie nobody waits for counts too, until init has taken it.
        !state.is_empty()
    }

    fn pid_in(path: &Path) -> String {
        let began = Instant::now();
        loop {
            let text = fs::read_to_string(path).unwrap_or_default();
            if text.ends_with('\n') {
                return text.trim().to_owned();
            }
            assert!(began.elapsed() < LONG);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_program_gives_frames_and_then_silence() {
        let dir = folder(&[50, 100, 200]);
        let shots = dir.path().display();
        let text = format!("cat {shots}/0.jpg {shots}/1.jpg {shots}/2.jpg; exec sleep 60");
        let mut source = open(&script(dir.path(), &text));
        let got = loop {
            let got = next(&mut *source).unwrap();
            if got.sequence == 2 {
                break got;
            }
        };
        assert!(got.frame.bytes()[0].abs_diff(200) < 4);
        assert!(matches!(source.next(Vec::new(), SHORT), Err(Fault::Silent)));
    }

    #[test]
    fn its_end_is_told_with_status_and_last_words() {
        let dir = folder(&[]);
        let text = "echo first >&2; echo no camera found >&2; exit 3";
        let words = lost(&mut *open(&script(dir.path(), text)));
        assert!(words.contains("exit status: 3"), "{words}");
        assert!(words.contains("no camera found"), "{words}");
        let words = lost(&mut *open("exec:true"));
        assert!(
            words.contains("the end of `true` (exit status: 0)"),
            "{words}"
        );
        let words = lost(&mut *open("exec:echo no picture"));
        assert!(words.contains("no JPEG in the output of `echo`"), "{words}");
    }

    #[test]
    fn one_that_is_not_there_is_refused() {
        let words = refusal("exec:no-such-program-here a");
        assert!(
            words.contains("no-such-program-here: cannot start"),
            "{words}"
        );
    }

    #[test]
    fn garbage_is_damaged_and_in_the_end_lost() {
        let mut source = open("exec:yes garbage");
        let Err(Fault::Damaged(why)) = next(&mut *source) else {
            panic!("not damaged");
        };
        assert!(why.to_string().contains("MJPEG"), "{why}");
        assert!(lost(&mut *source).contains("MJPEG"));
    }

    #[test]
    fn who_leaves_ends_the_program_and_all_that_it_started() {
        let dir = folder(&[]);
        let (own, child) = (dir.path().join("own"), dir.path().join("child"));
        let text = format!(
            "echo $$ > {}\nsh -c 'echo $$ > {}; sleep 60; echo'\necho\n",
            own.display(),
            child.display()
        );
        let source = open(&script(dir.path(), &text));
        let (own, child) = (pid_in(&own), pid_in(&child));
        assert!(alive(&own) && alive(&child));
        let began = Instant::now();
        drop(source);
        assert!(
            began.elapsed() < Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        assert!(!alive(&own), "a zombie or worse");
        while alive(&child) && !is_zombie(&child) {
            assert!(began.elapsed() < Duration::from_secs(2));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ended, and left to whoever inherits it.
    fn is_zombie(pid: &str) -> bool {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state
            .rsplit(") ")
            .next()
            .is_some_and(|s| s.starts_with('Z'))
    }

    #[test]
    fn a_shell_never_reads_the_command() {
        let dir = folder(&[]);
        let mark = dir.path().join("mark");
        let command = format!("exec:true ; touch {}", mark.display());
        lost(&mut *open(&command));
        lost(&mut *open(&format!(
            "exec:echo $(touch {})",
            mark.display()
        )));
        assert!(!mark.exists());
    }
}

#[cfg(unix)]
#[test]
fn standard_input_gives_frames_and_ends() {
    // A process of its own, whose standard input is a pipe: this test in its second role.
    const ROLE: &str = "EDGECLIP_TEST_READS_STDIN";
    if std::env::var_os(ROLE).is_some() {
        let mut source = open("-");
        assert_eq!(grey(&mut *source), 100);
        assert!(matches!(next(&mut *source), Err(Fault::End)));
        return;
    }
    let dir = folder(&[100]);
    let stdin = fs::File::open(dir.path().join("0.jpg")).unwrap();
    let run = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "standard_input_gives_frames_and_ends"])
        .env(ROLE, "1")
        .stdin(stdin)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && words.contains("1 passed"),
        "{words}"
    );
}
