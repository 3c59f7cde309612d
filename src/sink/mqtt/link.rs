//! A connection to a broker: plain or encrypted, with a time limit on every wait.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::options::{MqttOptions, Tls};
use super::packet::{self, Packet};
use crate::error::{Error, Result};
use crate::store::read_bounded;

/// How long the broker may take for each step of a greeting, and to take what is written.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line to a broker that has let us in.
pub(super) struct Link {
    stream: Stream,
    /// What has come and is not read yet.
    inbox: Vec<u8>,
}

enum Stream {
    Plain(TcpStream),
    Encrypted(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    /// Connects, greets, and waits to be let in.
    pub(super) fn open(
        options: &MqttOptions,
        tls: Option<&Arc<ClientConfig>>,
        hello: &packet::Connect<'_>,
    ) -> Result<Self, String> {
        let tcp = reach(options)?;
        let stream = match tls {
            None => Stream::Plain(tcp),
            Some(tls) => encrypted(options, tls, tcp)?,
        };
        let mut link = Self {
            stream,
            inbox: Vec::new(),
        };
        link.send(&hello.bytes())?;
        match link.receive(PATIENCE)? {
            Some(Packet::Answer(0)) => Ok(link),
            Some(Packet::Answer(code)) => Err(refusal(code)),
            Some(_) => Err("greets with something else than MQTT 3.1.1: check the port".into()),
            None => Err(format!("does not answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// Writes; a broker that does not take it in time is given up.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = match &mut self.stream {
            Stream::Plain(s) => s.write_all(bytes),
            Stream::Encrypted(s) => s.write_all(bytes).and_then(|()| s.flush()),
        };
        sent.map_err(|e| words(&e, "does not take what is sent"))
    }

    /// The next packet, waiting at most so long.
    pub(super) fn receive(&mut self, patience: Duration) -> Result<Option<Packet>, String> {
        let tcp = match &self.stream {
            Stream::Plain(s) => s,
            Stream::Encrypted(s) => &s.sock,
        };
        let patience = patience.max(Duration::from_millis(1));
        tcp.set_read_timeout(Some(patience))
            .map_err(|e| e.to_string())?;
        loop {
            if let Some((packet, len)) = packet::first(&self.inbox)? {
                self.inbox.drain(..len);
                return Ok(Some(packet));
            }
            let mut bytes = [0; 4096];
            let read = match &mut self.stream {
                Stream::Plain(s) => s.read(&mut bytes),
                Stream::Encrypted(s) => s.read(&mut bytes),
            };
            match read {
                Ok(0) => return Err("has closed the connection".into()),
                Ok(n) => self.inbox.extend(&bytes[..n]),
                Err(e) if is_timeout(&e) => return Ok(None),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(words(&e, "does not answer")),
            }
        }
    }
}

/// Any of the broker's addresses that answers.
fn reach(options: &MqttOptions) -> Result<TcpStream, String> {
    let places = (&*options.host, options.port()).to_socket_addrs();
    let places = places.map_err(|e| format!("no such host is known: {e}"))?;
    let mut why = "no address is known for it".to_owned();
    for place in places {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(tcp) => {
                let set = tcp.set_nodelay(true);
                let set = set.and_then(|()| tcp.set_write_timeout(Some(PATIENCE)));
                let set = set.and_then(|()| tcp.set_read_timeout(Some(PATIENCE)));
                return set.map(|()| tcp).map_err(|e| e.to_string());
            }
            Err(e) => why = format!("cannot connect: {e}"),
        }
    }
    Err(why)
}

fn encrypted(
    options: &MqttOptions,
    tls: &Arc<ClientConfig>,
    tcp: TcpStream,
) -> Result<Stream, String> {
    let name = ServerName::try_from(options.host.clone());
    let name = name.map_err(|e| format!("no name that a certificate could have: {e}"))?;
    let connection = ClientConnection::new(Arc::clone(tls), name).map_err(|e| e.to_string())?;
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        let step = stream.conn.complete_io(&mut stream.sock);
        step.map_err(|e| untrusted(&e, options))?;
    }
    Ok(Stream::Encrypted(Box::new(stream)))
}

/// What went wrong in a greeting over TLS, and what to do.
fn untrusted(e: &std::io::Error, options: &MqttOptions) -> String {
    use rustls::CertificateError as Bad;
    let cause = e.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    let advice = match cause {
        Some(rustls::Error::InvalidCertificate(Bad::UnknownIssuer)) => match &options.tls {
            Tls::Ca(file) => format!(
                "none of {} has signed it: name the file of the CA that has",
                file.display()
            ),
            _ => "no public authority has signed it: name the file of its CA".into(),
        },
        Some(rustls::Error::InvalidCertificate(
            Bad::NotValidForName | Bad::NotValidForNameContext { .. },
        )) => format!(
            "it is not for `{}`: use the name in the certificate",
            options.host
        ),
        Some(rustls::Error::InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        )) => "it is not valid today: check this board's clock, then the certificate".into(),
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS: check the port".into(),
        _ => return words(e, "does not finish the TLS greeting"),
    };
    format!("TLS: {e}: {advice}")
}

/// Whom to trust; `None` for a plain line.
pub(super) fn trust(tls: &Tls) -> Result<Option<Arc<ClientConfig>>> {
    let mut roots = RootCertStore::empty();
    match tls {
        Tls::Off => return Ok(None),
        Tls::Public => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Tls::Ca(path) => {
            let pem = read_bounded(path, "bytes of a CA file", 1 << 20)?;
            let bad = |found: String| {
                let expected = "certificates as PEM (-----BEGIN CERTIFICATE-----)";
                Error::invalid("CA file", found, expected).at(path)
            };
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|e| bad(e.to_string()))?;
                roots.add(certificate).map_err(|e| bad(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("no certificate".into()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::invalid("TLS", e.to_string(), "versions 1.2 and 1.3"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Some(Arc::new(config)))
}

/// The standard's five ways to say no.
fn refusal(code: u8) -> String {
    let why = match code {
        1 => "it does not speak MQTT 3.1.1",
        2 => "it does not like our id",
        3 => "it is not available now",
        4 => "user name or password are wrong",
        5 => "this user may not connect: check user name and password",
        _ => return format!("refused the connection with code {code}"),
    };
    format!("refused the connection: {why}")
}

fn is_timeout(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn words(e: &std::io::Error, slow: &str) -> String {
    if is_timeout(e) {
        format!("{slow} within {} s", PATIENCE.as_secs())
    } else {
        e.to_string()
    }
}
