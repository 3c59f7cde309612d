//! Beside the reference tokenizers (tests/parity/tokens.py); the large vocabularies, which are
//! not in the repository, where that script has put them.

use std::collections::BTreeMap;
use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::text::Tokenizer;

fn read_folder(dir: &Path, need: &Need) -> Result<Fitted> {
    read(&Files::of_folder(dir)?, need).map_err(|e| e.at(dir))
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let bytes = std::fs::read(root("tests/golden/tokens").join(name)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn small(kind: &str) -> PathBuf {
    root("tests/golden/tokens").join(kind)
}

/// A folder that tests/parity/tokens.py makes, or a word that it is not there.
fn large(kind: &str) -> Option<PathBuf> {
    let folder = root("target/tokens").join(kind);
    if folder.exists() {
        return Some(folder);
    }
    let words = "passed over: tests/parity/tokens.py target/tokens brings the large vocabularies\n";
    std::io::stderr().write_all(words.as_bytes()).unwrap();
    None
}

fn clip() -> Need {
    Need {
        max_tokens: Some(77),
        vocabulary: Some(49_408),
        end: Some(49_407),
        ..Need::default()
    }
}

fn siglip() -> Need {
    Need {
        max_tokens: Some(64),
        pad_to: Some(64),
        pad_id: Some(1),
        end: Some(1),
        ..Need::default()
    }
}

fn of(max_tokens: u32) -> Need {
    Need {
        max_tokens: Some(max_tokens),
        ..Need::default()
    }
}

fn open(fitted: &Fitted) -> Tokenizer {
    Tokenizer::open(&fitted.json, fitted.max_tokens as usize).unwrap()
}

fn same_ids(fitted: &Fitted, expected: &[Vec<i64>]) {
    let texts: Vec<String> = golden("texts.json");
    assert!(texts.len() >= 200 && texts.len() == expected.len());
    let tokenizer = open(fitted);
    for (text, ids) in texts.iter().zip(expected) {
        assert_eq!(&tokenizer.read(text).unwrap().ids, ids, "{text:?}");
    }
}

fn words(result: Result<Fitted>) -> String {
    result.unwrap_err().to_string()
}

/// Copies of files of `from` in a folder of their own, some left out.
fn folder_of(from: &Path, names: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in names {
        std::fs::copy(from.join(name), dir.path().join(name)).unwrap();
    }
    dir
}

#[test]
fn small_tokenizers_give_the_references_ids() {
    let kinds = [
        ("clip", of(77), "small-clip.json"),
        ("bert", of(64), "small-bert.json"),
        ("siglip", siglip(), "small-siglip.json"),
    ];
    for (kind, need, ids) in kinds {
        let fitted = read_folder(&small(kind), &need).unwrap();
        same_ids(&fitted, &golden::<Vec<Vec<i64>>>(ids));
    }
}

#[test]
fn clips_own_list_of_merges_gives_the_same_ids_gzipped_or_not() {
    let merges = std::fs::read(small("clip").join("merges.txt")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(&merges).unwrap();
    let named = [
        ("bpe_simple_vocab_16e6.txt", merges.clone()),
        ("bpe_simple_vocab_16e6.txt.gz", gz.finish().unwrap()),
    ];
    for (name, bytes) in named {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), &bytes).unwrap();
        let fitted = read_folder(dir.path(), &of(77)).unwrap();
        assert!(fitted.about.starts_with(name), "{}", fitted.about);
        same_ids(&fitted, &golden::<Vec<Vec<i64>>>("small-clip.json"));
        std::fs::write(dir.path().join(name), &bytes[..bytes.len() / 2]).unwrap();
        let cut = read_folder(dir.path(), &clip());
        assert!(cut.is_err(), "half a list must not pass for CLIP's: {name}");
    }
}

#[test]
fn clips_vocabulary_in_each_form_gives_the_references_ids() {
    for form in ["clip", "clip-json", "open_clip"] {
        let Some(folder) = large(form) else { return };
        let fitted = read_folder(&folder, &clip()).unwrap();
        assert!(fitted.about.contains("49408 pieces"), "{}", fitted.about);
        same_ids(&fitted, &golden::<Vec<Vec<i64>>>("clip.json"));
    }
}

#[test]
fn berts_vocabulary_gives_the_references_ids() {
    let Some(folder) = large("bert") else { return };
    let fitted = read_folder(&folder, &of(64)).unwrap();
    same_ids(&fitted, &golden::<Vec<Vec<i64>>>("bert.json"));
}

#[test]
fn a_table_of_sentencepiece_gives_the_references_ids() {
    let Some(folder) = large("sentencepiece") else {
        return;
    };
    let fitted = read_folder(&folder, &of(64)).unwrap();
    let ids = std::fs::read(folder.join("ids.json")).unwrap();
    same_ids(
        &fitted,
        &serde_json::from_slice::<Vec<Vec<i64>>>(&ids).unwrap(),
    );
}

#[test]
fn over_long_texts_keep_their_end_token() {
    let tokenizer = open(&read_folder(&small("clip"), &of(12)).unwrap());
    let whole = tokenizer.read("a b c d").unwrap();
    let cut = tokenizer.read(&"a b c d ".repeat(9)).unwrap();
    assert!(!whole.cut && cut.cut);
    assert_eq!(cut.ids.len(), 12);
    assert_eq!(cut.ids[..5], whole.ids[..5]);
    assert_eq!(cut.ids.last(), whole.ids.last());
}

#[test]
fn padding_stands_after_the_end_with_zeros_in_the_mask() {
    let need = Need {
        pad_to: Some(12),
        ..of(77)
    };
    let fitted = read_folder(&small("clip"), &need).unwrap();
    assert_eq!(fitted.max_tokens, 12, "no text is longer than all are");
    let tokenizer = open(&fitted);
    assert_eq!(tokenizer.fixed(), Some(12));
    let free = open(&read_folder(&small("clip"), &of(77)).unwrap());
    let (padded, own) = (
        tokenizer.read("a mug").unwrap(),
        free.read("a mug").unwrap(),
    );
    let n = own.ids.len();
    assert_eq!(padded.ids[..n], own.ids);
    let end = own.ids[n - 1];
    assert!(padded.ids[n..].iter().all(|id| *id == end), "{padded:?}");
    assert_eq!(padded.mask.iter().sum::<i64>(), n as i64);
    assert!(padded.mask[..n].iter().all(|m| *m == 1));
}

#[test]
fn the_padding_is_the_encoders_then_the_files_then_the_end_token() {
    let dir = folder_of(&small("clip"), &["vocab.json", "merges.txt"]);
    let last = |need: &Need| {
        let tokenizer = open(&read_folder(dir.path(), need).unwrap());
        *tokenizer.read("mug").unwrap().ids.last().unwrap()
    };
    let need = Need {
        pad_to: Some(9),
        ..of(77)
    };
    let of_end = last(&need);
    let config = r#"{"pad_token": {"content": "!"}, "model_max_length": 77}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    assert_eq!(last(&need), 0);
    assert_ne!(of_end, 0);
    let wished = Need {
        pad_id: Some(5),
        ..need
    };
    assert_eq!(last(&wished), 5);
}

#[test]
fn the_length_is_the_encoders_then_the_files() {
    let length = |config: &str, need: &Need| {
        let dir = folder_of(&small("bert"), &["vocab.txt"]);
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        read_folder(dir.path(), need).unwrap().max_tokens
    };
    assert_eq!(length(r#"{"model_max_length": 128}"#, &of(40)), 40);
    assert_eq!(
        length(r#"{"model_max_length": 128}"#, &Need::default()),
        128
    );
    let no_limit = r#"{"model_max_length": 1000000000000000019884624838656}"#;
    assert_eq!(length(no_limit, &Need::default()), CLIP_TOKENS);
}

#[test]
fn berts_settings_are_followed() {
    let dir = folder_of(&small("bert"), &["vocab.txt"]);
    let ids = |text: &str| {
        let tokenizer = open(&read_folder(dir.path(), &of(64)).unwrap());
        tokenizer.read(text).unwrap().ids
    };
    assert_eq!(ids("A Photo"), ids("a photo"));
    let config = r#"{"do_lower_case": false}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
    assert_ne!(ids("A Photo"), ids("a photo"));
}

#[test]
fn lower_case_is_added_once_where_the_encoder_needs_it() {
    let bare = json!({
        "model": { "type": "WordLevel", "vocab": { "cat": 0, "<unk>": 1 }, "unk_token": "<unk>" },
        "pre_tokenizer": { "type": "Whitespace" },
    });
    let need = Need {
        lowercase: true,
        ..of(8)
    };
    for normalizer in [
        Value::Null,
        json!({ "type": "NFC" }),
        json!({ "type": "Lowercase" }),
        json!({ "type": "Sequence", "normalizers": [{ "type": "Lowercase" }] }),
    ] {
        let mut file = bare.clone();
        file["normalizer"] = normalizer;
        file["version"] = json!("1.0");
        let fitted = from_json(file.to_string().as_bytes(), &need).unwrap();
        assert_eq!(open(&fitted).read("CAT Cat").unwrap().ids, [0, 0]);
        let found = String::from_utf8(fitted.json).unwrap();
        assert_eq!(found.matches("Lowercase").count(), 1, "{found}");
    }
}

#[test]
fn a_file_of_clips_that_forgot_start_and_end_gets_them() {
    let whole = read_folder(&small("clip"), &of(77)).unwrap();
    let mut file: Value = serde_json::from_slice(&whole.json).unwrap();
    file["post_processor"] = Value::Null;
    let fitted = from_json(file.to_string().as_bytes(), &of(77)).unwrap();
    same_ids(&fitted, &golden::<Vec<Vec<i64>>>("small-clip.json"));
}

#[test]
fn a_single_file_is_enough_where_it_says_all() {
    let path = small("siglip").join("tokenizer.json");
    let from_file = read(&Files::among(std::slice::from_ref(&path)), &siglip()).unwrap();
    let from_bytes = from_json(&std::fs::read(&path).unwrap(), &siglip()).unwrap();
    assert_eq!(from_file.json, from_bytes.json);
    assert!(!Files::among(&[small("model.onnx")]).any());
}

#[test]
fn the_tokenizer_of_another_encoder_is_refused() {
    let small_table = Need {
        vocabulary: Some(1000),
        ..of(77)
    };
    let error = words(read_folder(&small("clip"), &small_table));
    assert!(
        error.contains("wrong") && error.contains("below 1000"),
        "{error}"
    );
    let error = words(read_folder(&small("bert"), &clip()));
    assert!(
        error.contains("token 49407, at which the encoder pools"),
        "{error}"
    );
    let pad_outside = Need {
        pad_id: Some(60_000),
        pad_to: Some(77),
        vocabulary: Some(49_408),
        ..of(77)
    };
    let error = words(read_folder(&small("clip"), &pad_outside));
    assert!(error.contains("60000"), "{error}");
}

#[test]
fn half_a_tokenizer_and_none_teach_what_is_missing() {
    let cases: [(&[(&str, &str)], &str); 6] = [
        (&[], "none of its files"),
        (&[("vocab.json", "{}")], "without `merges.txt`"),
        (&[("merges.txt", "")], "without `vocab.json`"),
        (&[("spiece.model", "x")], "AutoTokenizer"),
        (
            &[(
                "tokenizer.json",
                "version https://git-lfs.github.com/spec/v1\n",
            )],
            "git lfs pull",
        ),
        (
            &[("vocab.json", r#"{"a": 0, "Ġb": 1}"#), ("merges.txt", "")],
            "not CLIP's kind",
        ),
    ];
    for (files, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let error = words(read_folder(dir.path(), &of(77)));
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn no_cut_or_changed_file_panics() {
    let whole = std::fs::read(small("siglip").join("tokenizer.json")).unwrap();
    for at in (0..whole.len()).step_by(997) {
        assert!(from_json(&whole[..at], &siglip()).is_err(), "{at}");
        let mut changed = whole.clone();
        changed[at] ^= 0x15;
        // Whatever it makes of it, it comes back.
        let _ = from_json(&changed, &siglip());
    }
    for json in [
        "[]",
        "{}",
        "{\"model\":{}}",
        "3",
        "{\"model\":{\"type\":\"BPE\"}}",
    ] {
        assert!(from_json(json.as_bytes(), &of(9)).is_err(), "{json}");
    }
    let too_short = read_folder(&small("clip"), &of(2));
    assert!(words(too_short).contains("room for a text"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_gives_few_ids_of_the_vocabulary_and_an_end(text in "\\PC*|.{0,400}|[a-z'.<|>&; \u{300}\u{200d}\\x00-\\x1f]{0,300}") {
        thread_local! {
            static OPEN: BTreeMap<&'static str, (Tokenizer, usize)> = [
                ("clip", of(20)),
                ("bert", of(20)),
                ("siglip", Need { pad_to: None, ..siglip() }),
            ]
            .into_iter()
            .map(|(kind, need)| {
                let fitted = read_folder(&small(kind), &need).unwrap();
                (kind, (open(&fitted), fitted.max_tokens as usize))
            })
            .collect();
        }
        OPEN.with(|all| {
            for (kind, (tokenizer, max_tokens)) in all {
                let ends = tokenizer.read("").unwrap().ids;
                let tokens = tokenizer.read(&text).unwrap();
                prop_assert!(tokens.ids.len() <= *max_tokens, "{kind}");
                prop_assert_eq!(tokens.mask.len(), tokens.ids.len());
                prop_assert_eq!(tokens.ids.last(), ends.last(), "{}", kind);
                let most = i64::from(tokenizer.largest_id());
                prop_assert!(tokens.ids.iter().all(|id| (0..=most).contains(id)), "{kind}");
            }
            Ok(())
        })?;
    }
}
