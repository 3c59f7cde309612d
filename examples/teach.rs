//! The whole story: names, a lesson of five photos, what was learned, an answer, and back.

use std::path::Path;

use edgeclip::classifier::NewShot;
use edgeclip::text::{TextTower, parse_labels};
use edgeclip::{Bundle, Classifier, Encoder, frame::Decode};

fn main() -> edgeclip::Result<()> {
    let model = Bundle::open(Path::new("models/starter.ecmodel"))?;
    let mut encoder = Encoder::open(&model, 1)?;
    let names = parse_labels("cat, rocket, gravel, old coin")?;
    let weights = TextTower::open(&model, None)?.weights(&names, &mut |_, _| {})?;
    let by_name = Classifier::from_labels(&model, weights)?;

    // A lesson: photos become shots, and the head is learned from all of them at once.
    let mut draft = by_name.draft();
    for number in 0..5 {
        let path = format!("examples/lesson/learn/old_coin/{number:02}.jpg");
        let frame = Decode::default().load(Path::new(&path))?;
        draft.add_shots(Some("old coin"), vec![NewShot::of(encoder.encode(&frame)?)])?;
    }
    let taught = draft.learn("five coins")?;
    for words in taught.learned().map_or(&[][..], |l| &l.words) {
        println!("{words}");
    }

    let coin = Decode::default().load(Path::new("examples/lesson/rest/old_coin/07.jpg"))?;
    let feature = encoder.encode(&coin)?;
    for (who, classifier) in [("by name", &by_name), ("taught", &taught)] {
        let decision = classifier.decide(&feature, 1)?;
        println!(
            "{who}: {} ({:.0}%)",
            decision.answers[0].label,
            100.0 * decision.answers[0].p
        );
    }

    // Forgetting a shot gives what never learning it would have given, to the bit.
    let mut back = taught.draft();
    back.forget_class(Some("old coin"))?;
    println!(
        "back to names: {}",
        back.learn("forgot the coins")?.learned().is_none()
    );
    Ok(())
}
