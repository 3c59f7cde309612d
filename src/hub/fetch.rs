//! One file from a hub over HTTPS: redirects, resuming, retries, checks.
//!
//! Redirects are followed here and not by the library, because the token is for the hub alone and must
//! not reach the host that it sends us to.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::{Response, header};
use ureq::{Agent, Body};

use crate::error::{Error, Result};
use crate::store;

/// Largest file that is fetched, in bytes.
const MAX_BYTES: u64 = 8 << 30;
const MAX_REDIRECTS: usize = 5;

/// A hub in the manner of Hugging Face.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: Agent,
    patience: Patience,
}

/// How long to wait, and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries of one file that bring nothing new.
    pub tries: u32,
    /// Longest silence.
    pub silence: Duration,
    /// Wait before the second try; it doubles.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 6,
            silence: Duration::from_secs(30),
            pause: Duration::from_secs(1),
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .finish()
    }
}

/// What the hub says of a file.
#[derive(Clone, Debug, Default)]
struct Facts {
    /// SHA-256, known of large files.
    sha256: Option<String>,
    bytes: Option<u64>,
}

/// How one try ended, short of success.
enum Failed {
    /// Another try may do; wait so long, if the server says.
    Again(String, Option<Duration>),
    Never(Error),
}

impl Hub {
    /// A hub at `endpoint`; `token` goes to that host alone.
    #[must_use]
    pub fn new(endpoint: &str, token: Option<String>, patience: Patience) -> Self {
        let agent: Agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(patience.silence))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            .user_agent(concat!("edgeclip/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            token,
            agent,
            patience,
        }
    }

    /// The hub that `HF_ENDPOINT` names, else huggingface.co, with the token of `HF_TOKEN` or the file that
    /// hub tools keep it in. Proxies come from `HTTPS_PROXY` and `ALL_PROXY`.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        let home = given("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| given("HOME").map(|home| PathBuf::from(home).join(".cache/huggingface")));
        let kept = || {
            let text = std::fs::read_to_string(home?.join("token")).ok()?;
            Some(text.trim().to_owned()).filter(|t| !t.is_empty())
        };
        Self::new(
            &endpoint,
            given("HF_TOKEN").or_else(kept),
            Patience::default(),
        )
    }

    /// Fetches `file` of a repository to `to`; `false` where the hub has no such file. `told` hears the bytes
    /// held and, where known, all of them.
    ///
    /// # Errors
    /// The hub refuses, cannot be reached, or sends something else than it says.
    pub fn fetch(
        &self,
        repository: &str,
        revision: &str,
        file: &str,
        to: &Path,
        told: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<bool> {
        let url = format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint);
        let part = part_of(to);
        let (mut left, mut pause) = (self.patience.tries, self.patience.pause);
        // Only more than was ever held is progress: a server may send the same beginning for ever.
        let mut most = length(&part);
        loop {
            match self.attempt(&url, &part, told) {
                Ok(None) => return Ok(false),
                Ok(Some(facts)) => {
                    check(&part, &facts).map_err(|e| {
                        // What is not the file is no beginning of it either.
                        std::fs::remove_file(&part).ok();
                        e.at(to)
                    })?;
                    std::fs::rename(&part, to).map_err(|e| Error::io(to, "rename", e))?;
                    return Ok(true);
                }
                Err(Failed::Never(e)) => return Err(e),
                Err(Failed::Again(why, wait)) => {
                    if length(&part) > most {
                        most = length(&part);
                        (left, pause) = (self.patience.tries, self.patience.pause);
                    }
                    left -= 1;
                    if left == 0 {
                        let expected = "an answer: is there a network? What was fetched so far is kept, and `model pull` goes on from there";
                        return Err(Error::invalid(
                            "download",
                            format!("{url}: {why}"),
                            expected,
                        ));
                    }
                    log::info!("{url}: {why}; trying again");
                    std::thread::sleep(wait.unwrap_or(pause).min(Duration::from_secs(60)));
                    pause *= 2;
                }
            }
        }
    }

    /// One try; none where there is no such file.
    fn attempt(
        &self,
        url: &str,
        part: &Path,
        told: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<Option<Facts>, Failed> {
        let held = length(part);
        let (mut at, mut facts) = (url.to_owned(), Facts::default());
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.agent.get(&at);
            if let Some(token) = self
                .token
                .as_ref()
                .filter(|_| origin(&at) == origin(&self.endpoint))
            {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            if held > 0 {
                request = request.header(header::RANGE, format!("bytes={held}-"));
            }
            let response = request
                .call()
                .map_err(|e| Failed::Again(e.to_string(), None))?;
            let text = |name: &str| {
                let value = response.headers().get(name)?.to_str().ok()?;
                Some(value.trim_start_matches("W/").trim_matches('"').to_owned())
            };
            // Only the hub itself knows the file; where it sends us to has its own marks.
            if origin(&at) == origin(&self.endpoint) {
                let mark = text("x-linked-etag").or_else(|| text("etag"));
                facts.sha256 = facts
                    .sha256
                    .or(mark.filter(|m| m.len() == 64 && m.bytes().all(|b| b.is_ascii_hexdigit())));
                facts.bytes = facts
                    .bytes
                    .or(text("x-linked-size").and_then(|s| s.parse().ok()));
            }
            match response.status().as_u16() {
                301..=303 | 307 | 308 => {
                    let place = text("location")
                        .ok_or_else(|| Failed::Again("a redirect to nowhere".into(), None))?;
                    at = if place.starts_with('/') {
                        format!("{}{place}", origin(&at))
                    } else {
                        place
                    };
                    if self.endpoint.starts_with("https:") && !at.starts_with("https:") {
                        return Err(Failed::Never(refused(
                            url,
                            "a redirect away from HTTPS",
                            "HTTPS all the way",
                        )));
                    }
                }
                200 | 206 => {
                    self.keep(response, part, held, &mut facts, told)?;
                    return Ok(Some(facts));
                }
                404 => return Ok(None),
                // The part is longer than the file: it was another file's.
                416 => {
                    std::fs::remove_file(part).ok();
                    return Err(Failed::Again("no such range".into(), None));
                }
                401 | 403 => {
                    let expected = "access: accept the model's licence on its page, and set HF_TOKEN to your token";
                    return Err(Failed::Never(refused(
                        url,
                        &format!("status {}", response.status()),
                        expected,
                    )));
                }
                status @ (408 | 429 | 500..=599) => {
                    let wait = text("retry-after")
                        .and_then(|s| s.parse().ok())
                        .map(Duration::from_secs);
                    return Err(Failed::Again(format!("status {status}"), wait));
                }
                status => {
                    return Err(Failed::Never(refused(
                        url,
                        &format!("status {status}"),
                        "the file",
                    )));
                }
            }
        }
        Err(Failed::Never(refused(
            url,
            "one redirect after the other",
            "the file",
        )))
    }

    /// Writes the body behind what is held.
    fn keep(
        &self,
        response: Response<Body>,
        part: &Path,
        held: u64,
        facts: &mut Facts,
        told: &mut dyn FnMut(u64, Option<u64>),
    ) -> Result<(), Failed> {
        let never = |e: std::io::Error| Failed::Never(Error::io(part, "write", e));
        let resumed = response.status().as_u16() == 206;
        let start = if resumed { held } else { 0 };
        let sent = response
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let whole = facts.bytes.or(sent.map(|n| n.saturating_add(start)));
        if whole.is_some_and(|n| n > MAX_BYTES) {
            let found = whole.unwrap_or_default();
            let what = "bytes of a download";
            return Err(Failed::Never(Error::Limit {
                what,
                found,
                limit: MAX_BYTES,
            }));
        }
        facts.bytes = whole;
        let mut file: File = OpenOptions::new()
            .create(true)
            .append(resumed)
            .write(true)
            .truncate(!resumed)
            .open(part)
            .map_err(never)?;
        let mut body = response.into_body().into_reader();
        let (mut at, mut buffer) = (start, vec![0; 256 << 10]);
        loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) => return Err(Failed::Again(e.to_string(), None)),
            };
            at += count as u64;
            if at > whole.unwrap_or(MAX_BYTES) {
                drop(file);
                std::fs::remove_file(part).ok();
                return Err(Failed::Never(
                    Error::invalid(
                        "download",
                        "more bytes than the hub states",
                        "the file as stated",
                    )
                    .at(part),
                ));
            }
            file.write_all(&buffer[..count]).map_err(never)?;
            told(at, whole);
        }
        file.sync_all().map_err(never)?;
        if whole.is_some_and(|n| at < n) {
            return Err(Failed::Again(format!("cut after {at} bytes"), None));
        }
        Ok(())
    }
}

/// Where a file grows until it is whole.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    to.with_file_name(name)
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |m| m.len())
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |i| i + 3);
    let end = url[host..]
        .find(['/', '?', '#'])
        .map_or(url.len(), |i| host + i);
    &url[..end]
}

fn refused(url: &str, found: &str, expected: &str) -> Error {
    Error::invalid("download", format!("{url}: {found}"), expected)
}

fn check(part: &Path, facts: &Facts) -> Result<()> {
    let found = length(part);
    if facts.bytes.is_some_and(|n| n != found) {
        let expected = format!("{} bytes", facts.bytes.unwrap_or_default());
        return Err(Error::invalid(
            "download",
            format!("{found} bytes"),
            expected,
        ));
    }
    if let Some(stated) = &facts.sha256 {
        let found = sha256(part)?;
        if !found.eq_ignore_ascii_case(stated) {
            return Err(Error::invalid(
                "download",
                format!("SHA-256 {found}"),
                format!("{stated}, which the hub states: pull again"),
            ));
        }
    }
    Ok(())
}

/// SHA-256 of a file, in hex.
pub(super) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file
            .read(&mut buffer)
            .map_err(|e| Error::io(path, "read", e))?
        {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(store::hex(&hash.finalize()))
}
