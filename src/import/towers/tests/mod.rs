//! Towers against the same models written a second time (`oracle`), and damaged folders.

mod damage;
mod made;
mod oracle;

use made::{Kind, Made, PATCH_PX, SIDE_PX, clip, open_clip, siglip};
use oracle::{Model, Tower};
use tract_onnx::prelude::*;

use super::weights::Float;
use super::{Towers, read};
use crate::encoder::onnx::{Fed, Length, Onnx};

/// Most that one value of a unit feature may be off.
const MOST_OFF: f64 = 1e-5;

fn unit_rows(values: &[f32], dim: usize) -> Vec<Vec<f64>> {
    let rows = values.chunks_exact(dim);
    rows.map(|r| oracle::unit(&r.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()))
        .collect()
}

fn run(
    onnx: &[u8],
    input: (&str, Tensor),
    shape: &[Length],
    output: &str,
) -> (Vec<usize>, Vec<f32>) {
    let (name, tensor) = input;
    let fed = Fed {
        name,
        kind: tensor.datum_type(),
        shape,
    };
    let plan = Onnx::parse(onnx)
        .unwrap()
        .into_plan(&[fed], output, 1)
        .unwrap();
    let outputs = plan.run(tvec!(tensor.into_tvalue())).unwrap();
    let view = outputs[0].try_as_plain_ram().unwrap();
    (
        outputs[0].shape().to_vec(),
        view.as_slice::<f32>().unwrap().to_vec(),
    )
}

fn pictures(count: usize) -> Vec<f32> {
    let len = count * 3 * SIDE_PX * SIDE_PX;
    (0..len)
        .map(|i| ((i * 7919 % 613) as f32 / 306.5 - 1.0) * 1.7)
        .collect()
}

fn image_features(towers: &Towers, pictures: &[f32]) -> Vec<Vec<f64>> {
    let count = pictures.len() / (3 * SIDE_PX * SIDE_PX);
    let shape = [count, 3, SIDE_PX, SIDE_PX];
    let tensor = Tensor::from_shape(&shape, pictures).unwrap();
    let fixed = shape.map(Length::Fixed);
    let (shape, values) = run(
        &towers.image,
        ("pixel_values", tensor),
        &fixed,
        "image_embeds",
    );
    assert_eq!((shape.len(), shape[0]), (2, count));
    unit_rows(&values, shape[1])
}

fn text_features(towers: &Towers, texts: &[Vec<i64>]) -> Vec<Vec<f64>> {
    let shape = [texts.len(), texts[0].len()];
    let tensor = Tensor::from_shape(&shape, &texts.concat()).unwrap();
    let free = [Length::Free("batch"), Length::Free("tokens")];
    let text = towers.text.as_ref().unwrap();
    let (shape, values) = run(text, ("input_ids", tensor), &free, "text_embeds");
    assert_eq!((shape.len(), shape[0]), (2, texts.len()));
    unit_rows(&values, shape[1])
}

fn assert_near(found: &[Vec<f64>], expected: &[Vec<f64>], what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{what}");
        let off = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
        let off = off.fold(0.0, f64::max);
        assert!(off <= MOST_OFF, "{what}: off by {off:e}");
    }
}

/// Ids below the end token, the end token, and padding behind it.
fn texts(made: &Made, words: usize, padding: usize, pad: i64) -> Vec<Vec<i64>> {
    let text = |seed: usize| {
        let mut ids: Vec<i64> = (0..words)
            .map(|i| (i * 17 + seed * 5) as i64 % 50)
            .collect();
        ids.push(made.end);
        ids.extend(vec![pad; padding]);
        ids
    };
    (0..3).map(text).collect()
}

fn assert_is_the_oracle(made: &Made, what: &str) {
    let towers = read(made.dir.path(), true).unwrap();
    let model = Model(&made.tensors);
    let act = match made.act {
        "quick_gelu" => oracle::quick_gelu,
        "gelu" => oracle::gelu,
        _ => oracle::gelu_tanh,
    };
    let eps = if made.kind == Kind::Siglip {
        1e-6
    } else {
        1e-5
    };
    let [image, text] = [("vision_model", 3), ("text_model", 2)].map(|(prefix, heads)| Tower {
        prefix,
        layers: 2,
        heads,
        eps,
        act,
    });
    let pixels = pictures(2);
    let expected: Vec<Vec<f64>> = pixels
        .chunks_exact(pixels.len() / 2)
        .map(|p| match made.kind {
            Kind::Siglip => model.siglip_image(image, p, SIDE_PX, PATCH_PX),
            _ => model.clip_image(image, p, SIDE_PX, PATCH_PX),
        })
        .collect();
    assert_near(
        &image_features(&towers, &pixels),
        &expected,
        &format!("{what}, image"),
    );
    for (words, padding, pad) in [(0, 0, 0), (1, 0, 0), (6, 0, 0), (3, 7, 0), (3, 7, made.end)] {
        let texts = texts(made, words, padding, pad);
        let expected: Vec<Vec<f64>> = texts
            .iter()
            .map(|ids| match made.kind {
                Kind::Siglip => model.siglip_text(text, ids),
                Kind::OpenClip => model.clip_text(text, ids, None),
                Kind::Clip => model.clip_text(text, ids, (!made.legacy).then_some(made.end)),
            })
            .collect();
        let what = format!("{what}, {words} words and {padding} times {pad}");
        assert_near(&text_features(&towers, &texts), &expected, &what);
    }
}

#[test]
fn clip_is_the_oracle_in_every_precision_and_activation() {
    for act in ["quick_gelu", "gelu", "gelu_pytorch_tanh"] {
        for float in [Float::F32, Float::F16, Float::Bf16] {
            assert_is_the_oracle(&clip(act, float, false), &format!("{act} {float:?}"));
        }
    }
}

/// Two ways of telling the end of a text; they differ where a larger id stands behind it.
#[test]
fn the_end_of_a_text_is_found_as_the_configuration_says() {
    for legacy in [false, true] {
        let mut made = clip("quick_gelu", Float::F32, legacy);
        assert_is_the_oracle(&made, "end token last of the vocabulary");
        if !legacy {
            made.end = 31;
            made.write();
            assert_is_the_oracle(&made, "end token within the vocabulary");
        }
    }
}

#[test]
fn siglip_is_the_oracle() {
    for float in [Float::F32, Float::F16, Float::Bf16] {
        let made = siglip(float);
        assert_is_the_oracle(&made, &format!("SigLIP {float:?}"));
        let towers = read(made.dir.path(), true).unwrap();
        assert!(towers.is_siglip && towers.logit_bias == Some(-2.5));
    }
}

#[test]
fn open_clip_is_the_oracle_with_either_place_of_its_text_tower() {
    for prefix in ["", "text."] {
        for (act, float) in [
            ("quick_gelu", Float::F32),
            ("gelu", Float::F16),
            ("gelu", Float::Bf16),
        ] {
            let made = open_clip(act, float, prefix);
            assert_is_the_oracle(&made, &format!("open_clip {prefix} {act} {float:?}"));
        }
    }
}

#[test]
fn shards_are_one_model_and_have_one_fingerprint() {
    let whole = clip("gelu", Float::F32, false);
    let spread = clip("gelu", Float::F32, false);
    spread.write_shards(3);
    assert_is_the_oracle(&spread, "shards");
    let [a, b] = [&whole, &spread].map(|m| read(m.dir.path(), true).unwrap());
    assert_eq!(a.fingerprint, b.fingerprint);
    assert_eq!((a.image, a.text), (b.image, b.text));
    let other = clip("gelu", Float::F16, false);
    assert_ne!(
        read(other.dir.path(), true).unwrap().fingerprint,
        a.fingerprint
    );
}

#[test]
fn halves_stay_halves_and_the_scale_is_no_logarithm() {
    let [whole, half] = [Float::F32, Float::F16].map(|f| clip("gelu", f, false));
    let [whole, half] = [whole, half].map(|m| read(m.dir.path(), true).unwrap());
    assert!(whole.logit_scale.is_some_and(|s| (s - 14.5).abs() < 0.1));
    // The names of so many nodes are most of so small a model.
    let saved = whole.image.len() - half.image.len();
    let matrices = 2 * (4 * 24 * 24 + 2 * 24 * 40) + 24 * 108 + 24 * 10 + 10 * 24;
    let casts = half.image.len() / 2;
    assert!(saved + casts > 2 * matrices, "{saved} bytes saved");
}

#[test]
fn a_model_of_images_alone_is_read() {
    let made = clip("gelu", Float::F32, false);
    made.keep_image_alone();
    let towers = read(made.dir.path(), true).unwrap();
    assert!(towers.text.is_none() && towers.max_tokens == 0);
    let whole = read(clip("gelu", Float::F32, false).dir.path(), true).unwrap();
    assert_eq!(towers.image, whole.image);
}
