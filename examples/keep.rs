//! A classifier that is kept: made, saved, changed, gone back on.

use edgeclip::store::Saver;
use edgeclip::text::{TextTower, parse_labels};
use edgeclip::{Bundle, Classifier};

fn main() -> edgeclip::Result<()> {
    let model = Bundle::open("models/starter.ecmodel".as_ref())?;
    let tower = TextTower::open(&model, None)?;
    let name = |names: &str| tower.weights(&parse_labels(names)?, &mut |_, _| {});

    let folder = std::env::temp_dir().join(format!("edgeclip-keep-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let path = folder.join("bench.ecclass");

    Classifier::from_labels(&model, name("mug, screwdriver")?)?.save(&path)?;
    let opened = Classifier::open(&path)?;
    opened
        .with_labels(name("cat")?)?
        .renamed("mug", "my mug")?
        .save(&path)?;
    let names = |c: &Classifier| {
        c.classes()
            .iter()
            .map(|c| c.name().to_owned())
            .collect::<Vec<_>>()
    };
    println!("saved:  {}", names(&Classifier::open(&path)?).join(", "));

    Saver::new(&path).undo(1)?;
    println!("undone: {}", names(&Classifier::open(&path)?).join(", "));
    std::fs::remove_dir_all(&folder).expect("our own folder");
    Ok(())
}
