//! Which mode is taken, on cameras as their drivers list them.

use super::*;

fn rates(list: &[u32]) -> Rates {
    let rate = |frames: &u32| Rate {
        frames: *frames,
        seconds: 1,
    };
    Rates::Each(list.iter().map(rate).collect())
}

fn offer(fourcc: &[u8; 4], sizes: &[(u32, u32, &[u32])]) -> Offer {
    let one = |(w, h, list): &(u32, u32, &[u32])| Sizes::One {
        size: (*w, *h),
        rates: rates(list),
    };
    Offer {
        fourcc: *fourcc,
        name: String::new(),
        sizes: sizes.iter().map(one).collect(),
    }
}

/// A webcam of every desk: plain pixels are slow where they are many.
fn webcam() -> Vec<Offer> {
    vec![
        offer(
            b"MJPG",
            &[
                (1920, 1080, &[30, 15]),
                (640, 480, &[30, 15]),
                (320, 240, &[30]),
            ],
        ),
        offer(
            b"YUYV",
            &[
                (1920, 1080, &[5]),
                (1280, 720, &[10, 5]),
                (640, 480, &[30, 15, 5]),
                (320, 240, &[30]),
                (160, 120, &[60, 30]),
            ],
        ),
    ]
}

fn wish() -> Wish {
    Wish {
        input: (224, 224),
        ..Wish::default()
    }
}

fn chosen(offers: &[Offer], wish: &Wish) -> String {
    choose(offers, wish).unwrap().to_string()
}

#[test]
fn the_smallest_plain_mode_that_covers_the_input_is_taken() {
    let cam = webcam();
    assert_eq!(chosen(&cam, &wish()), "YUYV 320x240, 30 frames a second");
    let larger = Wish {
        input: (256, 256),
        ..wish()
    };
    assert_eq!(chosen(&cam, &larger), "YUYV 640x480, 30 frames a second");
}

#[test]
fn a_lively_jpeg_beats_a_slow_show_of_plain_pixels() {
    let large = Wish {
        input: (700, 700),
        ..wish()
    };
    let words = chosen(&webcam(), &large);
    assert_eq!(words, "MJPG 1920x1080, 30 frames a second");
}

#[test]
fn wishes_are_kept() {
    let cam = webcam();
    let with = |size, fps, format| Wish {
        size,
        fps,
        format,
        ..wish()
    };
    let hd = with(Some((1280, 720)), None, None);
    assert_eq!(chosen(&cam, &hd), "YUYV 1280x720, 10 frames a second");
    let jpeg = with(None, None, Some(Format::Mjpg));
    assert_eq!(chosen(&cam, &jpeg), "MJPG 320x240, 30 frames a second");
    let slow = with(None, Some(5.0), None);
    assert_eq!(chosen(&cam, &slow), "YUYV 640x480, 5 frames a second");
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let cam = webcam();
    let size = Wish {
        size: Some((123, 45)),
        ..wish()
    };
    let words = choose(&cam, &size).unwrap_err().to_string();
    assert!(
        words.contains("123x45") && words.contains("640x480"),
        "{words}"
    );
    let nv12 = Wish {
        format: Some(Format::Nv12),
        ..wish()
    };
    let words = choose(&cam, &nv12).unwrap_err().to_string();
    assert!(
        words.contains("NV12") && words.contains("MJPG, YUYV"),
        "{words}"
    );
    let raw = [offer(b"RG10", &[(4000, 3000, &[10])])];
    let words = choose(&raw, &wish()).unwrap_err().to_string();
    assert!(words.contains("RG10"), "{words}");
    assert!(choose(&[], &wish()).is_err());
}

#[test]
fn grey_is_the_last_resort_and_size_comes_before_cost() {
    let both = [
        offer(b"GREY", &[(640, 480, &[30])]),
        offer(b"YUYV", &[(160, 120, &[30]), (1920, 1080, &[30])]),
    ];
    assert!(chosen(&both, &wish()).starts_with("YUYV 1920x1080"));
    let small = [offer(b"GREY", &[(160, 120, &[30]), (176, 144, &[30])])];
    assert!(chosen(&small, &wish()).starts_with("GREY 176x144"));
}

#[test]
fn drivers_that_scale_are_asked_for_a_usual_shape() {
    let half = Rate {
        frames: 1,
        seconds: 2,
    };
    let fast = Rate {
        frames: 90,
        seconds: 1,
    };
    let scaler = [Offer {
        fourcc: *b"NV12",
        name: String::new(),
        sizes: vec![Sizes::Range {
            least: (32, 32),
            most: (2592, 1944),
            step: (2, 2),
            rates: Rates::Between(half, fast),
        }],
    }];
    assert_eq!(chosen(&scaler, &wish()), "NV12 320x240, 30 frames a second");
    let own = Wish {
        size: Some((500, 300)),
        fps: Some(12.5),
        ..wish()
    };
    assert_eq!(chosen(&scaler, &own), "NV12 500x300, 12.5 frames a second");
    let odd = Wish {
        size: Some((501, 300)),
        ..wish()
    };
    let words = choose(&scaler, &odd).unwrap_err().to_string();
    assert!(words.contains("32x32 to 2592x1944"), "{words}");
}

#[test]
fn drivers_without_lists_are_asked_and_believed() {
    let old = [offer(b"YUYV", &[]), offer(b"JPEG", &[])];
    assert_eq!(chosen(&old, &wish()), "YUYV 640x480");
    assert_eq!(old[1].format(), Some(Format::Mjpg));
}
