//! The whole story: names, a lesson of five photos, what was learned, an answer, and back.

use std::path::Path;

use edgeclip::classifier::{Change, NewShot};
use edgeclip::store::Saver;
use edgeclip::text::{TextTower, parse_labels};
use edgeclip::{Bundle, Classifier, Encoder, frame::Decode};

fn main() -> edgeclip::Result<()> {
    let model = Bundle::open(Path::new("models/starter.ecmodel"))?;
    let mut encoder = Encoder::open(&model, 1)?;
    let names = parse_labels("cat, rocket, gravel, old coin")?;
    let weights = TextTower::open(&model, None)?.weights(&names, &mut |_, _| {})?;
    let mut by_name = Classifier::from_labels(&model, weights)?;
    let file = std::env::temp_dir().join(format!("teach-{}.ecclass", std::process::id()));
    by_name.save(&file)?;

    // A lesson: photos become shots, and the head is learned from all of them at once.
    let mut draft = by_name.draft();
    for number in 0..5 {
        let name = format!("{number:02}.jpg");
        let folder = Path::new("examples/lesson/learn/old_coin");
        let photo = Decode::default().photo(&folder.join(&name))?;
        let feature = encoder.encode(&photo.frame)?;
        draft.add_shots(
            Some("old coin"),
            vec![NewShot::from_photo(&photo, feature, &name)],
        )?;
    }
    let mut taught = draft.learn("five coins")?;
    taught.save(&file)?;
    for words in taught.learned().map_or(&[][..], |l| &l.words) {
        println!("{words}");
    }
    println!(
        "for the worse: {}",
        Change::between(&by_name, &taught).is_for_the_worse()
    );
    for advice in taught.audit()?.advice {
        println!("advice: {advice}");
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

    Saver::new(&file).undo(1)?;
    println!(
        "undone, back to names: {}",
        Classifier::open(&file)?.learned().is_none()
    );
    Ok(())
}
