//! Live: what a camera shows, steadily told, through faults, reloads and signals.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use edgeclip::Frame;
use edgeclip::frame::Decode;
use serde_json::Value;

use super::{Bench, repository};

/// A watch that runs, and the lines that it has said.
struct Running {
    child: Child,
    lines: Receiver<Value>,
}

impl Running {
    fn start(bench: &Bench, args: &[&str]) -> Self {
        let mut command = bench.program();
        // Frames are lent by a socket in a folder of this test.
        command.env("XDG_RUNTIME_DIR", bench.path("run"));
        command.args(["watch", "--json"]).args(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (to, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if to.send(serde_json::from_str(&line).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The first line that `is` it, among those of the next half minute.
    #[track_caller]
    fn until(&self, is: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + Duration::from_secs(30);
        let mut said = Vec::new();
        while let Ok(line) = self
            .lines
            .recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            if is(&line) {
                return line;
            }
            said.push(line);
        }
        panic!("never said; the last of {}: {:?}", said.len(), said.last());
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it as a service manager does; gives the time that it took, and what it said last.
    fn terminate(mut self) -> (Duration, Option<Value>) {
        let began = Instant::now();
        self.signal("-TERM");
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(0));
        (began.elapsed(), self.lines.iter().last())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Asked first, so that it ends the program that it watches too.
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().ok();
        let until = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A bench that has been taught two things to tell apart.
fn taught() -> Bench {
    let bench = Bench::new();
    bench.run(["classes", "add", "cat", "cup of coffee"]).ok();
    learn(&bench, "old coin", "examples/lesson/learn/old_coin");
    bench
}

fn learn(bench: &Bench, class: &str, folder: &str) {
    bench.run(["learn", class, &repository(folder)]).ok();
}

fn is_start(line: &Value, label: &str) -> bool {
    line["event"] == "start" && line["label"] == label
}

#[test]
fn every_picture_of_a_folder_is_answered_once() {
    let bench = taught();
    let folder = repository("examples/lesson/rest/old_coin");
    let pictures = std::fs::read_dir(&folder).unwrap().count();
    let run = bench
        .run(["watch", "--camera", &folder, "--json", "--each", "frame"])
        .ok();
    let frames: Vec<Value> = run.json();
    assert_eq!(frames.len(), pictures);
    assert!(frames.iter().all(|f| f["top"][0]["label"] == "old coin"));
    let plain = bench.run(["watch", "--camera", &folder, "--fps", "4"]).ok();
    assert!(plain.out.contains("old coin"), "{}", plain.out);
    assert!(!plain.out.contains('\u{1b}'), "{}", plain.out);
    assert!(
        plain.err.contains("8 frames answered of 8"),
        "{}",
        plain.err
    );
}

#[test]
fn a_lesson_learned_elsewhere_is_seen_at_once_and_a_bad_file_is_refused() {
    let bench = taught();
    let lawn = format!("replay:{}", repository("examples/lesson/rest/lawn"));
    let watch = Running::start(&bench, &["--camera", &lawn, "--fps", "10"]);
    watch.until(|l| l["event"] == "start");
    learn(&bench, "lawn", "examples/lesson/learn/lawn");
    watch.until(|l| is_start(l, "lawn"));
    // What is no classifier changes nothing, and the next good one is taken.
    let file = bench.path(".local/share/edgeclip/default.ecclass");
    let good = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"half a file").unwrap();
    std::thread::sleep(Duration::from_millis(600));
    std::fs::write(&file, good).unwrap();
    bench.run(["classes", "rename", "lawn", "the lawn"]).ok();
    watch.until(|l| is_start(l, "the lawn"));
}

#[test]
fn told_to_end_it_says_what_it_saw_and_goes_within_a_second() {
    let bench = taught();
    let coins = format!("replay:{}", repository("examples/lesson/rest/old_coin"));
    let watch = Running::start(&bench, &["--camera", &coins, "--fps", "10"]);
    watch.until(|l| is_start(l, "old coin"));
    watch.signal("-HUP");
    let (took, last) = watch.terminate();
    let last = last.unwrap();
    assert_eq!(
        (&last["event"], &last["label"]),
        (&"end".into(), &"old coin".into())
    );
    // Twice the time of a quiet machine: others may be at work on this one.
    assert!(took < Duration::from_secs(2), "{took:?}");
}

/// A program that writes the JPEGs of a folder over and over, and dies after some of them.
fn streamer(bench: &Bench, folder: &str, dies_after: &str) -> String {
    let folder = repository(folder);
    let script = format!(
        "#!/bin/sh\nn=0\nwhile true; do for f in '{folder}'/*; do cat \"$f\"; sleep 0.1; n=$((n+1)); \
         [ $n = {dies_after} ] && exit 3; done; done\n"
    );
    let path = bench.write("stream.sh", script);
    format!("exec:sh {}", path.display())
}

#[test]
fn a_camera_that_dies_is_a_state_and_comes_back_by_itself() {
    let bench = taught();
    let camera = streamer(&bench, "examples/lesson/rest/old_coin", "20");
    let watch = Running::start(&bench, &["--camera", &camera]);
    watch.until(|l| is_start(l, "old coin"));
    let fault = watch.until(|l| l["event"] == "start" && l["state"] == "fault");
    assert!(fault["reason"].as_str().unwrap().contains('3'), "{fault}");
    watch.until(|l| is_start(l, "old coin"));
}

#[test]
fn a_watch_lends_its_camera_to_a_lesson() {
    let bench = taught();
    let camera = streamer(&bench, "examples/lesson/rest/lawn", "never");
    let watch = Running::start(&bench, &["--camera", &camera]);
    watch.until(|l| l["event"] == "start");
    let mut learn = bench.program();
    learn.env("XDG_RUNTIME_DIR", bench.path("run"));
    learn.args(["learn", "grass", "--camera", &camera, "-v"]);
    learn.args(["--frames", "4", "--over", "1", "--countdown", "0"]);
    let run = super::finish(learn.output().unwrap());
    assert!(run.err.contains("that owns the camera"), "{}", run.err);
    assert!(run.ok().out.contains("of `grass`"));
    watch.until(|l| is_start(l, "grass"));
}

#[test]
fn a_burst_is_learned_as_one_and_useless_frames_are_refused() {
    let bench = taught();
    let lawn = format!("replay:{}", repository("examples/lesson/learn/lawn"));
    let burst = [
        "--frames",
        "4",
        "--over",
        "0.4",
        "--countdown",
        "0",
        "--fps",
        "20",
    ];
    let run = bench.run([&["learn", "lawn", "--camera", &lawn][..], &burst].concat());
    let run = run.ok();
    assert!(
        run.out.contains("learned 4 photos of `lawn`"),
        "{}",
        run.out
    );
    let black = bench.path("black");
    std::fs::create_dir(&black).unwrap();
    for i in 0..4 {
        // A BMP of 64×64 black pixels; another byte at its end makes it another file.
        let mut bmp = vec![0; 54 + 64 * 64 * 3 + i];
        bmp[..2].copy_from_slice(b"BM");
        bmp[10] = 54;
        bmp[14] = 40;
        (bmp[18], bmp[22], bmp[26], bmp[28]) = (64, 64, 1, 24);
        std::fs::write(black.join(format!("{i}.bmp")), bmp).unwrap();
    }
    let black = format!("replay:{}", black.display());
    let run = bench.run([&["learn", "night", "--camera", &black][..], &burst].concat());
    assert_eq!(run.status, 1);
    assert!(
        run.err.contains("black: is the lens covered"),
        "{}",
        run.err
    );
    let both = bench.run(["learn", "x", "photo.jpg", "--camera", "test"]);
    assert_eq!(both.status, 2, "{}", both.err);
}

#[test]
fn a_program_runs_at_each_event_and_metrics_are_kept() {
    let bench = taught();
    let coins = format!("replay:{}", repository("examples/lesson/rest/old_coin"));
    let note = bench.write("note.sh", "echo \"$1 $2\" >> seen.txt\n");
    let command = format!("sh {} {{event}} {{label}}", note.display());
    let args = ["--fps", "20", "--frames", "60", "--on-event", &command];
    let kept = ["--metrics", "m.prom", "--log", "log.jsonl"];
    let run = bench
        .run([&["watch", "--camera", &coins, "--json"][..], &args, &kept].concat())
        .ok();
    let lines = run.out.lines().count();
    let seen = std::fs::read_to_string(bench.path("seen.txt")).unwrap();
    assert!(seen.contains("start old coin"), "{seen}");
    let log = std::fs::read_to_string(bench.path("log.jsonl")).unwrap();
    assert!(log.contains("\"label\":\"old coin\""), "{log}");
    let metrics = std::fs::read_to_string(bench.path("m.prom")).unwrap();
    assert!(
        metrics.contains("edgeclip_frames_total{kind=\"answered\"}"),
        "{metrics}"
    );
    // Down to the last event.
    let delivered = format!("{{sink=\"json\",result=\"delivered\"}} {lines}\n");
    assert!(metrics.contains(&delivered), "{lines}: {metrics}");
}

#[test]
fn cameras_that_are_none_are_told_before_the_watch_begins() {
    let bench = taught();
    for (camera, status, words) in [
        ("/dev/video99", 1, "no such device"),
        ("nowhere.jpg", 2, "`/dev/video0`"),
        ("rtsp://10.0.0.1/x", 2, "ffmpeg"),
        ("exec:no-such-program-here", 1, "no-such-program-here"),
    ] {
        let run = bench.run(["watch", "--camera", camera]);
        assert_eq!(run.status, status, "{camera}: {}", run.err);
        assert!(run.err.contains(words), "{camera}: {}", run.err);
    }
    let crop = ["--crop", "600,0,200,200"];
    let run = bench.run([&["watch", "--camera", "test"][..], &crop].concat());
    assert_eq!(run.status, 1);
    assert!(run.err.contains("640×480"), "{}", run.err);
}

/// `percent` of one photo over another, cut out at an offset in pixels.
fn mixed(a: &Frame, b: &Frame, percent: usize, (x, y): (usize, usize)) -> Frame {
    let (width, height) = (
        a.width().min(b.width()) - 16,
        a.height().min(b.height()) - 16,
    );
    let mut bytes = Vec::new();
    for row in 0..height {
        let of = |frame: &Frame| {
            let row = frame.row(row + y as u32);
            row[x * 3..(x + width as usize) * 3].to_vec()
        };
        let pairs = of(a).into_iter().zip(of(b));
        bytes.extend(pairs.map(|(a, b)| {
            ((usize::from(a) * percent + usize::from(b) * (100 - percent)) / 100) as u8
        }));
    }
    Frame::from_rgb(width, height, bytes).unwrap()
}

/// Real photos mixed and shaken: raw answers flicker, the state does not.
#[test]
fn flickering_answers_are_one_event() {
    let bench = taught();
    learn(&bench, "lawn", "examples/lesson/learn/lawn");
    let folder = bench.path("flicker");
    std::fs::create_dir(&folder).unwrap();
    let photos = |class: &str| {
        let folder = repository(&format!("examples/lesson/rest/{class}"));
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        paths.sort();
        let load = |p: &std::path::PathBuf| Decode::default().load(p).unwrap();
        paths.iter().map(load).collect::<Vec<Frame>>()
    };
    let (coins, lawns) = (photos("old_coin"), photos("lawn"));
    // Two frames of every seven show mostly what lies beside, and all are shaken.
    for i in 0..70 {
        let coin = if [2, 5].contains(&(i % 7)) { 8 } else { 90 };
        let mixed = mixed(
            &coins[i / 24],
            &lawns[i / 24],
            coin,
            (i * 5 % 9, i * 7 % 11),
        );
        std::fs::write(folder.join(format!("{i:03}.png")), mixed.to_png().unwrap()).unwrap();
    }
    let folder = folder.display().to_string();
    let args = ["watch", "--camera", &folder, "--fps", "10", "--json"];
    let frames = bench.run([&args[..], &["--each", "frame", "--smoothing", "0"]].concat());
    let raw: Vec<Value> = frames.ok().json();
    let best: Vec<&Value> = raw.iter().map(|f| &f["top"][0]["label"]).collect();
    let changes = best.windows(2).filter(|w| w[0] != w[1]).count();
    let events = bench.run(args).ok().json();
    let starts: Vec<&Value> = events.iter().filter(|e| e["event"] == "start").collect();
    assert!(changes >= 20, "{changes}");
    assert_eq!(starts.len(), 1, "{starts:?}");
    assert_eq!(starts[0]["label"], "old coin");
}

#[test]
fn a_service_manager_hears_of_readiness_frames_and_the_end() {
    let bench = taught();
    let socket = bench.path("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let coins = format!("replay:{}", repository("examples/lesson/rest/old_coin"));
    let mut command = bench.program();
    command.args(["watch", "--json", "--camera", &coins, "--fps", "20"]);
    command.env("NOTIFY_SOCKET", &socket);
    command.env("WATCHDOG_USEC", "600000");
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let hear = |word: &str| {
        let mut message = [0; 256];
        for _ in 0..50 {
            let length = manager.recv(&mut message).unwrap();
            let text = String::from_utf8_lossy(&message[..length]);
            if text.contains(word) {
                return;
            }
        }
        panic!("never heard of {word}");
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    let pid = child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    hear("STOPPING=1");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_holds_no_picture_is_an_error_and_no_quiet_end() {
    let bench = taught();
    let run = bench.run(["watch", "--camera", "-"]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(
        run.err.contains("standard input") && run.err.contains("JPEG"),
        "{}",
        run.err
    );
    let folder = bench.path("broken");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.jpg"), b"no picture").unwrap();
    let run = bench.run(["watch", "--camera", folder.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(run.err.contains("1 damaged picture"), "{}", run.err);
}

#[test]
fn a_broken_picture_of_a_folder_is_named_and_the_rest_is_answered() {
    let bench = taught();
    let folder = bench.path("partly");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.jpg"), b"no picture").unwrap();
    std::fs::copy(repository("examples/photos/cat.jpg"), folder.join("b.jpg")).unwrap();
    let run = bench.run(["watch", "--camera", folder.to_str().unwrap()]);
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(run.err.contains("a.jpg"), "{}", run.err);
    assert!(run.out.contains("cat"), "{}", run.out);
}

#[test]
fn pictures_that_are_all_broken_are_a_fault_where_more_might_come() {
    let bench = taught();
    let folder = bench.path("broken");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a.jpg"), b"no picture").unwrap();
    let camera = format!("replay:{}", folder.display());
    let watch = Running::start(&bench, &["--camera", &camera]);
    let fault = watch.until(|l| l["state"] == "fault");
    assert!(fault["reason"].as_str().unwrap().contains("no whole frame"));
}

#[test]
fn a_clip_that_ends_early_is_answered_by_what_it_showed() {
    let bench = taught();
    let cat = std::fs::read(repository("examples/photos/cat.jpg")).unwrap();
    let clip = bench.write("clip.mjpeg", cat.repeat(3));
    let clip = clip.to_str().unwrap();
    let run = bench.run(["watch", "--json", "--camera", clip]).ok();
    assert!(is_start(&run.json()[0], "cat"), "{}", run.out);
    let frames = ["--frames", "2", "--no-name"];
    let run = bench.run([&["learn", "one more cat", "--camera", clip][..], &frames].concat());
    assert!(run.err.contains("frame 2: the same"), "{}", run.err);
    assert!(run.ok().out.contains("learned 1 photo"));
}

#[cfg(target_os = "linux")]
#[test]
fn answers_that_stdout_does_not_take_are_a_failure() {
    let bench = taught();
    let cat = repository("examples/photos/cat.jpg");
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut watch = bench.program();
    watch.args(["watch", "--json", "--camera", &cat]);
    watch.stdout(full.unwrap());
    let run = super::finish(watch.output().unwrap());
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(run.err.contains("could not be written"), "{}", run.err);
    assert_eq!(run.err.matches("No space left").count(), 1, "{}", run.err);
}

#[test]
fn a_lesson_that_is_interrupted_ends_its_program_and_saves_nothing() {
    let bench = taught();
    let photo = repository("examples/photos/cat.jpg");
    let script = format!("echo $$ > pid\nwhile cat '{photo}'; do sleep 0.1; done\n");
    let script = bench.write("cam.sh", script);
    let camera = format!("exec:sh {}", script.display());
    let mut learn = bench.program();
    learn.args([
        "learn",
        "night",
        "--no-name",
        "--camera",
        &camera,
        "--over",
        "60",
    ]);
    let child = learn.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let pid = loop {
        let told = std::fs::read_to_string(bench.path("pid")).unwrap_or_default();
        if told.ends_with('\n') {
            break told.trim().to_owned();
        }
        assert!(Instant::now() < until, "the program never began");
        std::thread::sleep(Duration::from_millis(20));
    };
    // Twice, as service managers do.
    let own = child.id().to_string();
    for _ in 0..2 {
        Command::new("kill").args(["-TERM", &own]).status().unwrap();
    }
    let run = super::finish(child.wait_with_output().unwrap());
    assert_eq!(run.status, 1, "{}", run.err);
    assert!(run.err.contains("interrupted"), "{}", run.err);
    let lives = Command::new("kill").args(["-0", &pid]).output().unwrap();
    assert!(!lives.status.success());
    let classes = bench.run(["classes", "list"]).ok();
    assert!(!classes.out.contains("night"), "{}", classes.out);
}

#[test]
fn sinks_that_cannot_be_are_refused_at_the_start() {
    let bench = taught();
    let cat = repository("examples/photos/cat.jpg");
    for (flag, value, words) in [
        ("--on-event", "no-such-program {label}", "no-such-program"),
        (
            "--metrics",
            "/no/such/folder/edgeclip.prom",
            "/no/such/folder",
        ),
        ("--log", "/no/such/folder/log", "/no/such/folder"),
    ] {
        let run = bench.run(["watch", "--camera", &cat, flag, value]);
        assert_eq!(run.status, 1, "{flag}: {}", run.err);
        assert!(run.err.contains(words), "{flag}: {}", run.err);
    }
}

#[test]
fn each_picture_of_a_folder_is_answered_by_itself() {
    let bench = taught();
    let folder = bench.path("both");
    std::fs::create_dir(&folder).unwrap();
    for (i, name) in ["cat", "coffee", "cat", "coffee"].iter().enumerate() {
        let photo = repository(&format!("examples/photos/{name}.jpg"));
        std::fs::copy(photo, folder.join(format!("{i}.jpg"))).unwrap();
    }
    let run = bench
        .run([
            "watch",
            "--json",
            "--each",
            "frame",
            "--camera",
            folder.to_str().unwrap(),
        ])
        .ok();
    let labels: Vec<_> = run.json().iter().map(|l| l["label"].clone()).collect();
    assert_eq!(labels, ["cat", "cup of coffee", "cat", "cup of coffee"]);
}
