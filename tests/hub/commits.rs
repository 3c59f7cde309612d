//! One pull is of one commit, and a branch is asked for its commit each time; weights in several files.

use std::fs;
use std::sync::{Arc, Mutex};

use edgeclip::hub::{Wanted, cached};

use super::server::{Server, answer, file, send};
use super::{Bench, weights};

const OLD: &str = "00112233445566778899aabbccddeeff00112233";
const NEW: &str = "ffeeddccbbaa99887766554433221100ffeeddcc";
const FILES: [&str; 3] = ["model.safetensors", "config.json", "vocab.json"];

/// A repository of which `head` says where its branch stands; each file tells its commit.
fn repository(head: impl Fn() -> &'static str + Send + Sync + 'static) -> Server {
    Server::new(vec![answer("", move |r, s| {
        let parts: Vec<&str> = r.path.splitn(6, '/').collect();
        let commit = match parts[4] {
            "main" => head(),
            commit => [OLD, NEW].into_iter().find(|c| *c == commit).unwrap(),
        };
        let headers = [("X-Repo-Commit", commit.to_owned())];
        if FILES.contains(&parts[5]) {
            let body = format!("{} of {commit}", parts[5]);
            send(s, "200 OK", &headers, body.as_bytes());
        } else {
            send(s, "404 Not Found", &headers, b"no such file");
        }
    })])
}

fn at(revision: &str) -> Wanted {
    Wanted::parse(&format!("owner/model@{revision}")).unwrap()
}

#[test]
fn a_branch_that_moves_during_a_pull_is_not_mixed() {
    let heads = Mutex::new(vec![NEW, NEW, NEW, OLD]);
    let server = repository(move || heads.lock().unwrap().pop().unwrap());
    let bench = Bench::new();
    let pulled = bench.pull(&server).unwrap();
    assert_eq!(pulled.commit.as_deref(), Some(OLD));
    for file in FILES {
        let text = fs::read_to_string(pulled.folder.join(file)).unwrap();
        assert_eq!(text, format!("{file} of {OLD}"));
    }
    assert_eq!(server.asked("/resolve/main/").len(), 1);
    let list = fs::read_to_string(pulled.folder.join("pulled.json")).unwrap();
    assert!(list.contains(OLD), "{list}");
}

#[test]
fn a_branch_is_asked_again_and_fetched_again_only_when_it_moved() {
    let head = Arc::new(Mutex::new(OLD));
    let now = Arc::clone(&head);
    let server = repository(move || *now.lock().unwrap());
    let bench = Bench::new();
    let cache = bench.dir.path();
    let old = bench.pull(&server).unwrap();
    let count = server.asked("").len();
    assert_eq!(bench.pull(&server).unwrap(), old);
    assert_eq!(server.asked("").len(), count + 1);

    *head.lock().unwrap() = NEW;
    // Without the hub it is what was seen last.
    assert_eq!(cached(cache, &at("main")).unwrap(), Some(old.clone()));
    let new = bench.pull(&server).unwrap();
    assert_eq!(new.commit.as_deref(), Some(NEW));
    assert_ne!(new.folder, old.folder);
    assert_eq!(cached(cache, &at("main")).unwrap(), Some(new));

    let count = server.asked("").len();
    let pinned = bench.pull_at(&server, &at(&OLD.to_uppercase())).unwrap();
    assert_eq!((pinned, server.asked("").len()), (old, count));
}

#[test]
fn a_file_of_another_commit_than_asked_for_is_refused() {
    let server = Server::new(vec![answer("/model.safetensors", |_, s| {
        send(s, "200 OK", &[("X-Repo-Commit", NEW.into())], b"weights");
    })]);
    let bench = Bench::new();
    let words = bench.pull_at(&server, &at(OLD)).unwrap_err().to_string();
    assert!(words.contains(NEW) && words.contains("commit"), "{words}");
    assert_eq!(cached(bench.dir.path(), &at(OLD)).unwrap(), None);
}

#[test]
fn what_is_no_commit_names_no_folder() {
    let server = Server::new(vec![
        answer("/config.json", |_, s| {
            let commit = "../../../../../../../../../../../../etc/";
            send(s, "200 OK", &[("X-Repo-Commit", commit.into())], b"{}");
        }),
        file("/model.safetensors", weights()),
    ]);
    let pulled = Bench::new().pull(&server).unwrap();
    assert_eq!(pulled.commit, None);
    assert!(pulled.folder.ends_with("owner--model/main"));
}

fn index(names: &[&str]) -> Vec<u8> {
    let places: Vec<String> = (0..)
        .zip(names)
        .map(|(i, n)| format!("\"tensor.{i}\": \"{n}\""))
        .collect();
    format!(
        "{{\"metadata\": {{}}, \"weight_map\": {{{}}}}}",
        places.join(", ")
    )
    .into_bytes()
}

#[test]
fn weights_in_several_files_all_come() {
    let names = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    let all = index(&[names[0], names[1], names[0]]);
    let server = Server::new(vec![
        file("/model.safetensors.index.json", all),
        file("/model-00001-of-00002.safetensors", weights()),
        file("/model-00002-of-00002.safetensors", b"the rest".to_vec()),
    ]);
    let bench = Bench::new();
    let pulled = bench.pull(&server).unwrap();
    assert_eq!(fs::read(pulled.folder.join(names[0])).unwrap(), weights());
    assert_eq!(fs::read(pulled.folder.join(names[1])).unwrap(), b"the rest");
    assert_eq!(cached(bench.dir.path(), &at("main")).unwrap(), Some(pulled));
    assert_eq!(server.asked(names[0]).len(), 1);
    assert!(server.asked("open_clip_model").is_empty());
}

#[test]
fn an_index_that_names_other_things_is_refused() {
    for name in [
        "../up.safetensors",
        "a/b.safetensors",
        "/etc/passwd",
        "..",
        "",
        ".hidden.safetensors",
        "pulled.json",
        "a?b.safetensors",
        "%2e%2e%2fx.safetensors",
    ] {
        let server = Server::new(vec![
            file(
                "/model.safetensors.index.json",
                index(&["a.safetensors", name]),
            ),
            file("/a.safetensors", weights()),
        ]);
        let bench = Bench::new();
        let words = bench.pull(&server).unwrap_err().to_string();
        assert!(words.contains("index of weights"), "{name}: {words}");
        assert!(server.asked("/a.safetensors").is_empty());
    }
    let many: Vec<String> = (0..1000).map(|i| format!("{i}.safetensors")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (all, word) in [
        (index(&many), "1000"),
        (b"{}".to_vec(), "weight_map"),
        (index(&["lost.safetensors"]), "lost.safetensors"),
    ] {
        let server = Server::new(vec![file("/model.safetensors.index.json", all)]);
        let words = Bench::new().refused(&server);
        assert!(words.contains(word), "{words}");
    }
}
