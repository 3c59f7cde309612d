//! Names, certificates and proxies: what lies between here and the hub.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use edgeclip::hub::{Hub, Patience};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::server::{Server, file, listen};
use super::{Bench, weights};

fn refused(endpoint: &str, patience: Patience) -> String {
    let hub = Hub::new(endpoint, None, patience);
    Bench::new().pull_from(&hub).unwrap_err().to_string()
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_at_once() {
    let pem = include_bytes!("self-signed.pem");
    let certificate = CertificateDer::from_pem_slice(pem).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (config, seen) = (Arc::new(config), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&seen);
    let address = listen(move |mut stream| {
        *count.lock().unwrap() += 1;
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        tls.complete_io(&mut stream).ok();
    });
    let words = refused(&format!("https://{address}"), Bench::patience());
    for part in ["certificate", address.as_str(), "clock"] {
        assert!(words.contains(part), "{words}");
    }
    assert_eq!(*seen.lock().unwrap(), 1);
}

#[test]
fn hosts_without_a_name_or_a_server_are_said() {
    // Too long for a label of a name, so that nobody needs to be asked.
    let words = refused(
        &format!("http://{}.invalid", "a".repeat(64)),
        Bench::patience(),
    );
    assert!(words.contains("no host of that name"), "{words}");
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let words = refused(&format!("http://{closed}"), Bench::patience());
    assert!(words.to_lowercase().contains("refused"), "{words}");
}

/// A proxy that leads every name to `target`, and the names it was asked for.
fn proxy(target: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (log, target) = (
        Arc::clone(&seen),
        target.trim_start_matches("http://").to_owned(),
    );
    let address = listen(move |mut near| {
        let mut lines = BufReader::new(near.try_clone().unwrap()).lines();
        log.lock().unwrap().push(lines.next().unwrap().unwrap());
        lines
            .map_while(Result::ok)
            .take_while(|l| !l.is_empty())
            .for_each(drop);
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
            .unwrap();
        let far = TcpStream::connect(&target).unwrap();
        let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
        let there = thread::spawn(move || pass(near, far));
        pass(back.0, back.1);
        there.join().unwrap();
    });
    (format!("http://{address}"), seen)
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
}

/// Runs the program's `model pull` from `endpoint`; whether the weights came.
fn program_pulls(endpoint: &str, settings: &[(&str, &str)]) -> bool {
    let bench = Bench::new();
    let mut program = Command::new(env!("CARGO_BIN_EXE_edgeclip"));
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"] {
        program.env_remove(name).env_remove(name.to_lowercase());
    }
    let output = bench.dir.path().join("made.ecmodel");
    program
        .args(["model", "pull", "owner/model", "-o"])
        .arg(output)
        .envs(settings.iter().copied())
        .env("HF_ENDPOINT", endpoint)
        .env("EDGECLIP_CACHE", bench.dir.path())
        .env("HOME", bench.dir.path());
    let done = program.output().unwrap();
    let words = String::from_utf8_lossy(&done.stderr);
    // What is pulled here is no model, so the import fails after it.
    assert!(!done.status.success(), "{words}");
    std::fs::read(bench.weights()).is_ok_and(|w| w == weights())
}

#[test]
fn proxies_of_the_environment_are_used_and_left_out_as_it_says() {
    let server = Server::new(vec![file("/model.safetensors", weights())]);
    for name in ["HTTPS_PROXY", "ALL_PROXY", "HTTP_PROXY"] {
        let (proxy, seen) = proxy(&server.url);
        assert!(program_pulls("http://hub.invalid", &[(name, &proxy)]));
        let seen = seen.lock().unwrap();
        assert!(
            !seen.is_empty()
                && seen
                    .iter()
                    .all(|l| l.starts_with("CONNECT hub.invalid:80 ")),
            "{seen:?}"
        );
    }
    let (proxy, seen) = proxy(&server.url);
    let settings = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("NO_PROXY", "localhost,127.0.0.1"),
    ];
    assert!(program_pulls(&server.url, &settings));
    assert!(seen.lock().unwrap().is_empty());

    // One that cannot be used is no reason to go without.
    let count = server.asked("").len();
    for address in ["socks5://127.0.0.1:1080", "gopher://127.0.0.1:70"] {
        assert!(!program_pulls(&server.url, &[("ALL_PROXY", address)]));
    }
    assert_eq!(server.asked("").len(), count);
}
