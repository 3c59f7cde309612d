//! Publishing to a real broker: Debian's mosquitto. Where it is not installed each test says so
//! and passes.

#![allow(clippy::unwrap_used)]

mod broker;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use edgeclip::live::{Event, Reading, State, Top};
use edgeclip::sink::{Losses, Mqtt, MqttOptions, News, Outlet, Tls};
use serde_json::Value;

use broker::{Broker, Certificates, installed, wait_for};

const ID: &str = "front-door";

/// Ends the test where there is no broker to talk to.
macro_rules! need_broker {
    () => {
        if !installed() {
            eprintln!("skipped: mosquitto, mosquitto_sub or openssl are not installed");
            return;
        }
    };
}

fn options(port: u16) -> MqttOptions {
    let mut options = MqttOptions::at("localhost", ID).unwrap();
    options.port = Some(port);
    options.name = "Front door".into();
    options.retry = Duration::from_millis(100);
    options
}

fn start(options: MqttOptions) -> Outlet {
    Outlet::start(Box::new(Mqtt::new(options).unwrap())).unwrap()
}

fn class(label: &str) -> State {
    State::Class(Arc::from(label))
}

fn begins(number: u64, state: State) -> News {
    News::Event(Event {
        number,
        state,
        started: SystemTime::now(),
        ended: None,
        lasted: Duration::ZERO,
        confidence: 0.96,
        frames: 5,
    })
}

fn frame(number: u64, label: &str) -> News {
    let top = Top {
        label: Arc::from(label),
        p: 0.9,
    };
    News::Frame(Reading {
        frame: number,
        taken: SystemTime::now(),
        state: class(label),
        p: 0.9,
        top: [Some(top), None, None, None, None],
        latency: Duration::from_millis(40),
    })
}

fn topic(last: &str) -> String {
    format!("edgeclip/{ID}/{last}")
}

fn config() -> String {
    format!("homeassistant/sensor/{ID}/config")
}

fn failed(outlet: &Outlet) -> Losses {
    wait_for("a failure", || outlet.losses().failed > 0);
    outlet.losses()
}

#[test]
fn home_assistant_finds_the_sensor_and_a_late_listener_the_state() {
    need_broker!();
    let broker = Broker::start("allow_anonymous true\n");
    let outlet = start(options(broker.port));
    outlet.offer(&begins(1, class("blue mug")));
    assert_eq!(broker.retained_is(&topic("state"), "blue mug"), "blue mug");
    let config: Value = serde_json::from_str(&broker.retained(&config()).unwrap()).unwrap();
    assert_eq!(config["unique_id"], "edgeclip_front-door");
    assert_eq!(config["name"], "Recognised");
    assert_eq!(config["device"]["name"], "Front door");
    assert_eq!(config["device"]["identifiers"][0], config["unique_id"]);
    assert_eq!(config["state_topic"], topic("state"));
    assert_eq!(config["json_attributes_topic"], topic("attributes"));
    assert_eq!(config["availability_topic"], topic("availability"));
    assert!(config["icon"].is_string() && config["expire_after"].is_null());
    assert_eq!(broker.retained(&topic("availability")).unwrap(), "online");
    let attributes: Value =
        serde_json::from_str(&broker.retained(&topic("attributes")).unwrap()).unwrap();
    assert_eq!(
        (&attributes["label"], &attributes["state"]),
        (&"blue mug".into(), &"class".into())
    );

    outlet.offer(&begins(2, State::Unknown));
    let losses = outlet.close();
    assert_eq!((losses.delivered, losses.failed, losses.lost), (2, 0, 0));
    assert_eq!(broker.retained(&topic("state")).unwrap(), "unknown");
    assert_eq!(broker.retained(&topic("availability")).unwrap(), "offline");
}

#[test]
fn every_event_is_published_and_attributes_of_frames_only_now_and_then() {
    need_broker!();
    let broker = Broker::start("allow_anonymous true\n");
    let outlet = start(options(broker.port));
    outlet.offer(&begins(1, class("cat")));
    broker.retained_is(&topic("state"), "cat");
    let listener = broker.listen(&format!("edgeclip/{ID}/#"));
    listener.wait_for(|said| said.contains("availability"));
    let hostile = "a\"b\\\u{1b}[2J\n#";
    for n in 0..5 {
        outlet.offer(&begins(n, class(hostile)));
        outlet.offer(&begins(n, State::Unknown));
    }
    for n in 0..250 {
        outlet.offer(&frame(n, "cat"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let losses = outlet.close();
    assert_eq!(losses.failed, 0);
    listener.wait_for(|said| said.contains("offline"));
    let said = listener.end();
    let events: Vec<&str> = said
        .lines()
        .filter_map(|l| l.strip_prefix("edgeclip/front-door/event "))
        .collect();
    assert_eq!(events.len(), 10);
    let event: Value = serde_json::from_str(events[0]).unwrap();
    assert_eq!(event["label"], hostile);
    // Ten with events, one retained, one at the end; the rest are of frames.
    let attributes = said
        .lines()
        .filter(|l| l.starts_with("edgeclip/front-door/attributes "));
    let of_frames = attributes.count() - 12;
    assert!((1..=4).contains(&of_frames), "{of_frames}");
}

/// Not a test of its own: what the one below kills.
#[test]
fn a_watch_that_will_be_killed() {
    let Ok(port) = std::env::var("EDGECLIP_TEST_DOOMED") else {
        return;
    };
    let outlet = start(options(port.parse().unwrap()));
    outlet.offer(&begins(1, class("cat")));
    std::thread::sleep(Duration::from_secs(120));
    drop(outlet);
}

#[test]
fn a_watch_that_is_killed_is_offline() {
    need_broker!();
    let broker = Broker::start("allow_anonymous true\n");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_watch_that_will_be_killed"])
        .env("EDGECLIP_TEST_DOOMED", broker.port.to_string())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    broker.retained_is(&topic("availability"), "online");
    broker.retained_is(&topic("state"), "cat");
    child.kill().unwrap();
    child.wait().unwrap();
    broker.retained_is(&topic("availability"), "offline");
    assert_eq!(broker.retained(&topic("state")).unwrap(), "cat");
}

#[test]
fn a_broker_that_starts_again_with_nothing_is_told_everything() {
    need_broker!();
    let mut broker = Broker::start("allow_anonymous true\n");
    let outlet = start(options(broker.port));
    outlet.offer(&begins(1, class("cat")));
    broker.retained_is(&topic("state"), "cat");
    broker.stop();
    outlet.offer(&begins(2, class("dog")));
    let before = failed(&outlet).failed;
    // Of frames only those count that were due: one a second.
    let began = Instant::now();
    for n in 0..100 {
        outlet.offer(&frame(n, "dog"));
        std::thread::sleep(Duration::from_millis(5));
    }
    let more = outlet.losses().failed - before;
    assert!(more <= 20 + 2 * began.elapsed().as_secs(), "{more}");
    broker.run();
    broker.retained_is(&topic("state"), "dog");
    broker.retained_is(&topic("availability"), "online");
    assert!(broker.retained(&config()).unwrap().contains("unique_id"));
    outlet.close();
}

#[test]
fn home_assistant_that_starts_again_is_told_everything() {
    need_broker!();
    let broker = Broker::start("allow_anonymous true\n");
    let outlet = start(options(broker.port));
    outlet.offer(&begins(1, class("cat")));
    broker.retained_is(&topic("state"), "cat");
    broker.publish("homeassistant/status", "offline");
    broker.publish(&config(), "");
    broker.publish(&topic("state"), "");
    assert_eq!(broker.retained(&topic("state")), None);
    broker.publish("homeassistant/status", "online");
    broker.retained_is(&topic("state"), "cat");
    assert!(broker.retained(&config()).unwrap().contains("unique_id"));
    outlet.close();
}

#[test]
fn a_wrong_password_is_a_failure_with_words_and_the_right_one_is_let_in() {
    need_broker!();
    let broker = Broker::start_with_password("ann", "secret");
    let mut wrong = options(broker.port);
    (wrong.user, wrong.password) = (Some("ann".into()), Some("guess".into()));
    let words = broker::words_of(&mut Mqtt::new(wrong.clone()).unwrap());
    assert!(words.contains("user name and password"), "{words}");
    assert!(!words.contains("guess"));
    assert!(failed(&start(wrong.clone())).delivered == 0);
    wrong.password = Some("secret".into());
    let outlet = start(wrong);
    outlet.offer(&begins(1, class("cat")));
    wait_for("a delivery", || outlet.losses().delivered == 1);
    assert_eq!(outlet.close().failed, 0);
}

#[test]
fn tls_works_with_the_right_ca_and_fails_with_words_with_another() {
    need_broker!();
    let certificates = Certificates::new();
    let broker = Broker::start(&certificates.config());
    let mut tls = options(broker.port);
    tls.tls = Tls::Ca(certificates.ca());
    let outlet = start(tls.clone());
    outlet.offer(&begins(1, class("cat")));
    wait_for("a delivery", || outlet.losses().delivered == 1);
    outlet.offer(&begins(2, State::Unknown));
    let losses = outlet.close();
    assert_eq!((losses.delivered, losses.failed), (2, 0));

    let words = |change: &dyn Fn(&mut MqttOptions)| {
        let mut options = tls.clone();
        change(&mut options);
        broker::words_of(&mut Mqtt::new(options).unwrap())
    };
    let other = words(&|o| o.tls = Tls::Ca(certificates.other_ca()));
    assert!(other.contains("other.pem has signed it"), "{other}");
    let public = words(&|o| o.tls = Tls::Public);
    assert!(public.contains("name the file of its CA"), "{public}");
    let name = words(&|o| o.host = "127.0.0.1".into());
    assert!(name.contains("it is not for `127.0.0.1`"), "{name}");
    let plain = words(&|o| o.tls = Tls::Off);
    assert!(
        plain.contains("closed the connection") || plain.contains("reset"),
        "{plain}"
    );
    let mut key = tls.clone();
    key.tls = Tls::Ca(certificates.key());
    let words = Mqtt::new(key).err().unwrap().to_string();
    assert!(words.contains("no certificate"), "{words}");
}

#[test]
fn tls_against_a_plain_broker_says_so() {
    need_broker!();
    let broker = Broker::start("allow_anonymous true\n");
    let mut tls = options(broker.port);
    tls.tls = Tls::Public;
    let words = broker::words_of(&mut Mqtt::new(tls).unwrap());
    assert!(
        words.contains("TLS") || words.contains("closed") || words.contains("reset"),
        "{words}"
    );
}

#[test]
fn a_broker_that_hangs_never_stalls_the_loop_and_is_found_again() {
    need_broker!();
    let broker = Broker::start("allow_anonymous true\n");
    let mut impatient = options(broker.port);
    impatient.keep_alive = Duration::from_secs(2);
    impatient.attributes_every = Duration::ZERO;
    let outlet = start(impatient);
    outlet.offer(&begins(1, class("cat")));
    broker.retained_is(&topic("state"), "cat");
    broker.signal("STOP");
    let start = Instant::now();
    for n in 0..20_000 {
        outlet.offer(&frame(n, "cat"));
    }
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    wait_for("the loss of a silent broker", || {
        outlet.offer(&frame(1, "cat"));
        outlet.losses().failed > 0
    });
    outlet.offer(&begins(2, class("dog")));
    broker.signal("CONT");
    broker.retained_is(&topic("state"), "dog");
    broker.retained_is(&topic("availability"), "online");
    outlet.close();
}

#[test]
fn a_host_that_answers_nothing_or_is_not_there_is_a_failure_with_words() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let mut silent = options(port);
    silent.host = "127.0.0.1".into();
    let outlet = start(silent.clone());
    let start = Instant::now();
    outlet.offer(&begins(1, class("cat")));
    outlet.close();
    // It is in the middle of waiting, and is left there.
    assert!(start.elapsed() < Duration::from_secs(4));
    drop(mute);
    let words = broker::words_of(&mut Mqtt::new(silent.clone()).unwrap());
    assert!(words.contains("cannot connect"), "{words}");
    silent.host = "no-such-host.invalid".into();
    let words = broker::words_of(&mut Mqtt::new(silent).unwrap());
    assert!(words.contains("no such host"), "{words}");
}
