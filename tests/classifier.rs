//! Names to weights, weights to answers, answers kept in files.

#![allow(clippy::unwrap_used)]

use edgeclip::bundle::{Bundle, Card, Contents, Score, ScoreForm, VocabularyName};
use edgeclip::classifier::{Change, NewShot};
use edgeclip::preprocess::{Filter, Preprocess, Resize};
use edgeclip::store::{Envelope, Kind};
use edgeclip::text::{Label, Origin, TextTower, TextWeights, parse_labels};
use edgeclip::{Classifier, Error, Feature};
use proptest::prelude::*;

/// A bundle of names alone, four floats wide.
fn contents(source: &str) -> Contents {
    let card = Card {
        name: "tiny".into(),
        about: "names alone".into(),
        dim: 4,
        source: source.into(),
        preprocess: Preprocess {
            resize: Resize::Shortest(8),
            filter: Filter::Bicubic,
            crop: Some((8, 8)),
            mean: [0.5; 3],
            std: [0.5; 3],
        },
        score: Score {
            form: ScoreForm::Softmax,
            scale: 10.0,
            bias: 0.0,
        },
        templates: vec!["a photo of a {}.".into()],
        image: None,
        text: None,
        licences: Vec::new(),
    };
    let name = |name: &str, aliases: &[&str]| VocabularyName {
        name: name.into(),
        aliases: aliases.iter().map(|a| (*a).into()).collect(),
    };
    let names = vec![
        name("mug", &[]),
        name("T-shirt", &["jersey", "tee"]),
        name("battery", &[]),
        name("goose", &["geese"]),
        name("scissors", &[]),
        name("box", &[]),
    ];
    let vectors = ndarray::arr2(&[
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
        [0.0, 0.0, 0.0, 1.0],
        [0.6, 0.8, 0.0, 0.0],
        [0.0, 0.6, 0.0, -0.8],
    ]);
    Contents {
        card,
        image: None,
        text: None,
        vocabulary: Some((names, vectors)),
    }
}

fn bundle() -> Bundle {
    Bundle::from_bytes(&contents("tiny weights").to_bytes().unwrap()).unwrap()
}

fn weights(names: &str) -> TextWeights {
    let tower = TextTower::open(&bundle(), None).unwrap();
    tower
        .weights(&parse_labels(names).unwrap(), &mut |_, _| {})
        .unwrap()
}

fn classifier(names: &str) -> Classifier {
    Classifier::from_labels(&bundle(), weights(names)).unwrap()
}

fn names(c: &Classifier) -> Vec<&str> {
    c.classes()
        .iter()
        .map(edgeclip::classifier::Class::name)
        .collect()
}

#[test]
fn the_vocabulary_forgives_case_number_article_and_spelling() {
    let tower = TextTower::open(&bundle(), None).unwrap();
    let vocabulary = tower.vocabulary().unwrap();
    for (typed, known) in [
        ("mug", "mug"),
        ("Mugs", "mug"),
        ("a mug", "mug"),
        ("tshirt", "T-shirt"),
        ("T shirts", "T-shirt"),
        ("tee", "T-shirt"),
        ("batteries", "battery"),
        ("geese", "goose"),
        ("scissor", "scissors"),
        ("The Boxes", "box"),
    ] {
        let found = vocabulary
            .find(typed)
            .map(|i| vocabulary.names()[i].name.as_str());
        assert_eq!(found, Some(known), "{typed}");
    }
    for unknown in ["", "s", "muggle", "bo", "a"] {
        assert_eq!(vocabulary.find(unknown), None, "{unknown}");
    }
}

#[test]
fn ready_vectors_come_back_as_they_were_but_for_rounding() {
    let w = weights("scissors, box");
    for (row, expected) in w
        .weights
        .rows()
        .into_iter()
        .zip([[0.6, 0.8, 0.0, 0.0], [0.0, 0.6, 0.0, -0.8]])
    {
        let cosine: f32 = row.iter().zip(expected).map(|(a, b)| a * b).sum();
        assert!(cosine > 0.9999, "{row}");
    }
    assert_eq!(w.origins[0], Origin::Vocabulary("scissors".into()));
}

#[test]
fn an_unknown_name_lists_its_neighbours_and_the_way_out() {
    let tower = TextTower::open(&bundle(), None).unwrap();
    let error = tower
        .weights(&parse_labels("mugg").unwrap(), &mut |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`mugg`") && error.contains("nearest: mug") && error.contains("make text"),
        "{error}"
    );
}

#[test]
fn answers_are_softmax_of_scaled_cosines() {
    let c = classifier("mug, t-shirt, battery");
    let feature = Feature::from_values(vec![0.6, 0.8, 0.0, 0.0]).unwrap();
    let answers = c.answers(&feature, 2).unwrap();
    assert_eq!((answers[0].label, answers[1].label), ("t-shirt", "mug"));
    let (a, b, z) = (8f32.exp(), 6f32.exp(), 0f32.exp());
    assert!((answers[0].score - 8.0).abs() < 1e-3);
    assert!((answers[0].p - a / (a + b + z)).abs() < 1e-4);
    assert!((answers[1].p - b / (a + b + z)).abs() < 1e-4);
    let narrow = Feature::from_values(vec![1.0; 3]).unwrap();
    assert!(c.answers(&narrow, 1).is_err());
}

#[test]
fn ids_stay_with_classes_and_are_never_given_again() {
    let c = classifier("mug, box")
        .without("box")
        .unwrap()
        .with_labels(weights("goose"))
        .unwrap();
    let c = c.renamed("MUG", "my mug").unwrap();
    assert_eq!(names(&c), ["my mug", "goose"]);
    assert_eq!(
        c.classes()
            .iter()
            .map(edgeclip::classifier::Class::id)
            .collect::<Vec<_>>(),
        [0, 2]
    );
    assert_eq!(c.text().dim(), (2, 4));
}

#[test]
fn another_feature_space_is_refused() {
    let other = Bundle::from_bytes(&contents("other weights").to_bytes().unwrap()).unwrap();
    assert_ne!(other.feature_space(), bundle().feature_space());
    let error = classifier("mug")
        .check_fits(&other)
        .unwrap_err()
        .to_string();
    assert!(error.contains("--model"), "{error}");
    assert!(Classifier::from_labels(&other, weights("mug")).is_err());
    assert!(TextTower::open(&bundle(), Some(&other)).is_err());
    // A requantized bundle of the same source is the same space.
    assert_eq!(
        bundle().feature_space(),
        Bundle::from_bytes(&contents("tiny weights").to_bytes().unwrap())
            .unwrap()
            .feature_space()
    );
}

#[test]
fn a_classifier_survives_its_file_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.ecclass");
    let labels = [Label::new("my mug", &["a photo of my mug."]).unwrap()];
    let mut own = weights("mug");
    own.labels = labels.to_vec();
    let mut c = classifier("box, goose").with_labels(own).unwrap();
    c.save(&path).unwrap();
    let opened = Classifier::open(&path).unwrap();
    assert_eq!(opened.classes(), c.classes());
    assert_eq!(opened.text(), c.text());
    assert_eq!(
        (opened.model(), opened.feature_space()),
        ("tiny", bundle().feature_space())
    );
}

#[test]
fn saving_over_what_somebody_else_saved_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.ecclass");
    classifier("mug").save(&path).unwrap();
    let mine = Classifier::open(&path).unwrap();
    let theirs = Classifier::open(&path).unwrap();
    theirs
        .with_labels(weights("box"))
        .unwrap()
        .save(&path)
        .unwrap();
    let error = mine
        .with_labels(weights("goose"))
        .unwrap()
        .save(&path)
        .unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(names(&Classifier::open(&path).unwrap()), ["mug", "box"]);
    assert!(
        classifier("mug").save(&path).is_err(),
        "a new one does not replace an old one unseen"
    );
}

#[test]
fn every_truncation_of_a_file_is_an_error() {
    let file = classifier("mug, box").to_bytes().unwrap();
    for cut in 0..file.len() {
        assert!(Classifier::from_bytes(&file[..cut]).is_err(), "{cut}");
    }
    let file = contents("tiny weights").to_bytes().unwrap();
    for cut in 0..file.len() {
        assert!(Bundle::from_bytes(&file[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn ten_thousand_flipped_bits_are_all_found() {
    let file = classifier("mug, box, goose").to_bytes().unwrap();
    let mut state = 7u64;
    for _ in 0..10_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let bit = (state >> 33) as usize % (file.len() * 8);
        let mut bent = file.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(Classifier::from_bytes(&bent).is_err(), "bit {bit}");
    }
}

/// The sections of a file, to be bent and wrapped again with good checksums.
fn sections(file: &[u8], kind: Kind) -> Vec<(String, Vec<u8>)> {
    let envelope = Envelope::from_bytes(file, kind).unwrap();
    let names: Vec<String> = envelope.sections().map(|s| s.name.to_owned()).collect();
    names
        .into_iter()
        .map(|n| (n.clone(), envelope.section(&n).unwrap().to_vec()))
        .collect()
}

fn wrap(sections: &[(String, Vec<u8>)], kind: Kind) -> Vec<u8> {
    let builder = sections
        .iter()
        .fold(Envelope::builder(kind), |b, (n, s)| b.section(n, &s[..]));
    builder.to_bytes().unwrap()
}

fn open_whatever(bundle: &Bundle) {
    bundle.vocabulary().ok();
    bundle.image_encoder().ok();
    bundle.text_encoder().ok();
    if let Ok(tower) = TextTower::open(bundle, None) {
        tower
            .weights(&parse_labels("mug, box").unwrap(), &mut |_, _| {})
            .ok();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Someone who can compute checksums still meets errors, never a panic.
    #[test]
    fn bent_sections_behind_good_checksums_never_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in prop::option::of(any::<prop::sample::Index>())
    ) {
        let files = [
            (classifier("mug, box").to_bytes().unwrap(), Kind::Classifier),
            (contents("tiny weights").to_bytes().unwrap(), Kind::ModelBundle),
        ];
        for (file, kind) in files {
            let mut parts = sections(&file, kind);
            let total: usize = parts.iter().map(|(_, s)| s.len()).sum();
            let mut place = at.index(total);
            for (_, section) in &mut parts {
                if place < section.len() {
                    section[place] = byte;
                    if let Some(cut) = cut {
                        section.truncate(cut.index(section.len() + 1));
                    }
                    break;
                }
                place -= section.len();
            }
            let bent = wrap(&parts, kind);
            match kind {
                Kind::Classifier => { Classifier::from_bytes(&bent).ok(); }
                _ => { if let Ok(b) = Bundle::from_bytes(&bent) { open_whatever(&b); } }
            }
        }
    }
}

/// Files of version 1 open for ever. `EDGECLIP_WRITE_GOLDEN=1` writes them anew, for a new version only.
#[test]
fn golden_files_of_version_1_open() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let (model, learned) = (
        folder.join("tiny-v1.ecmodel"),
        folder.join("tiny-v1.ecclass"),
    );
    if std::env::var_os("EDGECLIP_WRITE_GOLDEN").is_some() {
        std::fs::write(&model, contents("tiny weights").to_bytes().unwrap()).unwrap();
        std::fs::write(&learned, classifier("mug, box").to_bytes().unwrap()).unwrap();
    }
    let opened = Classifier::open(&learned).unwrap();
    let bundle = Bundle::open(&model).unwrap();
    opened.check_fits(&bundle).unwrap();
    assert_eq!(names(&opened), ["mug", "box"]);
    assert_eq!(
        bundle.vocabulary().unwrap().unwrap().names[3].aliases,
        ["geese"]
    );
    let feature = Feature::from_values(vec![0.0, 0.6, 0.0, -0.8]).unwrap();
    let answers = opened.answers(&feature, 1).unwrap();
    assert!(answers[0].label == "box" && (answers[0].score - 10.0).abs() < 0.01);
}

/// A feature near axis `axis`, a little different for each `number`.
fn near(axis: usize, number: usize) -> Feature {
    let mut values = vec![0.05; 4];
    values[axis] = 1.0;
    values[(axis + 1 + number % 3) % 4] += 0.1 + 0.05 * number as f32;
    Feature::from_values(values).unwrap()
}

/// Views all round those of the T-shirt.
fn between(number: usize) -> Feature {
    let mut values = near(1, number % 3).values().to_vec();
    values[number % 4] += 0.02 * (1 + number) as f32 - 0.1;
    Feature::from_values(values).unwrap()
}

fn shots(axis: usize, numbers: std::ops::Range<usize>) -> Vec<NewShot> {
    numbers.map(|n| NewShot::of(near(axis, n))).collect()
}

/// Two named classes with three shots each, and one that only photos describe.
fn taught() -> Classifier {
    let mut draft = classifier("mug, T-shirt").draft();
    draft.add_class("thing").unwrap();
    draft.add_shots(Some("mug"), shots(0, 0..3)).unwrap();
    draft.add_shots(Some("T-shirt"), shots(1, 0..3)).unwrap();
    draft.add_shots(Some("thing"), shots(2, 0..3)).unwrap();
    draft.learn("nine photos").unwrap()
}

#[test]
fn what_is_forgotten_was_never_learned_to_the_bit() {
    let plain = taught();
    let mut draft = plain.draft();
    let more = draft.add_shots(Some("mug"), shots(3, 0..2)).unwrap();
    let with_more = draft.learn("two more").unwrap();
    assert_ne!(with_more.learned(), plain.learned());
    let mut draft = with_more.draft();
    draft.forget(&more).unwrap();
    assert_eq!(
        draft.learn("forgot them").unwrap().learned(),
        plain.learned()
    );

    let mut draft = plain.draft();
    draft.add_class("other").unwrap();
    draft.add_shots(Some("other"), shots(3, 0..3)).unwrap();
    let with_class = draft.learn("another class").unwrap();
    assert_eq!(
        with_class.without("other").unwrap().learned(),
        plain.learned()
    );
    let mut draft = with_class.draft();
    assert_eq!(draft.forget_class(Some("other")).unwrap(), 3);
    let back = draft.learn("forgot it").unwrap();
    assert_eq!(back.learned(), plain.learned());
    assert_eq!(names(&back), ["mug", "T-shirt", "thing"]);
}

#[test]
fn a_taught_classifier_comes_back_from_its_file_and_learns_the_same() {
    let plain = taught();
    let back = Classifier::from_bytes(&plain.to_bytes().unwrap()).unwrap();
    assert_eq!(back.learned(), plain.learned());
    assert_eq!(back.shots(), plain.shots());
    assert_eq!(back.note(), "nine photos");
    assert_eq!(back.to_bytes().unwrap(), plain.to_bytes().unwrap());
    let again = |c: &Classifier| {
        let mut draft = c.draft();
        draft.add_shots(Some("thing"), shots(3, 4..5)).unwrap();
        draft.learn("one more").unwrap().to_bytes().unwrap()
    };
    assert_eq!(again(&back), again(&plain));
}

#[test]
fn names_are_changed_without_changing_what_was_learned() {
    let renamed = taught().renamed("thing", "gadget").unwrap();
    assert_eq!(renamed.learned(), taught().learned());
    let mut draft = renamed.draft();
    draft.add_labels(weights("battery")).unwrap();
    let more = draft.learn("a name").unwrap();
    assert_eq!(more.decide(&near(2, 1), 1).unwrap().answers.len(), 1);
    assert_eq!(more.learned().unwrap().head.classes(), 4);
}

#[test]
fn shots_go_where_they_are_moved_and_wrong_ones_are_refused() {
    let plain = taught();
    let mut draft = plain.draft();
    draft.move_shots(&[0], Some("T-shirt")).unwrap();
    draft.move_shots(&[1], None).unwrap();
    let moved = draft.learn("moved").unwrap();
    assert_eq!((moved.shots_of(0), moved.shots_of(1)), (1, 4));
    assert_eq!(
        moved.learned().unwrap().head.classes(),
        4,
        "the background stands last"
    );
    let mut draft = plain.draft();
    assert!(
        draft.add_shots(Some("mug"), shots(0, 0..1)).is_err(),
        "the same feature again"
    );
    assert!(draft.add_shots(Some("cup"), shots(3, 7..8)).is_err());
    assert!(draft.forget(&[99]).is_err());
    assert!(
        draft
            .add_shots(
                Some("mug"),
                vec![NewShot::of(Feature::from_values(vec![1.0]).unwrap())]
            )
            .is_err()
    );
    let mut draft = plain.draft();
    draft.add_class("empty").unwrap();
    let words = draft.learn("nothing of it").unwrap_err().to_string();
    assert!(
        words.contains("`empty`") && words.contains("edgeclip learn"),
        "{words}"
    );
}

#[test]
fn an_audit_finds_a_wrong_label_and_near_duplicates() {
    let mut draft = taught().draft();
    draft.add_shots(Some("mug"), shots(1, 5..6)).unwrap();
    let audit = draft.learn("a mistake").unwrap().audit().unwrap();
    assert_eq!(
        audit.classes.iter().map(|c| c.shots).collect::<Vec<_>>(),
        [4, 3, 3]
    );
    assert_eq!(
        audit.doubts.first().map(|d| (d.shot, &*d.looks_like)),
        Some((9, "T-shirt"))
    );
    assert!(
        audit.advice.iter().any(|a| a.contains("shot 9")),
        "{:?}",
        audit.advice
    );
    assert!(!audit.twins.is_empty());
    let judged: usize = audit.classes.iter().map(|c| c.judged).sum();
    assert_eq!(audit.confusions.iter().sum::<usize>(), judged);
}

#[test]
fn heads_learned_elsewhere_fit_or_are_refused() {
    let plain = taught();
    let head = plain.learned().unwrap().head.clone();
    let names = plain.row_names();
    let with = plain.with_head(head.clone(), &names).unwrap();
    assert_eq!(
        with.answers(&near(0, 1), 3).unwrap(),
        plain.answers(&near(0, 1), 3).unwrap()
    );
    assert!(Classifier::from_bytes(&with.to_bytes().unwrap()).is_ok());
    assert!(classifier("mug").with_head(head.clone(), &names).is_err());
    let swapped = [names[1].clone(), names[0].clone(), names[2].clone()];
    let words = plain.with_head(head, &swapped).unwrap_err().to_string();
    assert!(
        words.contains("in its order: mug, T-shirt, thing"),
        "{words}"
    );
    let renamed = with.renamed("thing", "gadget").unwrap();
    assert_eq!(
        renamed.learned(),
        with.learned(),
        "a new name keeps the head"
    );
}

#[test]
fn a_taught_golden_file_opens() {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/taught-v1.ecclass");
    if std::env::var_os("EDGECLIP_RENEW_GOLDEN").is_some() {
        std::fs::write(&path, taught().to_bytes().unwrap()).unwrap();
    }
    let golden = Classifier::open(&path).unwrap();
    assert_eq!(golden.shots(), taught().shots());
    assert_eq!(golden.answers(&near(2, 1), 1).unwrap()[0].label, "thing");
}

/// Sections are changed behind their checksums, so that what reads them is reached.
#[test]
fn a_changed_taught_file_is_an_error_or_a_whole_classifier() {
    let bytes = taught().to_bytes().unwrap();
    let envelope = Envelope::from_bytes(&bytes, Kind::Classifier).unwrap();
    let sections: Vec<(String, Vec<u8>)> = envelope
        .sections()
        .map(|s| {
            (
                s.name.to_owned(),
                envelope.section(s.name).unwrap().to_vec(),
            )
        })
        .collect();
    let total: usize = sections.iter().map(|s| s.1.len()).sum();
    let rebuilt = |sections: &[(String, Vec<u8>)]| {
        let builder = sections
            .iter()
            .fold(Envelope::builder(Kind::Classifier), |b, (n, s)| {
                b.section(n, &s[..])
            });
        builder.to_bytes().unwrap()
    };
    let mut state = 1_u64;
    let mut opened = 0;
    for _ in 0..10_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let mut at = (state >> 33) as usize % total;
        let mut changed = sections.clone();
        for (_, section) in &mut changed {
            if at < section.len() {
                section[at] ^= 1 << (state >> 30 & 7);
                break;
            }
            at -= section.len();
        }
        if let Ok(classifier) = Classifier::from_bytes(&rebuilt(&changed)) {
            opened += 1;
            let decision = classifier.decide(&near(0, 1), 9).unwrap();
            assert!(decision.answers.len() <= 3);
            classifier.audit().unwrap();
            classifier.draft().learn("again").ok();
        }
    }
    for cut in 0..bytes.len() {
        assert!(Classifier::from_bytes(&bytes[..cut]).is_err(), "{cut}");
    }
    println!("{opened} of 10,000 changed files opened");
}

#[test]
fn a_background_beside_names_alone_tells_where_unknown_begins() {
    let mut draft = classifier("mug, T-shirt").draft();
    draft.add_shots(None, shots(3, 0..4)).unwrap();
    let made = draft.learn("a background").unwrap();
    assert_eq!(made.row_names().len(), 3);
    let mug = Feature::from_values(vec![1.0, 0.02, 0.0, 0.0]).unwrap();
    let decision = made.decide(&mug, 2).unwrap();
    assert_eq!(
        (decision.answers[0].label, decision.unknown),
        ("mug", Some(false))
    );
    assert_eq!(made.decide(&near(3, 1), 2).unwrap().unknown, Some(true));
    assert!(Classifier::from_bytes(&made.to_bytes().unwrap()).is_ok());
}

#[test]
fn a_lesson_that_costs_old_classes_is_called_so() {
    let before = taught();
    let mut draft = before.draft();
    draft.add_class("twin").unwrap();
    // Photos like the T-shirt's under another name: the old ones must suffer.
    draft
        .add_shots(
            Some("twin"),
            (0..9).map(|n| NewShot::of(between(n))).collect(),
        )
        .unwrap();
    let change = Change::between(&before, &draft.learn("a twin").unwrap());
    assert!(
        change.is_for_the_worse() && !change.lost.is_empty(),
        "{change:?}"
    );
    let mut draft = before.draft();
    draft.add_class("other").unwrap();
    draft.add_shots(Some("other"), shots(3, 0..3)).unwrap();
    let change = Change::between(&before, &draft.learn("another").unwrap());
    assert!(!change.is_for_the_worse(), "{change:?}");
}
