//! `model pull` against a local server that behaves like the hub, and like a bad one.

#![cfg(feature = "pull")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use edgeclip::hub::{Hub, Patience, Wanted, cached, pull};
use sha2::{Digest, Sha256};

/// What a server does with a request for one path.
type Answer = Box<dyn Fn(&Request, &mut TcpStream) + Send + Sync>;

struct Request {
    path: String,
    headers: HashMap<String, String>,
    /// Requests for this path before this one.
    earlier: usize,
}

impl Request {
    /// First byte that is asked for.
    fn from(&self) -> usize {
        let range = self
            .headers
            .get("range")
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        range.unwrap_or(0)
    }
}

type Seen = Mutex<Vec<(String, HashMap<String, String>)>>;

/// A server on loopback that remembers what it was asked.
struct Server {
    url: String,
    seen: Arc<Seen>,
}

impl Server {
    fn new(answers: Vec<(&'static str, Answer)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let (answers, log) = (Arc::new(answers), Arc::clone(&seen));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, log) = (Arc::clone(&answers), Arc::clone(&log));
                thread::spawn(move || serve(stream.unwrap(), &answers, &log));
            }
        });
        Self { url, seen }
    }

    fn asked(&self, part: &str) -> Vec<HashMap<String, String>> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, h)| h.clone())
            .collect()
    }
}

fn serve(mut stream: TcpStream, answers: &[(&'static str, Answer)], log: &Seen) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut headers = HashMap::new();
    for line in lines.map_while(Result::ok).take_while(|l| !l.is_empty()) {
        let (name, value) = line.split_once(": ").unwrap();
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let earlier = {
        let mut log = log.lock().unwrap();
        let earlier = log.iter().filter(|(p, _)| *p == path).count();
        log.push((path.clone(), headers.clone()));
        earlier
    };
    let request = Request {
        path,
        headers,
        earlier,
    };
    match answers.iter().find(|(end, _)| request.path.ends_with(end)) {
        Some((_, answer)) => answer(&request, &mut stream),
        None => send(&mut stream, "404 Not Found", &[], b"no such file"),
    }
    stream.flush().ok();
}

fn send(stream: &mut TcpStream, status: &str, headers: &[(&str, String)], body: &[u8]) {
    let mut head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok();
    stream.write_all(body).ok();
}

/// Sends the rest of `body` from where it is asked for, with the hub's marks of the whole.
fn send_file(request: &Request, stream: &mut TcpStream, body: &[u8], stated: &[u8]) {
    let marks = marks(stated);
    match request.from() {
        0 => send(stream, "200 OK", &marks, body),
        from if from >= body.len() => send(stream, "416 Range Not Satisfiable", &[], b""),
        from => send(stream, "206 Partial Content", &marks, &body[from..]),
    }
}

fn marks(body: &[u8]) -> Vec<(&'static str, String)> {
    let hash: String = Sha256::digest(body)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    vec![
        ("X-Linked-ETag", format!("\"{hash}\"")),
        ("X-Linked-Size", body.len().to_string()),
    ]
}

fn weights() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_769).to_le_bytes())
        .collect()
}

fn file(name: &'static str, body: Vec<u8>) -> (&'static str, Answer) {
    let answer: Answer = Box::new(move |r, s| send_file(r, s, &body, &body));
    (name, answer)
}

fn answer(
    name: &'static str,
    f: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
) -> (&'static str, Answer) {
    (name, Box::new(f))
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn pull(&self, server: &Server) -> Result<PathBuf, edgeclip::Error> {
        let patience = Patience {
            tries: 3,
            silence: Duration::from_millis(400),
            pause: Duration::from_millis(10),
        };
        let hub = Hub::new(&server.url, Some("secret".into()), patience);
        pull(&hub, self.dir.path(), &wanted(), &mut |_, _, _| {})
    }

    fn refused(&self, server: &Server) -> String {
        let words = self.pull(server).unwrap_err().to_string();
        assert!(cached(self.dir.path(), &wanted()).unwrap().is_none());
        assert!(!self.weights().exists());
        words
    }

    fn weights(&self) -> PathBuf {
        self.dir.path().join("owner--model/main/model.safetensors")
    }
}

fn wanted() -> Wanted {
    Wanted::parse("owner/model").unwrap()
}

#[test]
fn a_whole_model_is_fetched_once_and_then_comes_from_the_cache() {
    let bench = Bench::new();
    let server = Server::new(vec![
        file("/model.safetensors", weights()),
        file("/config.json", b"{}".to_vec()),
    ]);
    let folder = bench.pull(&server).unwrap();
    assert_eq!(
        fs::read(folder.join("model.safetensors")).unwrap(),
        weights()
    );
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert!(!folder.join("vocab.json").exists());
    assert_eq!(
        server
            .asked("/owner/model/resolve/main/model.safetensors")
            .len(),
        1
    );
    let count = server.asked("").len();
    assert_eq!(bench.pull(&server).unwrap(), folder);
    assert_eq!(
        cached(bench.dir.path(), &wanted()).unwrap(),
        Some(folder.clone())
    );
    assert_eq!(server.asked("").len(), count);
    fs::write(folder.join("config.json"), "other").unwrap();
    assert!(
        cached(bench.dir.path(), &wanted())
            .unwrap_err()
            .to_string()
            .contains("pull again")
    );
}

#[test]
fn the_token_goes_to_the_hub_and_not_where_it_sends_us() {
    let store = Server::new(vec![file("/blob", weights())]);
    let place = format!("{}/blob", store.url);
    let hub = Server::new(vec![answer("/model.safetensors", move |_, s| {
        let mut headers = marks(&weights());
        headers.push(("Location", place.clone()));
        send(s, "302 Found", &headers, b"");
    })]);
    let bench = Bench::new();
    bench.pull(&hub).unwrap();
    assert_eq!(fs::read(bench.weights()).unwrap(), weights());
    let token = Some("Bearer secret".to_owned());
    assert!(
        hub.asked("")
            .iter()
            .all(|h| h.get("authorization").cloned() == token)
    );
    let at_store = store.asked("/blob");
    assert!(!at_store.is_empty() && at_store.iter().all(|h| !h.contains_key("authorization")));
}

#[test]
fn a_cut_connection_is_resumed_where_it_broke() {
    let server = Server::new(vec![answer("/model.safetensors", |r, s| {
        let body = weights();
        let from = r.from();
        // Four times a quarter of what is left, then the rest.
        let cut = if r.earlier < 4 {
            from + (body.len() - from) / 4
        } else {
            body.len()
        };
        let status = if from == 0 {
            "200 OK"
        } else {
            "206 Partial Content"
        };
        let mut head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len() - from
        );
        for (name, value) in marks(&body) {
            head += &format!("{name}: {value}\r\n");
        }
        s.write_all(format!("{head}\r\n").as_bytes()).ok();
        s.write_all(&body[from..cut]).ok();
    })]);
    let bench = Bench::new();
    bench.pull(&server).unwrap();
    assert_eq!(fs::read(bench.weights()).unwrap(), weights());
    let ranges: Vec<_> = server
        .asked("/model.safetensors")
        .iter()
        .map(|h| h.get("range").cloned())
        .collect();
    assert_eq!(ranges.len(), 5);
    assert!(
        ranges[0].is_none() && ranges[1..].iter().all(Option::is_some),
        "{ranges:?}"
    );
}

#[test]
fn a_server_without_ranges_starts_again() {
    let server = Server::new(vec![answer("/model.safetensors", |r, s| {
        let body = weights();
        let sent = if r.earlier == 0 {
            &body[..1000]
        } else {
            &body[..]
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        s.write_all(head.as_bytes()).ok();
        s.write_all(sent).ok();
    })]);
    let bench = Bench::new();
    bench.pull(&server).unwrap();
    assert_eq!(fs::read(bench.weights()).unwrap(), weights());
}

#[test]
fn a_busy_hub_is_waited_for_as_it_says() {
    let server = Server::new(vec![answer("/model.safetensors", |r, s| {
        if r.earlier < 2 {
            return send(
                s,
                "429 Too Many Requests",
                &[("Retry-After", "0".into())],
                b"",
            );
        }
        send_file(r, s, &weights(), &weights());
    })]);
    Bench::new().pull(&server).unwrap();
    let server = Server::new(vec![answer("/model.safetensors", |_, s| {
        send(s, "503 Service Unavailable", &[], b"")
    })]);
    let words = Bench::new().refused(&server);
    assert!(
        words.contains("503") && words.contains("is kept"),
        "{words}"
    );
    assert_eq!(server.asked("").len(), 3);
}

#[test]
fn other_bytes_than_the_hub_states_are_no_model() {
    let other = |body: Vec<u8>| {
        Server::new(vec![answer("/model.safetensors", move |r, s| {
            send_file(r, s, &body, &weights())
        })])
    };
    let mut wrong = weights();
    wrong[17] ^= 1;
    let words = Bench::new().refused(&other(wrong));
    assert!(words.contains("SHA-256"), "{words}");
    let words = Bench::new().refused(&other([&weights()[..], b"more"].concat()));
    assert!(words.contains("more bytes"), "{words}");
    let short = Bench::new().refused(&other(weights()[..1000].to_vec()));
    assert!(
        short.contains("416") || short.contains("range") || short.contains("cut"),
        "{short}"
    );
    let words = Bench::new().refused(&other(b"<!DOCTYPE html>".to_vec()));
    assert!(words.contains("cut") || words.contains("range"), "{words}");
}

#[test]
fn refusals_of_the_hub_say_what_to_do() {
    for status in ["401 Unauthorized", "403 Forbidden"] {
        let server = Server::new(vec![answer("/model.safetensors", move |_, s| {
            send(s, status, &[], b"")
        })]);
        let words = Bench::new().refused(&server);
        assert!(
            words.contains("licence") && words.contains("HF_TOKEN"),
            "{words}"
        );
        assert_eq!(server.asked("").len(), 1);
    }
    let words = Bench::new().refused(&Server::new(Vec::new()));
    assert!(
        words.contains("model.safetensors") && words.contains("owner/model"),
        "{words}"
    );
    let round = Server::new(vec![answer("/model.safetensors", |r, s| {
        send(s, "302 Found", &[("Location", r.path.clone())], b"");
    })]);
    assert!(Bench::new().refused(&round).contains("redirect"));
}

#[test]
fn silence_is_not_waited_for_for_ever() {
    let server = Server::new(vec![answer("/model.safetensors", |_, s| {
        s.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
            .ok();
        s.flush().ok();
        // Holds the line until the other side hangs up.
        std::io::copy(s, &mut std::io::sink()).ok();
    })]);
    let start = std::time::Instant::now();
    let bench = Bench::new();
    bench.refused(&server);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(
        bench
            .weights()
            .with_file_name("model.safetensors.part")
            .exists()
    );
}

#[test]
fn two_pulls_at_once_fetch_once() {
    let server = Server::new(vec![file("/model.safetensors", weights())]);
    let bench = Bench::new();
    thread::scope(|scope| {
        let pulls: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| bench.pull(&server)))
            .collect();
        pulls.into_iter().for_each(|p| {
            p.join().unwrap().unwrap();
        });
    });
    assert_eq!(server.asked("/model.safetensors").len(), 1);
}
