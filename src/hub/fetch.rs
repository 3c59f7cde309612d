//! One file from a hub over HTTPS: redirects, resuming, retries, checks.
//!
//! Redirects are followed here and not by the library, because the token is for the hub alone and must
//! not reach the host that it sends us to.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, StatusCode, header};
use ureq::{Agent, Body};

use super::body::{Part, Told};
use super::check::{Facts, length, no_page, text};
use super::patience::{Failed, Patience};
use super::{Wanted, proxy, room};
use crate::error::{Error, Result};

const MAX_REDIRECTS: usize = 5;
/// Small files that are asked for the commit of a branch; a repository has one of them.
const ASKED_FOR_COMMIT: [&str; 2] = ["config.json", "README.md"];

/// A hub in the manner of Hugging Face.
pub struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: Agent,
    patience: Patience,
    free: fn(&Path) -> Option<u64>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token stays out of logs.
        f.debug_struct("Hub")
            .field("endpoint", &self.endpoint)
            .finish()
    }
}

impl Hub {
    /// A hub at `endpoint`; `token` goes to that host alone.
    #[must_use]
    pub fn new(endpoint: &str, token: Option<String>, patience: Patience) -> Self {
        let agent: Agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.silence))
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
            free: room::free,
        }
    }

    /// The hub that `HF_ENDPOINT` names, else huggingface.co, with the token of `HF_TOKEN` or the file that
    /// hub tools keep it in. Proxies come from `ALL_PROXY`, `HTTPS_PROXY` and `HTTP_PROXY`.
    ///
    /// # Errors
    /// These name a proxy that cannot be used.
    pub fn from_environment() -> Result<Self> {
        proxy::check()?;
        let given = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let endpoint = given("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".into());
        if !["http://", "https://"]
            .iter()
            .any(|s| endpoint.starts_with(s))
        {
            let expected = "https://HOST, or http://HOST";
            return Err(Error::invalid("HF_ENDPOINT", endpoint, expected));
        }
        let home = given("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| given("HOME").map(|home| PathBuf::from(home).join(".cache/huggingface")));
        let kept = || {
            let text = std::fs::read_to_string(home?.join("token")).ok()?;
            Some(text.trim().to_owned()).filter(|t| !t.is_empty())
        };
        let token = given("HF_TOKEN").or_else(kept);
        Ok(Self::new(&endpoint, token, Patience::default()))
    }

    /// The same hub, with `free` telling the bytes left beside a file in place of the system.
    #[must_use]
    pub fn with_free(mut self, free: fn(&Path) -> Option<u64>) -> Self {
        self.free = free;
        self
    }

    /// The commit that a branch or tag stands at; none where the hub does not tell.
    ///
    /// # Errors
    /// The hub refuses or cannot be reached.
    pub(super) fn commit(&self, wanted: &Wanted) -> Result<Option<String>> {
        for file in ASKED_FOR_COMMIT {
            let url = self.place(wanted, file);
            let (facts, _) = self.patience.insist(&url, || 0, || self.ask(&url, 0))?;
            if facts.commit.is_some() {
                return Ok(facts.commit);
            }
        }
        Ok(None)
    }

    /// Fetches `file` of a repository to `to`; `false` where the hub has no such file.
    ///
    /// # Errors
    /// The hub refuses, cannot be reached, or sends something else than it says; the disk has no room.
    pub(super) fn fetch(
        &self,
        wanted: &Wanted,
        file: &str,
        to: &Path,
        told: &mut Told<'_>,
    ) -> Result<bool> {
        let url = self.place(wanted, file);
        let part = part_of(to);
        let held = || length(&part);
        let once = || self.attempt(wanted, &url, &part, told);
        let Some(facts) = self.patience.insist(&url, held, once)? else {
            return Ok(false);
        };
        let whole = facts.check(&part).and_then(|()| no_page(&part));
        whole.map_err(|e| {
            // What is not the file is no beginning of it either.
            std::fs::remove_file(&part).ok();
            e.at(to)
        })?;
        std::fs::rename(&part, to).map_err(|e| Error::io(to, "rename", e))?;
        Ok(true)
    }

    fn place(&self, wanted: &Wanted, file: &str) -> String {
        let Wanted {
            repository,
            revision,
        } = wanted;
        format!("{}/{repository}/resolve/{revision}/{file}", self.endpoint)
    }

    /// One try; none where there is no such file.
    fn attempt(
        &self,
        wanted: &Wanted,
        url: &str,
        path: &Path,
        told: &mut Told<'_>,
    ) -> Result<Option<Facts>, Failed> {
        let (mut facts, response) = self.ask(url, length(path))?;
        if let Some(other) = facts.commit.as_ref().filter(|c| wanted.is_other(c)) {
            let found = format!("a file of commit {other}");
            return Err(Failed::Never(refused(url, &found, "the commit asked for")));
        }
        let Some(response) = response else {
            return Ok(None);
        };
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // The part is longer than the file: it was another file's.
            std::fs::remove_file(path).ok();
            return Err(Failed::Again("no such range".into(), None));
        }
        let part = Part {
            path,
            free: (self.free)(path.parent().unwrap_or(path)),
            patience: self.patience,
        };
        part.take(response, &mut facts, told)?;
        Ok(Some(facts))
    }

    /// Follows redirects to the answer for all from byte `from`; no response where there is no such file.
    fn ask(&self, url: &str, from: u64) -> Result<(Facts, Option<Response<Body>>), Failed> {
        let (mut at, mut facts) = (url.to_owned(), Facts::default());
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&at, from)?;
            // Only the hub itself knows the file; where it sends us to has its own marks.
            if self.is_own(&at) {
                facts.hear(response.headers());
            }
            match response.status().as_u16() {
                301..=303 | 307 | 308 => {
                    let place = text(response.headers(), "location");
                    at = self.onward(url, &at, place)?;
                }
                200 | 206 | 416 => return Ok((facts, Some(response))),
                404 => return Ok((facts, None)),
                _ => return Err(status(url, &response)),
            }
        }
        let found = "one redirect after the other";
        Err(Failed::Never(refused(url, found, "the file")))
    }

    fn is_own(&self, url: &str) -> bool {
        origin(url) == origin(&self.endpoint)
    }

    fn send(&self, url: &str, from: u64) -> Result<Response<Body>, Failed> {
        let mut request = self.agent.get(url);
        if let Some(token) = self.token.as_ref().filter(|_| self.is_own(url)) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        request.call().map_err(|e| unreached(url, &e))
    }

    /// Where a redirect from `at` leads to.
    fn onward(&self, url: &str, at: &str, place: Option<String>) -> Result<String, Failed> {
        let place = place.ok_or_else(|| Failed::Again("a redirect to nowhere".into(), None))?;
        let next = if place.starts_with('/') {
            format!("{}{place}", origin(at))
        } else {
            place
        };
        if self.endpoint.starts_with("https:") && !next.starts_with("https:") {
            let found = "a redirect away from HTTPS";
            return Err(Failed::Never(refused(url, found, "HTTPS all the way")));
        }
        Ok(next)
    }
}

/// Why no answer came, and whether to ask again.
fn unreached(url: &str, error: &ureq::Error) -> Failed {
    let why = error.to_string();
    // rustls speaks through several kinds of error, always in these words.
    if let Some((_, reason)) = why.split_once("invalid peer certificate: ") {
        let expected = "one that the public authorities vouch for: is the clock of this machine right, and does no proxy open HTTPS?";
        let found = format!("{}: {reason}", origin(url));
        return Failed::Never(Error::invalid("certificate", found, expected));
    }
    let unknown = matches!(error, ureq::Error::HostNotFound)
        || why.contains("failed to lookup address information");
    if unknown {
        return Failed::Unknown(format!("no host of that name is known: {why}"));
    }
    Failed::Again(why, None)
}

/// What a status without a file means.
fn status(url: &str, response: &Response<Body>) -> Failed {
    let found = format!("status {}", response.status());
    match response.status().as_u16() {
        401 | 403 => {
            let expected =
                "access: accept the model's licence on its page, and set HF_TOKEN to your token";
            Failed::Never(refused(url, &found, expected))
        }
        408 | 429 | 500..=599 => {
            let wait = text(response.headers(), "retry-after").and_then(|s| s.parse().ok());
            Failed::Again(found, wait.map(Duration::from_secs))
        }
        _ => Failed::Never(refused(url, &found, "the file")),
    }
}

/// Where a file grows until it is whole.
fn part_of(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    to.with_file_name(name)
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
