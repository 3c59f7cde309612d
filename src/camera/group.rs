//! Ending a program with all that it started.

use std::process::Child;
#[cfg(unix)]
use std::process::{Command, Stdio};

/// Kills a program that leads a process group of its own, and the whole group.
pub(crate) fn kill(leader: &mut Child) {
    // The standard library ends single processes only, and the call for groups takes unsafe code or another
    // crate. A shell's own `kill` is on every board; the number is ours.
    #[cfg(unix)]
    Command::new("/bin/sh")
        .args(["-c", "kill -KILL \"-$0\"", &leader.id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .ok();
    // Where there is no shell, what the program started ends when it next writes.
    leader.kill().ok();
}
