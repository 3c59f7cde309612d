//! `cameras` on this machine, whatever is plugged in; `make test-camera` has the rest.

use crate::Bench;

fn has_cameras() -> bool {
    let nodes = std::fs::read_dir("/dev").unwrap().flatten();
    nodes
        .filter_map(|e| e.file_name().into_string().ok())
        .any(|n| n.starts_with("video"))
}

#[test]
fn the_list_is_data_and_what_to_check_is_talk() {
    let bench = Bench::new();
    let run = bench.run(["cameras"]);
    assert_eq!(run.status, 0, "{}", run.err);
    if !has_cameras() {
        assert_eq!(run.out, "");
        for word in ["no cameras", "lsusb", "--device", "rpicam-hello"] {
            assert!(run.err.contains(word), "{word}: {}", run.err);
        }
    }
}

#[test]
fn json_has_an_object_for_each_camera() {
    let bench = Bench::new();
    let run = bench.run(["cameras", "--json", "-v"]);
    assert_eq!(run.status, 0, "{}", run.err);
    for camera in run.json() {
        assert!(camera["path"].is_string() && camera["usable"].is_boolean());
        assert_eq!(camera["usable"] == true, camera["mode"].is_object());
    }
}

#[test]
fn a_model_that_is_named_must_be_there() {
    let bench = Bench::new();
    let run = bench.run(["cameras", "--model", "none.ecmodel"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("none.ecmodel"), "{}", run.err);
}
