//! A mosquitto of one test, on a port of its own, with what it needs in a temporary folder.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edgeclip::sink::{Mqtt, Refused, Sink};
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether there is all that these tests need.
pub(crate) fn installed() -> bool {
    ["mosquitto", "mosquitto_sub", "mosquitto_passwd", "openssl"]
        .iter()
        .all(|p| find(p).is_some())
}

// Debian keeps the broker where only root's path leads.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    path.split(':')
        .map(|p| Path::new(p).join(program))
        .find(|p| p.is_file())
}

fn program(name: &str) -> Command {
    let mut command = Command::new(find(name).unwrap());
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Why a publisher cannot connect.
pub(crate) fn words_of(mqtt: &mut Mqtt) -> String {
    match mqtt.idle() {
        Err(Refused::Failed(words)) => words,
        other => panic!("{other:?}"),
    }
}

pub(crate) struct Broker {
    pub(crate) port: u16,
    folder: TempDir,
    child: Option<Child>,
    login: Vec<String>,
}

impl Broker {
    /// One that runs, with these lines of configuration besides its port.
    pub(crate) fn start(config: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = tempfile::tempdir().unwrap();
        let lines = format!("user root\npersistence false\nlistener {port} localhost\n{config}");
        fs::write(folder.path().join("conf"), lines).unwrap();
        let mut broker = Self {
            port,
            folder,
            child: None,
            login: Vec::new(),
        };
        broker.run();
        broker
    }

    /// One that lets in a single user.
    pub(crate) fn start_with_password(user: &str, password: &str) -> Self {
        let secrets = tempfile::tempdir().unwrap();
        let file = secrets.path().join("users");
        let made = program("mosquitto_passwd")
            .args(["-b", "-c", file.to_str().unwrap(), user, password])
            .status();
        assert!(made.unwrap().success());
        let mut broker = Self::start(&format!(
            "allow_anonymous false\npassword_file {}\n",
            file.display()
        ));
        broker.login = ["-u", user, "-P", password].map(str::to_owned).to_vec();
        broker
    }

    pub(crate) fn run(&mut self) {
        let mut command = program("mosquitto");
        command
            .arg("-c")
            .arg(self.folder.path().join("conf"))
            .stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        wait_for("the broker", || {
            TcpStream::connect(("localhost", self.port)).is_ok()
        });
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let script = format!("kill -{name} {id}");
        assert!(
            Command::new("sh")
                .args(["-c", &script])
                .status()
                .unwrap()
                .success()
        );
    }

    fn client(&self, name: &str, topic: &str) -> Command {
        let mut command = program(name);
        let port = self.port.to_string();
        command
            .args(["-h", "localhost", "-p", &port, "-t", topic])
            .args(&self.login);
        command
    }

    /// What a listener that comes now is told first.
    pub(crate) fn retained(&self, topic: &str) -> Option<String> {
        let mut listener = self.client("mosquitto_sub", topic);
        let said = listener.args(["-C", "1", "-W", "2"]).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        (!said.is_empty()).then(|| said.trim_end_matches('\n').to_owned())
    }

    /// Waits until that is what is retained.
    pub(crate) fn retained_is(&self, topic: &str, payload: &str) -> String {
        wait_for(&format!("{topic} {payload}"), || {
            self.retained(topic).as_deref() == Some(payload)
        });
        payload.to_owned()
    }

    /// Publishes, retained.
    pub(crate) fn publish(&self, topic: &str, payload: &str) {
        let mut client = self.client("mosquitto_pub", topic);
        let done = if payload.is_empty() {
            client.args(["-r", "-n"]).status()
        } else {
            client.args(["-r", "-m", payload]).status()
        };
        assert!(done.unwrap().success());
    }

    /// All that is published from now on, and what is retained.
    pub(crate) fn listen(&self, topic: &str) -> Listener {
        let file = self.folder.path().join("heard");
        let mut client = self.client("mosquitto_sub", topic);
        client.arg("-v").stdout(fs::File::create(&file).unwrap());
        Listener {
            child: client.spawn().unwrap(),
            file,
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) struct Listener {
    child: Child,
    file: PathBuf,
}

impl Listener {
    pub(crate) fn wait_for(&self, is_so: impl Fn(&str) -> bool) {
        wait_for("what a listener hears", || is_so(&self.said()));
    }

    pub(crate) fn end(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said()
    }

    fn said(&self) -> String {
        let mut said = Vec::new();
        fs::File::open(&self.file)
            .unwrap()
            .read_to_end(&mut said)
            .unwrap();
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// A CA, a certificate for `localhost` that it signed, and another CA that signed nothing.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        for (name, subject) in [("ca", "/CN=edgeclip test CA"), ("other", "/CN=another CA")] {
            made.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {name}.key -out {name}.pem -subj",
            ), subject);
        }
        made.openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout broker.key -out broker.csr -subj", "/CN=localhost");
        fs::write(
            made.0.path().join("names"),
            "subjectAltName=DNS:localhost\n",
        )
        .unwrap();
        made.openssl("x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out broker.pem -extfile", "names");
        made
    }

    fn openssl(&self, words: &str, last: &str) {
        let mut command = program("openssl");
        command
            .args(words.split(' '))
            .arg(last)
            .current_dir(self.0.path());
        let ran = command.stdout(Stdio::null()).status().unwrap();
        assert!(ran.success(), "openssl {words} {last}");
    }

    pub(crate) fn config(&self) -> String {
        let at = self.0.path().display();
        format!("allow_anonymous true\ncertfile {at}/broker.pem\nkeyfile {at}/broker.key\n")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    pub(crate) fn other_ca(&self) -> PathBuf {
        self.0.path().join("other.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.path().join("broker.key")
    }
}
