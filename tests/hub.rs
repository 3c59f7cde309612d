//! `model pull` against a local server that behaves like the hub, and like a bad one.

#![cfg(feature = "pull")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use edgeclip::hub::{Hub, Patience, Pulled, Wanted, cached, pull};
use server::{Server, answer, file, marks, range, send, send_file, send_head};

#[path = "hub/commits.rs"]
mod commits;
#[path = "hub/network.rs"]
mod network;
#[path = "hub/server.rs"]
mod server;

fn weights() -> Vec<u8> {
    (0..300_000_u32)
        .flat_map(|i| i.wrapping_mul(2_654_435_769).to_le_bytes())
        .collect()
}

/// A cache of its own.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn patience() -> Patience {
        Patience {
            tries: 3,
            silence: Duration::from_millis(400),
            pause: Duration::from_millis(10),
            floor_bytes: 1000,
            window: Duration::from_millis(500),
        }
    }

    fn hub(server: &Server) -> Hub {
        Hub::new(&server.url, Some("secret".into()), Self::patience())
    }

    fn pull(&self, server: &Server) -> Result<Pulled, edgeclip::Error> {
        self.pull_from(&Self::hub(server))
    }

    fn pull_from(&self, hub: &Hub) -> Result<Pulled, edgeclip::Error> {
        pull(hub, self.dir.path(), &wanted(), &mut |_, _, _| {})
    }

    fn pull_at(&self, server: &Server, wanted: &Wanted) -> Result<Pulled, edgeclip::Error> {
        let hub = Self::hub(server);
        pull(&hub, self.dir.path(), wanted, &mut |_, _, _| {})
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

    fn part(&self) -> PathBuf {
        self.weights().with_file_name("model.safetensors.part")
    }

    /// Leaves the first bytes of a pull that was cut.
    fn hold(&self, bytes: &[u8]) {
        fs::create_dir_all(self.part().parent().unwrap()).unwrap();
        fs::write(self.part(), bytes).unwrap();
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
    let pulled = bench.pull(&server).unwrap();
    let folder = &pulled.folder;
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
    let count = server.asked("/model.safetensors").len();
    assert_eq!(bench.pull(&server).unwrap(), pulled);
    assert_eq!(
        cached(bench.dir.path(), &wanted()).unwrap(),
        Some(pulled.clone())
    );
    assert_eq!(server.asked("/model.safetensors").len(), count);
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
        let mut headers = marks(&body);
        let status = if from == 0 {
            "200 OK"
        } else {
            headers.push(range(from, body.len()));
            "206 Partial Content"
        };
        send_head(s, status, &headers, body.len() - from);
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
        send_head(s, "200 OK", &[], body.len());
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
    assert_eq!(server.asked("/model.safetensors").len(), 3);
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
        assert_eq!(server.asked("/model.safetensors").len(), 1);
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
        send_head(s, "200 OK", &[], 1000);
        s.write_all(b"only this").ok();
        // Holds the line until the other side hangs up.
        std::io::copy(s, &mut std::io::sink()).ok();
    })]);
    let start = Instant::now();
    let bench = Bench::new();
    bench.refused(&server);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(bench.part().exists());
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

/// Sends a byte now and then until the other side hangs up.
fn trickle(stream: &mut std::net::TcpStream) {
    send_head(stream, "200 OK", &marks(&weights()), weights().len());
    for byte in weights() {
        if stream.write_all(&[byte]).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_trickle_is_a_cut() {
    let server = Server::new(vec![answer("/model.safetensors", |_, s| trickle(s))]);
    let (start, bench) = (Instant::now(), Bench::new());
    let words = bench.refused(&server);
    assert!(words.contains("too slow"), "{words}");
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(server.asked("/model.safetensors").len(), 3);
    assert!(bench.part().exists());

    let server = Server::new(vec![answer("/model.safetensors", |r, s| match r.earlier {
        0 => trickle(s),
        _ => send_file(r, s, &weights(), &weights()),
    })]);
    let bench = Bench::new();
    bench.pull(&server).unwrap();
    assert_eq!(fs::read(bench.weights()).unwrap(), weights());
    assert!(server.asked("/model.safetensors")[1].contains_key("range"));
}

#[test]
fn another_part_than_asked_for_is_not_appended() {
    let whole = weights().len();
    for (from, stated) in [(0, whole), (999, whole), (1000, whole + 1), (1001, whole)] {
        let server = Server::new(vec![answer("/model.safetensors", move |r, s| {
            let body = weights();
            if r.from() == 0 {
                return send_file(r, s, &body, &body);
            }
            // The marks of the hub are gone where a cache sits between.
            let mut headers = vec![("X-Linked-Size", body.len().to_string())];
            headers.push(range(from, stated));
            send(s, "206 Partial Content", &headers, &body[from..]);
        })]);
        let bench = Bench::new();
        bench.hold(&weights()[..1000]);
        bench.pull(&server).unwrap();
        assert_eq!(fs::read(bench.weights()).unwrap(), weights());
        let ranges = server.asked("/model.safetensors");
        assert_eq!(ranges.len(), 2, "{from} of {stated}");
        assert!(ranges[0].contains_key("range") && !ranges[1].contains_key("range"));
    }
}

#[test]
fn a_disk_without_room_is_told_before_the_first_byte() {
    let server = Server::new(vec![file("/model.safetensors", weights())]);
    let bench = Bench::new();
    let hub = Bench::hub(&server).with_free(|_| Some(1000));
    let words = bench.pull_from(&hub).unwrap_err().to_string();
    for part in [
        "1000 bytes free",
        "1200000 bytes",
        "EDGECLIP_CACHE",
        "owner--model",
    ] {
        assert!(words.contains(part), "{words}");
    }
    assert!(!bench.part().exists());
    assert_eq!(server.asked("/model.safetensors").len(), 1);
    // What is held takes no more room.
    bench.hold(&weights()[..weights().len() - 1000]);
    bench.pull_from(&hub).unwrap();
    assert_eq!(fs::read(bench.weights()).unwrap(), weights());
}

#[test]
fn small_files_are_held_against_their_hash_in_git() {
    // `git hash-object` of `{}`.
    let stated = "9e26dfeeb6e641a33dae4961196235bdb965b21b";
    let serve = |body: &'static [u8]| {
        let headers = [("ETag", format!("\"{stated}\""))];
        Server::new(vec![
            file("/model.safetensors", weights()),
            answer("/config.json", move |_, s| {
                send(s, "200 OK", &headers, body)
            }),
        ])
    };
    Bench::new().pull(&serve(b"{}")).unwrap();
    let bench = Bench::new();
    let words = bench.pull(&serve(b"[]")).unwrap_err().to_string();
    assert!(words.contains(stated) && words.contains("git"), "{words}");
    assert_eq!(cached(bench.dir.path(), &wanted()).unwrap(), None);
}
