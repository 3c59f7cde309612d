//! The house rules that a machine can check: which module may use which, who names which
//! foreign crate, and that every shipped configuration and example works.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each module may use those that stand before it.
const ORDER: [&str; 17] = [
    "error",
    "board",
    "store",
    "frame",
    "preprocess",
    "bundle",
    "encoder",
    "text",
    "import",
    "hub",
    "head",
    "classifier",
    "eval",
    "camera",
    "live",
    "sink",
    "cli",
];

/// Foreign crates that only some modules may name.
const RESERVED: [(&str, &[&str]); 22] = [
    ("tract_core", &["encoder", "text", "import"]),
    ("tract_onnx", &["encoder", "text", "import"]),
    ("tract_linalg", &["encoder"]),
    ("tokenizers", &["text"]),
    ("flate2", &["import"]),
    ("image", &["frame"]),
    ("exif", &["frame"]),
    ("safetensors", &["eval", "import"]),
    ("prost", &["import"]),
    ("ureq", &["hub"]),
    ("sha1", &["hub"]),
    ("rustix", &["hub", "camera"]),
    ("v4l", &["camera"]),
    ("shlex", &["camera", "cli"]),
    ("yuv", &["camera"]),
    ("signal_hook", &["cli"]),
    ("rustls", &["sink"]),
    ("embedded_graphics", &["eval"]),
    ("memmap2", &["store", "camera"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("env_logger", &["cli"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let module = |path: &Path| {
        let first = path
            .strip_prefix(&src)
            .unwrap()
            .components()
            .next()
            .unwrap();
        let name = first.as_os_str().to_str().unwrap();
        name.trim_end_matches(".rs").to_owned()
    };
    files_below(&src, "rs")
        .into_iter()
        .map(|p| (module(&p), p.clone(), code_of(&p)))
        .collect()
}

/// The file without comments, so that prose may name any module.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .map(|l| l.split_once("//").map_or(l, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n")
}

/// Modules named after `crate::`, also in nested lists.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '$' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let word = |s: &str| {
            s.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        };
        match rest.strip_prefix('{') {
            None => {
                used.insert(word(rest));
            }
            Some(list) => {
                let mut depth = 0;
                let mut item = String::new();
                for c in list.chars() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            used.insert(word(&item));
                            item.clear();
                        }
                        _ if depth == 0 => item.push(c),
                        _ => {}
                    }
                }
                used.insert(word(&item));
            }
        }
    }
    used
}

#[test]
fn modules_use_only_what_stands_to_their_left() {
    let rank = |m: &str| ORDER.iter().position(|o| *o == m);
    let mut seen = BTreeSet::new();
    for (module, path, code) in sources() {
        if module == "lib" || module == "main" {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("{module} has no place in the order"));
        seen.insert(module.clone());
        for used in used_modules(&code) {
            if let Some(other) = rank(&used) {
                assert!(other <= own, "{}: {module} uses {used}", path.display());
            }
        }
    }
    assert_eq!(seen.len(), ORDER.len(), "{seen:?}");
}

#[test]
fn the_reader_of_uses_understands_lists() {
    let used = used_modules(
        "use crate::{a, b::{c, d}, e as f};\nuse crate::g::h;\nlet x = crate::i::j();",
    );
    assert_eq!(
        used.into_iter().collect::<Vec<_>>(),
        ["a", "b", "e", "g", "i"]
    );
}

#[test]
fn foreign_crates_stay_in_their_modules() {
    for (module, path, code) in sources() {
        for (name, allowed) in RESERVED {
            let named = code.match_indices(&format!("{name}::")).any(|(at, _)| {
                !code[..at].ends_with(|c: char| c == '_' || c == ':' || c.is_alphanumeric())
            });
            assert!(
                !named || allowed.contains(&&*module),
                "{}: names {name}",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_program_prints_or_exits() {
    for (module, path, code) in sources() {
        if module == "cli" || module == "main" {
            continue;
        }
        let code = code.split("#[cfg(test)]").next().unwrap();
        for word in ["println!", "eprintln!", "process::exit"] {
            assert!(!code.contains(word), "{}: {word}", path.display());
        }
    }
}

#[test]
fn unsafe_stays_in_kernels_the_map_and_calls_to_cameras() {
    for (_, path, code) in sources() {
        let shown = path.display().to_string();
        let allowed = shown.contains("kernels")
            || shown.ends_with("store/map.rs")
            || shown.ends_with("camera/v4l/calls.rs");
        let named =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        assert!(allowed || !named, "{shown}");
    }
}

#[test]
fn every_shipped_config_is_accepted() {
    let configs = files_below(&root().join("configs"), "toml");
    assert!(configs.len() >= 4);
    for config in configs
        .iter()
        .filter(|c| !c.ends_with("prompts.toml") && !c.ends_with("models.toml"))
    {
        let run = Command::new(env!("CARGO_BIN_EXE_edgeclip"))
            .args(["config", "show", "--config"])
            .arg(config)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{}: {words}", config.display());
    }
}

#[test]
fn every_example_runs() {
    let built = Path::new(env!("CARGO_BIN_EXE_edgeclip"))
        .parent()
        .unwrap()
        .join("examples");
    let examples = files_below(&root().join("examples"), "rs");
    assert!(!examples.is_empty());
    for example in examples {
        let lines = fs::read_to_string(&example).unwrap().lines().count();
        assert!(lines <= 80, "{}: {lines} lines", example.display());
        let program = built.join(example.file_stem().unwrap());
        let run = Command::new(&program).current_dir(root()).output().unwrap();
        let words = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{}: {words}", example.display());
        assert!(
            !run.stdout.is_empty(),
            "{}: printed nothing",
            example.display()
        );
    }
}

/// In order and in one home folder, as a reader would type them.
#[test]
fn every_command_of_the_readme_works() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let commands: Vec<&str> = readme
        .lines()
        .filter_map(|l| l.strip_prefix("$ edgeclip "))
        .collect();
    assert!(commands.len() >= 5);
    let home = tempfile::tempdir().unwrap();
    for command in commands {
        let run = Command::new("sh")
            .args([
                "-c",
                &format!("{} {command}", env!("CARGO_BIN_EXE_edgeclip")),
            ])
            .current_dir(root())
            .env("HOME", home.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&run.stderr);
        assert!(
            run.status.success() && !run.stdout.is_empty(),
            "{command}: {words}"
        );
    }
}

/// Path prefixes that exist on no reader's machine.
#[test]
fn the_project_speaks_of_itself_alone() {
    let mut texts = files_below(&root().join("src"), "rs");
    for folder in [
        "docs",
        "configs",
        "examples",
        "models/recipe",
        "tests",
        "benches",
    ] {
        for extension in ["md", "toml", "rs", "py", "sh"] {
            texts.extend(files_below_tracked(&root().join(folder), extension));
        }
    }
    texts.push(root().join("README.md"));
    texts.push(root().join("CHANGELOG.md"));
    for path in texts {
        let text = fs::read_to_string(&path).unwrap();
        for word in [
            concat!("/wo", "rk/"),
            concat!("LAB", ".md"),
            concat!("shared", "/data"),
        ] {
            assert!(!text.contains(word), "{}: {word}", path.display());
        }
    }
}

fn files_below_tracked(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let kept = |p: &PathBuf| {
        !p.components()
            .any(|c| c.as_os_str() == "work" || c.as_os_str() == "target")
    };
    files_below(folder, extension)
        .into_iter()
        .filter(kept)
        .collect()
}
