//! The proxy that the environment names: used, or refused, and never passed by unseen.

use ureq::{Proxy, ProxyProtocol};

use crate::error::{Error, Result};

const NAMES: [&str; 6] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
];

/// # Errors
/// ureq would go to the hub directly, for a proxy that it does not read or speak to.
pub(super) fn check() -> Result<()> {
    let given = |name: &&str| std::env::var(name).is_ok_and(|v| !v.is_empty());
    let Some(name) = NAMES.into_iter().find(given) else {
        return Ok(());
    };
    // Without the address, which may hold a password.
    let found = match Proxy::try_from_env().map(|p| p.protocol()) {
        Some(ProxyProtocol::Http | ProxyProtocol::Https) => return Ok(()),
        Some(other) => format!("a proxy of {other}"),
        None => "no address of a proxy".to_owned(),
    };
    let expected = "http://HOST:PORT, or no such variable";
    Err(Error::invalid(
        "proxy",
        format!("{found} in {name}"),
        expected,
    ))
}
