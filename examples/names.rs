//! What the starter makes of a name: known by heart, estimated from its words, or unknown.

use edgeclip::Bundle;
use edgeclip::text::{Label, Origin, TextTower};

fn main() -> edgeclip::Result<()> {
    let model = Bundle::open("models/starter.ecmodel".as_ref())?;
    let tower = TextTower::open(&model, None)?;
    for name in [
        "Coffee Mug",
        "mugs",
        "torque wrench with a red handle",
        "\u{4e2d}\u{6587}",
    ] {
        match tower.weights(&[Label::new::<&str>(name, &[])?], &mut |_, _| {}) {
            Ok(weights) => match &weights.origins[0] {
                Origin::Vocabulary(known) => println!("{name}: known as `{known}`"),
                Origin::Encoded => println!("{name}: encoded exactly"),
                Origin::Estimated(near) => println!("{name}: estimated, near {}", near.join(", ")),
            },
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}
