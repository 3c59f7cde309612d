//! From flags to sinks.

use std::time::Duration;

use super::args;
use crate::cli::Stop;
use crate::cli::output::Output;
use crate::error::{Error, Result};
use crate::sink::{Command, Detail, Lines, Metrics, Sink, Terminal};

/// How often the file of metrics is written.
const METRICS_EVERY: Duration = Duration::from_secs(5);

/// Every sink that the flags ask for; the first one is stdout.
pub(super) fn of(args: &args::Watch, out: &Output) -> Result<Vec<Box<dyn Sink>>, Stop> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if out.json {
        let detail = match args.each.as_str() {
            "frame" => Detail::Frames,
            _ => Detail::Events,
        };
        sinks.push(Box::new(Lines::new("json", std::io::stdout(), detail)));
    } else {
        sinks.push(Box::new(Terminal::stdout()));
    }
    if let Some(path) = &args.sinks.log {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path);
        let file = file.map_err(|e| Error::io(path, "append to", e))?;
        sinks.push(Box::new(Lines::new("log", file, Detail::Events)));
    }
    if let Some(command) = &args.sinks.on_event {
        let words = shlex::split(command).ok_or_else(|| {
            let words = format!("--on-event {command}: quotes must stand in pairs");
            Stop::Usage(words)
        })?;
        let command = Command::new(words, args.sinks.on_event_limit)?;
        for word in command.strange() {
            log::warn!(
                "--on-event: `{{{word}}}` stands for nothing and stays as it is: see docs/live.md"
            );
        }
        sinks.push(Box::new(command));
    }
    if let Some(path) = &args.sinks.metrics {
        if path.extension().is_none_or(|end| end != "prom") {
            log::warn!(
                "{}: node_exporter reads files that end in .prom",
                path.display()
            );
        }
        sinks.push(Box::new(Metrics::new(path, METRICS_EVERY)?));
    }
    #[cfg(feature = "mqtt")]
    if let Some(address) = &args.sinks.mqtt.mqtt {
        sinks.push(Box::new(mqtt(address, &args.sinks.mqtt)?));
    }
    Ok(sinks)
}

#[cfg(feature = "mqtt")]
fn mqtt(address: &str, args: &args::Mqtt) -> Result<crate::sink::Mqtt, Stop> {
    use crate::sink::{Mqtt, MqttOptions, Tls};

    const MAX_PASSWORD_BYTES: u64 = 4096;
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let id = match &args.mqtt_id {
        Some(id) => id.clone(),
        None => own_id(host.trim()),
    };
    let wrong = |e: Error| Stop::Usage(e.to_string());
    let mut options = MqttOptions::at(address, &id).map_err(wrong)?;
    if let Some(name) = &args.mqtt_name {
        options.name.clone_from(name);
    }
    if let Some(ca) = &args.mqtt_ca {
        options.tls = Tls::Ca(ca.clone());
    }
    options.user = args.mqtt_user.clone().or(options.user);
    let kept = args.mqtt_password_file.as_ref().map(|path| {
        let bytes = crate::store::read_bounded(path, "bytes of a password", MAX_PASSWORD_BYTES)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok::<_, Error>(text.trim_end_matches(['\r', '\n']).to_owned())
    });
    let given = std::env::var("EDGECLIP_MQTT_PASSWORD").ok();
    options.password = kept.transpose()?.or(given);
    options.check().map_err(wrong)?;
    Ok(Mqtt::new(options)?)
}

/// `edgeclip-HOST`, in the letters that topics may have.
#[cfg(feature = "mqtt")]
fn own_id(host: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let host: String = host.chars().take(40).map(plain).collect();
    match host.as_str() {
        "" => "edgeclip".into(),
        host => format!("edgeclip-{host}"),
    }
}
