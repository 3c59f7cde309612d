//! A server on loopback that answers as it is told and remembers what it was asked.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use sha2::{Digest, Sha256};

/// What a server does with a request for paths that end so.
type Answer = Box<dyn Fn(&Request, &mut TcpStream) + Send + Sync>;

pub(super) struct Request {
    pub(super) path: String,
    headers: HashMap<String, String>,
    /// Requests for this path before this one.
    pub(super) earlier: usize,
}

impl Request {
    /// First byte that is asked for.
    pub(super) fn from(&self) -> usize {
        let range = self
            .headers
            .get("range")
            .and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        range.unwrap_or(0)
    }
}

type Seen = Mutex<Vec<(String, HashMap<String, String>)>>;

pub(super) struct Server {
    pub(super) url: String,
    seen: Arc<Seen>,
}

impl Server {
    pub(super) fn new(answers: Vec<(&'static str, Answer)>) -> Self {
        let (answers, seen) = (Arc::new(answers), Arc::new(Seen::default()));
        let log = Arc::clone(&seen);
        let address = listen(move |stream| serve(stream, &answers, &log));
        let url = format!("http://{address}");
        Self { url, seen }
    }

    /// Headers of the requests for paths that hold `part`.
    pub(super) fn asked(&self, part: &str) -> Vec<HashMap<String, String>> {
        let seen = self.seen.lock().unwrap();
        seen.iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, h)| h.clone())
            .collect()
    }
}

/// Handles each connection in a thread of its own; the address that listens.
pub(super) fn listen(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream.unwrap()));
        }
    });
    address
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

pub(super) fn send(stream: &mut TcpStream, status: &str, headers: &[(&str, String)], body: &[u8]) {
    send_head(stream, status, headers, body.len());
    stream.write_all(body).ok();
}

/// The head of an answer with `length` bytes, which may come or not.
pub(super) fn send_head(
    stream: &mut TcpStream,
    status: &str,
    headers: &[(&str, String)],
    length: usize,
) {
    let mut head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).ok();
}

/// Sends the rest of `body` from where it is asked for, with the hub's marks of the whole.
pub(super) fn send_file(request: &Request, stream: &mut TcpStream, body: &[u8], stated: &[u8]) {
    let mut marks = marks(stated);
    match request.from() {
        0 => send(stream, "200 OK", &marks, body),
        from if from >= body.len() => send(stream, "416 Range Not Satisfiable", &[], b""),
        from => {
            marks.push(range(from, body.len()));
            send(stream, "206 Partial Content", &marks, &body[from..]);
        }
    }
}

/// The header that says which part of `length` bytes is sent.
pub(super) fn range(from: usize, length: usize) -> (&'static str, String) {
    let value = format!("bytes {from}-{}/{length}", length - 1);
    ("Content-Range", value)
}

pub(super) fn marks(body: &[u8]) -> Vec<(&'static str, String)> {
    let hash: String = Sha256::digest(body)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    vec![
        ("X-Linked-ETag", format!("\"{hash}\"")),
        ("X-Linked-Size", body.len().to_string()),
    ]
}

pub(super) fn file(name: &'static str, body: Vec<u8>) -> (&'static str, Answer) {
    let answer: Answer = Box::new(move |r, s| send_file(r, s, &body, &body));
    (name, answer)
}

pub(super) fn answer(
    name: &'static str,
    f: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
) -> (&'static str, Answer) {
    (name, Box::new(f))
}
