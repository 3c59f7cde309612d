#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::frame::Frame;

const LONG: Duration = Duration::from_secs(5);

fn jpeg(grey: u8) -> Vec<u8> {
    let frame = Frame::from_rgb(16, 16, vec![grey; 16 * 16 * 3]).unwrap();
    frame.to_thumbnail(16).unwrap()
}

/// Gives each that asks what `serve` writes, told how often it was asked before; what was asked
/// comes out.
fn server(serve: impl Fn(&mut TcpStream, usize) + Send + 'static) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, asked) = channel();
    thread::spawn(move || {
        for (count, socket) in listener.incoming().enumerate() {
            let mut socket = socket.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            if tell.send(String::from_utf8(head).unwrap()).is_err() {
                return;
            }
            serve(&mut socket, count);
        }
    });
    (address, asked)
}

fn answer(kind: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}\r\n");
    [head.as_bytes(), body].concat()
}

fn parts(greys: &[u8]) -> Vec<u8> {
    let part = |grey: &u8| {
        let head = b"--b\r\nContent-Type: image/jpeg\r\n\r\n";
        [&head[..], &jpeg(*grey), b"\r\n"].concat()
    };
    greys.iter().flat_map(part).collect()
}

fn chunked(bytes: &[u8]) -> Vec<u8> {
    let chunk = |c: &[u8]| [format!("{:x}\r\n", c.len()).as_bytes(), c, b"\r\n"].concat();
    bytes.chunks(100).flat_map(chunk).collect()
}

fn open(address: &str) -> Result<Http> {
    let limits = Limits {
        connect: LONG,
        head: Duration::from_millis(300),
        silence: Duration::from_millis(300),
    };
    Http::within(address, &Wish::default(), limits)
}

fn grey(source: &mut Http) -> u8 {
    source.next(Vec::new(), LONG).unwrap().frame.bytes()[0]
}

const MULTIPART: &str = "multipart/x-mixed-replace; boundary=b";

#[test]
fn a_stream_is_read_in_every_wrapping() {
    let chunks = [&chunked(&parts(&[200]))[..], b"0\r\n\r\n"].concat();
    for (more, body) in [
        ("", parts(&[200])),
        ("Content-Length: 0\r\n", parts(&[200])),
        ("Transfer-Encoding: Chunked\r\n", chunks),
    ] {
        let whole = answer(MULTIPART, more, &body);
        let (host, asked) = server(move |socket, _| socket.write_all(&whole).unwrap());
        let mut source = open(&format!("http://me:pw@{host}/a?b")).unwrap();
        assert!(grey(&mut source).abs_diff(200) < 3);
        let asked = asked.recv().unwrap();
        assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Authorization: Basic bWU6cHc=\r\n"));
        assert_eq!(
            source.about(),
            format!("http://{host}/a?b: a stream of JPEGs")
        );
        let Err(Fault::Lost(why)) = source.next(Vec::new(), LONG) else {
            panic!("not lost");
        };
        assert!(why.to_string().contains("end of the stream"), "{why}");
    }
}

#[test]
fn one_picture_is_asked_for_again_and_again() {
    let level = |count: usize| (count % 5) as u8 * 50;
    let (host, asked) = server(move |socket, count| {
        let picture = answer("image/jpeg", "", &jpeg(level(count)));
        socket.write_all(&picture).unwrap();
    });
    let wish = Wish {
        fps: Some(20.0),
        ..Wish::default()
    };
    let mut source = Http::open(&format!("http://{host}/"), &wish).unwrap();
    let mut last = None;
    for _ in 0..3 {
        let got = source.next(Vec::new(), LONG).unwrap();
        assert!(last < Some(got.sequence));
        last = Some(got.sequence);
        let level = level(got.sequence as usize);
        assert!(got.frame.bytes()[0].abs_diff(level) < 4);
    }
    assert!(asked.iter().take(3).count() == 3);
}

#[test]
fn a_server_that_hangs_is_left() {
    let began = Instant::now();
    let (host, _asked) = server(|_, _| thread::sleep(LONG));
    let words = open(&format!("http://{host}/")).err().unwrap().to_string();
    assert!(words.contains("nothing came in time"), "{words}");
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_server_that_drips_is_left() {
    let began = Instant::now();
    let (host, _asked) = server(|socket, _| {
        while socket.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(open(&format!("http://{host}/")).is_err());
    assert!(began.elapsed() < LONG);
}

#[test]
fn a_stream_that_falls_silent_is_lost() {
    let (host, _asked) = server(|socket, _| {
        socket
            .write_all(&answer(MULTIPART, "", &parts(&[9])))
            .unwrap();
        thread::sleep(LONG);
    });
    let mut source = open(&format!("http://{host}/")).unwrap();
    grey(&mut source);
    let short = Duration::from_millis(10);
    assert!(matches!(source.next(Vec::new(), short), Err(Fault::Silent)));
    let Err(Fault::Lost(why)) = source.next(Vec::new(), LONG) else {
        panic!("not lost");
    };
    assert!(why.to_string().contains("nothing came in time"), "{why}");
}

#[test]
fn a_stream_cut_within_a_picture_is_damaged_and_then_lost() {
    let body = parts(&[9, 200]);
    let whole = answer(MULTIPART, "", &body[..body.len() - 100]);
    let (host, _asked) = server(move |socket, _| socket.write_all(&whole).unwrap());
    let mut source = open(&format!("http://{host}/")).unwrap();
    let (mut whole, mut damaged) = (0, 0);
    loop {
        match source.next(Vec::new(), LONG) {
            Ok(_) => whole += 1,
            Err(Fault::Damaged(_)) => damaged += 1,
            Err(Fault::Lost(_)) => break,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((whole, damaged), (1, 1));
}

#[test]
fn what_is_no_stream_is_refused_at_once_and_without_the_password() {
    for (status, kind, expected) in [
        ("401 Unauthorized", "text/html", "access"),
        ("404 Not Found", "text/html", "path right"),
        ("200 OK", "text/html", "not of its page"),
    ] {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n\r\n");
        let (host, _asked) = server(move |s, _| s.write_all(head.as_bytes()).unwrap());
        let address = format!("http://me:secret@{host}/");
        let words = open(&address).err().unwrap().to_string();
        assert!(words.contains(expected), "{words}");
        assert!(!words.contains("secret"), "{words}");
    }
}

#[test]
fn nobody_there_is_said_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap();
    drop(listener);
    let words = open(&format!("http://{host}/")).err().unwrap().to_string();
    assert!(words.contains("cannot connect to"), "{words}");
}

#[test]
fn who_leaves_hangs_up_at_once() {
    let (tell, hung_up) = channel();
    let (host, _asked) = server(move |socket, _| {
        socket.write_all(&answer(MULTIPART, "", b"")).unwrap();
        let end = socket.read(&mut [0; 9]);
        tell.send(end.is_ok()).unwrap();
    });
    let source = Http::open(&format!("http://{host}/"), &Wish::default()).unwrap();
    let newest = source.jpegs.newest();
    let began = Instant::now();
    drop(source);
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(hung_up.recv_timeout(LONG).unwrap());
    // The reading thread holds the other handle of it.
    while Arc::strong_count(&newest) > 1 {
        assert!(began.elapsed() < LONG);
        thread::sleep(Duration::from_millis(5));
    }
}
