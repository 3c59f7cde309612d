//! Which cameras there are, by which names, and who holds one.

use std::fs;
use std::path::{Path, PathBuf};

use super::trouble::{Role, Trouble};
use super::v4l::Node;
use super::{Mode, Offer, Wish, choose};
use crate::error::{Error, Result};

/// A node of `/dev/video*`.
#[derive(Debug)]
pub struct Camera {
    /// Its path, whose number may change with each boot.
    pub path: PathBuf,
    /// A name that stays with the camera, where the system makes one.
    pub stable: Option<PathBuf>,
    /// What it is called; empty where it cannot be opened.
    pub card: String,
    /// Its driver.
    pub driver: String,
    /// Where it is attached.
    pub bus: String,
    /// What kind of node it is, where it can be opened.
    pub role: Option<Role>,
    /// What it offers.
    pub offers: Vec<Offer>,
    /// The mode that fits a wish, or why it cannot be used.
    pub mode: Result<Mode>,
}

/// All nodes by number, with the mode that each would run in.
#[must_use]
pub fn list(wish: &Wish) -> Vec<Camera> {
    let names = stable_names(Path::new("/dev/v4l"));
    let look = |path: PathBuf| look(path, &names, wish);
    nodes().into_iter().map(look).collect()
}

fn look(path: PathBuf, names: &[(PathBuf, PathBuf)], wish: &Wish) -> Camera {
    let stable = names.iter().find(|(_, node)| *node == path);
    let mut camera = Camera {
        stable: stable.map(|(name, _)| name.clone()),
        card: String::new(),
        driver: String::new(),
        bus: String::new(),
        role: None,
        offers: Vec::new(),
        mode: Err(Error::invalid("camera", "nothing", "a camera")),
        path,
    };
    let opened = Node::open(&camera.path).and_then(|n| n.card().map(|c| (n, c)));
    let (node, card) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            camera.mode = Err(Trouble::of(&camera.path, e).error(&camera.path));
            return camera;
        }
    };
    if card.role == Role::Camera {
        camera.offers = node.offers();
    }
    let receiver = || {
        card.receiver
            .then(|| Trouble::Receiver(card.driver.clone()))
    };
    let trouble = Trouble::of_role(&camera.path, card.role)
        .or_else(|| Trouble::of_offers(&card.driver, &camera.offers))
        .or_else(receiver);
    camera.mode = match trouble {
        Some(trouble) => Err(trouble.error(&camera.path)),
        None => choose(&camera.offers, wish),
    };
    camera.role = Some(card.role);
    (camera.card, camera.driver, camera.bus) = (card.card, card.driver, card.bus);
    camera
}

/// Paths of the nodes, by number.
#[must_use]
pub fn nodes() -> Vec<PathBuf> {
    let number = |name: &str| name.strip_prefix("video")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = entries(Path::new("/dev"))
        .filter_map(|p| number(p.file_name()?.to_str()?))
        .collect();
    numbers.sort_unstable();
    let path = |n: u32| PathBuf::from(format!("/dev/video{n}"));
    numbers.into_iter().map(path).collect()
}

/// Names below `by-id` and `by-path` that stay with a camera, with the nodes that they lead to.
fn stable_names(v4l: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut names = Vec::new();
    for folder in ["by-id", "by-path"] {
        let mut links: Vec<PathBuf> = entries(&v4l.join(folder)).collect();
        links.sort();
        let target = |link: PathBuf| link.canonicalize().ok().map(|node| (link, node));
        names.extend(links.into_iter().filter_map(target));
    }
    names
}

/// The camera of the same device as a node that is none.
pub(super) fn sibling(path: &Path) -> Option<PathBuf> {
    let device = |path: &Path| {
        let name = path.canonicalize().ok()?;
        let class = Path::new("/sys/class/video4linux").join(name.file_name()?);
        class.join("device").canonicalize().ok()
    };
    let own = device(path)?;
    let camera = |node: &PathBuf| {
        let role = Node::open(node).and_then(|n| n.card()).map(|c| c.role);
        matches!(role, Ok(Role::Camera))
    };
    nodes()
        .into_iter()
        .find(|node| node != path && device(node).as_ref() == Some(&own) && camera(node))
}

/// A process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub process: u32,
    /// Its name.
    pub name: String,
}

/// Other processes that hold `node` open, as far as we may see; `proc` is `/proc`.
#[must_use]
pub fn holders(proc: &Path, node: &Path) -> Vec<Holder> {
    let node = node.canonicalize().unwrap_or_else(|_| node.to_owned());
    let holds = |process: &PathBuf| {
        entries(&process.join("fd")).any(|fd| fs::read_link(fd).is_ok_and(|to| to == node))
    };
    let holder = |folder: PathBuf| {
        let process = folder.file_name()?.to_str()?.parse().ok()?;
        let others = process != std::process::id();
        (others && holds(&folder)).then(|| Holder {
            process,
            name: name(&folder),
        })
    };
    let mut holders: Vec<_> = entries(proc).filter_map(holder).collect();
    holders.sort_by_key(|h| h.process);
    holders
}

fn name(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    match name.trim() {
        "" => "a program".to_owned(),
        name => name.to_owned(),
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let list = fs::read_dir(folder).into_iter().flatten();
    list.filter_map(|e| Some(e.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn holders_are_found_by_their_open_files() {
        let root = tempfile::tempdir().unwrap();
        let proc = root.path().join("proc");
        let node = root.path().join("video0");
        fs::write(&node, "").unwrap();
        let other = root.path().join("video1");
        for (process, comm, open) in [
            ("812", "ffmpeg\n", &node),
            ("90", "", &node),
            ("7", "sh", &other),
        ] {
            let fds = proc.join(process).join("fd");
            fs::create_dir_all(&fds).unwrap();
            symlink("/dev/null", fds.join("0")).unwrap();
            symlink(open, fds.join("5")).unwrap();
            fs::write(proc.join(process).join("comm"), comm).unwrap();
        }
        fs::create_dir_all(proc.join("self/fd")).unwrap();
        fs::create_dir_all(proc.join("13")).unwrap();
        let link = root.path().join("by-id");
        symlink(&node, &link).unwrap();
        let named = |process, name: &str| Holder {
            process,
            name: name.to_owned(),
        };
        let expected = [named(90, "a program"), named(812, "ffmpeg")];
        assert_eq!(holders(&proc, &node), expected);
        assert_eq!(holders(&proc, &link), expected);
        assert_eq!(holders(&root.path().join("none"), &node), []);
    }

    #[test]
    fn our_own_process_is_no_holder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(holders(Path::new("/proc"), file.path()), []);
    }

    #[test]
    fn names_by_id_come_before_those_by_path() {
        let root = tempfile::tempdir().unwrap();
        let node = root.path().canonicalize().unwrap().join("video0");
        fs::write(&node, "").unwrap();
        for folder in ["by-path", "by-id"] {
            fs::create_dir(root.path().join(folder)).unwrap();
            symlink(&node, root.path().join(folder).join("cam")).unwrap();
        }
        symlink("nowhere", root.path().join("by-id/gone")).unwrap();
        let names = stable_names(root.path());
        let [id, path] = &names[..] else {
            panic!("{names:?}")
        };
        assert!(id.0.ends_with("by-id/cam") && path.0.ends_with("by-path/cam"));
        assert_eq!(id.1, node);
    }
}
