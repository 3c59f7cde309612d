//! `model pull` and `model list`: models by name.

use std::path::PathBuf;

use super::args;
use super::output::Output;
use super::places::{self, user_folder};
use super::{Done, Stop};
use crate::error::{Error, Result};
use crate::hub::{self, Wanted};
use crate::import;

/// Where pulled files stay: `EDGECLIP_CACHE`, else `edgeclip` in the user's cache folder.
#[cfg_attr(not(feature = "pull"), expect(dead_code))]
fn cache() -> Result<PathBuf> {
    let given = std::env::var_os("EDGECLIP_CACHE").filter(|v| !v.is_empty());
    let usual = || user_folder("XDG_CACHE_HOME", ".cache");
    given.map(PathBuf::from).or_else(usual).ok_or_else(|| {
        Error::invalid(
            "cache folder",
            "neither EDGECLIP_CACHE nor HOME",
            "one of them set",
        )
    })
}

/// The folder of a model's files, the bundle's name, and where the bundle goes.
pub(super) fn fetch(args: &args::Pull, out: &Output) -> Result<(PathBuf, String, PathBuf), Stop> {
    let wanted = Wanted::parse(&args.name)?;
    // Two owners may call a repository alike.
    let name = args.name.split('@').next().unwrap_or_default();
    let name = name.replace('/', "-");
    let output = match &args.output {
        Some(output) => {
            import::check_output(output)?;
            output.clone()
        }
        None => {
            let folder = places::user_models()
                .ok_or_else(|| Error::invalid("models folder", "no HOME", "`-o NAME.ecmodel`"))?;
            std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create", e))?;
            folder.join(format!("{name}.ecmodel"))
        }
    };
    Ok((files(&wanted, args.offline, out)?, name, output))
}

#[cfg(feature = "pull")]
fn files(wanted: &Wanted, offline: bool, out: &Output) -> Result<PathBuf, Stop> {
    use indicatif::{ProgressBar, ProgressStyle};

    let cache = cache()?;
    if offline {
        let found = hub::cached(&cache, wanted)?;
        let pulled = found.ok_or_else(|| {
            let expected = "a model pulled before, or a pull without --offline";
            Error::invalid(
                "cache",
                format!("no {} at {}", wanted.repository, wanted.revision),
                expected,
            )
            .at(&cache)
        })?;
        return Ok(told(pulled, out));
    }
    let hidden = out.quiet || !std::io::IsTerminal::is_terminal(&std::io::stderr());
    let bar = if hidden {
        ProgressBar::hidden()
    } else {
        ProgressBar::no_length()
    };
    let style = ProgressStyle::with_template(
        "{msg:32} {bar:24} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
    );
    bar.set_style(style.expect("the template is tested"));
    let hub = hub::Hub::from_environment()?;
    let pulled = hub::pull(&hub, &cache, wanted, &mut |file, at, all| {
        if bar.message() != file {
            bar.set_message(file.to_owned());
            bar.reset();
        }
        if let Some(all) = all {
            bar.set_length(all);
        }
        bar.set_position(at);
    })?;
    bar.finish_and_clear();
    Ok(told(pulled, out))
}

/// Says where the files are and of which commit.
#[cfg(feature = "pull")]
fn told(pulled: hub::Pulled, out: &Output) -> PathBuf {
    let of = pulled.commit.map(|c| format!(" of commit {c}"));
    let folder = pulled.folder;
    out.say(&format!(
        "files{} in {}",
        of.unwrap_or_default(),
        folder.display()
    ));
    folder
}

#[cfg(not(feature = "pull"))]
fn files(wanted: &Wanted, _: bool, _: &Output) -> Result<PathBuf, Stop> {
    let expected = format!(
        "`cargo build --release --features pull`; or fetch {} and what of {} is there from {} yourself, and `edgeclip model import FOLDER`",
        hub::WEIGHTS[0],
        hub::BESIDE[..8].join(", "),
        wanted.repository
    );
    Err(Error::invalid("this build", "no network code", expected).into())
}

/// The catalogue, and which of it is installed.
pub(super) fn list(out: &mut Output) -> Result<Done, Stop> {
    let folders = places::model_folders();
    let installed = |name: &str| {
        let mut places = folders.iter().map(|f| f.join(format!("{name}.ecmodel")));
        places.find(|p| p.is_file())
    };
    let mut rows = vec![
        ["name", "download", "memory", "speed", "licence", "", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for entry in hub::catalogue() {
        let place = installed(&entry.name);
        if out.json {
            out.object(&serde_json::json!({
                "name": entry.name, "repository": entry.repository, "licence": entry.licence, "download_mb": entry.download_mb,
                "memory_mb": entry.memory_mb, "speed": entry.speed, "about": entry.about, "verified": entry.verified,
                "installed": place,
            }))?;
            continue;
        }
        let state = match (place.is_some(), entry.verified) {
            (true, _) => "installed",
            (false, true) => "",
            (false, false) => "unverified",
        };
        rows.push(vec![
            entry.name,
            format!("{} MB", entry.download_mb),
            format!("{} MB", entry.memory_mb),
            entry.speed,
            entry
                .licence
                .split([' ', ';'])
                .next()
                .unwrap_or_default()
                .to_owned(),
            state.into(),
            entry.about,
        ]);
    }
    if !out.json {
        out.table(&rows, &[1, 2])?;
        out.say("unverified: as published, not yet fetched with this program. Licences in full: --json.");
    }
    Ok(Done::Whole)
}
