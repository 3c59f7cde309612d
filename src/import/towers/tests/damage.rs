//! Folders that are no model, not whole, or not what their configuration says.

use std::fs;

use proptest::prelude::*;

use super::super::read;
use super::super::weights::Float;
use super::made::{Made, clip, open_clip};

fn words(made: &Made) -> String {
    match read(made.dir.path(), true) {
        Ok(_) => "read".into(),
        Err(e) => e.to_string(),
    }
}

fn assert_says(made: &Made, parts: &[&str]) {
    let words = words(made);
    assert!(parts.iter().all(|p| words.contains(p)), "{words}");
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_named() {
    let made = clip("gelu", Float::F32, false);
    let part = "text_model.encoder.layers.1.mlp.fc2.weight";
    made.write_changed(|t| drop(t.remove(part)));
    assert_says(&made, &[part, "configuration"]);
    made.write_changed(|t| t.get_mut(part).unwrap().0.reverse());
    assert_says(&made, &[part, "[28, 16]", "[16, 28]"]);
    made.write_changed(|t| drop(t.remove("visual_projection.weight")));
    assert_says(&made, &["visual_projection.weight", "projection"]);
    made.write_changed(|t| t.retain(|name, _| name.starts_with("text")));
    assert_says(&made, &["vision_model.", "image tower"]);
    made.write_changed(|t| t.retain(|name, _| name.starts_with("vis")));
    assert_says(&made, &["text_model.", "text tower"]);
    made.write_changed(|t| {
        t.insert("logit_scale".into(), (vec![2], vec![1.0, 2.0]));
    });
    assert_says(&made, &["logit_scale", "one number"]);
}

#[test]
fn what_is_no_safetensors_file_is_told_by_what_it_is() {
    let made = clip("gelu", Float::F32, false);
    let whole = fs::read(made.path("model.safetensors")).unwrap();
    let absurd = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    for (bytes, word) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid"[..],
            "git lfs pull",
        ),
        (b"PK\x03\x04aaaaaaaaaaaaaaa", "pickle"),
        (b"<!DOCTYPE html><html>", "download it again"),
        (b"", "no bytes"),
        (b"abc", "3 bytes"),
        (&absurd, "table of contents"),
        (&whole[..whole.len() - 1], "download it again"),
    ] {
        made.put("model.safetensors", bytes);
        assert_says(&made, &["model.safetensors", word]);
    }
}

#[test]
fn an_index_names_files_beside_it_that_hold_what_it_says() {
    let made = clip("gelu", Float::F32, false);
    made.write_shards(2);
    let index = "model.safetensors.index.json";
    for (json, word) in [
        (
            r#"{"weight_map": {"a": "../model.safetensors"}}"#,
            "../model",
        ),
        (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "/etc/passwd"),
        (r#"{"weight_map": {}}"#, "0 files"),
        (r#"{"weight_map": {"a": "model-0.safetensors"}}"#, "`a`"),
        (r#"{"weight_map": {"a": "gone.safetensors"}}"#, "gone"),
        ("[", "weight_map"),
    ] {
        made.put(index, json.as_bytes());
        assert_says(&made, &[word]);
    }
    fs::copy(
        made.path("model-0.safetensors"),
        made.path("model-9.safetensors"),
    )
    .unwrap();
    let twice = r#"{"weight_map": {"a": "model-0.safetensors", "b": "model-9.safetensors"}}"#;
    made.put(index, twice.as_bytes());
    assert_says(&made, &["in two files"]);
}

/// timm publishes its own image tower as `model` beside the open_clip model.
#[test]
fn weights_of_strange_names_are_passed_over_for_those_that_are_known() {
    let made = open_clip("gelu", Float::F32, "");
    let timm = clip("gelu", Float::F32, false);
    timm.write_changed(|t| t.retain(|name, _| name == "logit_scale"));
    fs::copy(
        timm.path("model.safetensors"),
        made.path("model.safetensors"),
    )
    .unwrap();
    made.put(
        "config.json",
        br#"{"architecture": "vit_base_patch16_clip_224"}"#,
    );
    assert_eq!(words(&made), "read");
    fs::remove_file(made.path("open_clip_model.safetensors")).unwrap();
    assert_says(&made, &["model_type"]);
}

proptest! {
    /// Cut and overwritten files are refused or read, and never end the program.
    #[test]
    fn damage_never_panics(cut in 0.0..1.0_f64, at in 0.0..1.0_f64, bytes in prop::collection::vec(any::<u8>(), 0..12), header in any::<bool>()) {
        let made = clip("quick_gelu", Float::F16, false);
        let mut file = fs::read(made.path("model.safetensors")).unwrap();
        let header_len = 8 + u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
        let span = if header { header_len } else { file.len() };
        let start = (at * span as f64) as usize;
        for (to, from) in file[start..].iter_mut().zip(&bytes) {
            *to = *from;
        }
        if cut < 0.3 {
            file.truncate((cut / 0.3 * file.len() as f64) as usize);
        }
        made.put("model.safetensors", &file);
        let _ = read(made.dir.path(), true);
    }

    /// Configurations of any numbers are refused or built, and never end the program.
    #[test]
    fn strange_numbers_never_panic(key in 0..14_usize, number in prop_oneof![Just(0_u64), Just(1), Just(3), Just(7), Just(25), Just(1 << 14), Just(u64::from(u32::MAX)), Just(u64::MAX)], open in any::<bool>()) {
        let made = if open { open_clip("gelu", Float::F32, "") } else { clip("gelu", Float::F32, false) };
        let mut config = made.config();
        let tables = if open { ["vision_cfg", "text_cfg"] } else { ["vision_config", "text_config"] };
        let root = if open { &mut config["model_cfg"] } else { &mut config };
        let keys: Vec<(usize, String)> = tables.iter().enumerate()
            .flat_map(|(i, t)| root[*t].as_object().unwrap().keys().map(move |k| (i, k.clone())).collect::<Vec<_>>())
            .collect();
        let (table, name) = &keys[key % keys.len()];
        root[tables[*table]][name] = number.into();
        made.put(if open { "open_clip_config.json" } else { "config.json" }, config.to_string().as_bytes());
        let _ = read(made.dir.path(), true);
    }
}
