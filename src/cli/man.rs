//! `man`: one page, with a section for each verb.

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::args::Cli;
use super::output::Output;
use super::{Done, Stop};

pub(super) fn run(out: &mut Output) -> Result<Done, Stop> {
    let command = Cli::command().disable_help_subcommand(true);
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_options_section(&mut page)?;
    verbs(&command, "edgeclip", &mut page)?;
    man.render_extra_section(&mut page)?;
    out.bytes(&page)
}

/// A section for each verb below `command`, verbs of verbs included.
fn verbs(command: &Command, called: &str, page: &mut Vec<u8>) -> Result<(), Stop> {
    for verb in command.get_subcommands() {
        let called = format!("{called} {}", verb.get_name());
        if verb.has_subcommands() {
            verbs(verb, &called, page)?;
        } else {
            page.extend(section(verb, &called)?.into_bytes());
        }
    }
    Ok(())
}

fn section(verb: &Command, called: &str) -> Result<String, Stop> {
    let verb = verb.clone().bin_name(called).disable_help_flag(true);
    let man = Man::new(verb);
    let mut parts = Vec::new();
    man.render_description_section(&mut parts)?;
    parts.extend(b".PP\n");
    man.render_synopsis_section(&mut parts)?;
    man.render_options_section(&mut parts)?;
    let parts = String::from_utf8(parts).expect("clap renders UTF-8");
    let mut section = format!(".SH \"{called}\"\n");
    for line in parts.lines() {
        // Each part begins with what the page said once; only headings of flags are kept.
        let repeated = [
            ".ie ",
            ".el ",
            ".SH DESCRIPTION",
            ".SH SYNOPSIS",
            ".SH OPTIONS",
        ];
        if repeated.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        match line.strip_prefix(".SH ") {
            Some(heading) => section.push_str(&format!(".SS {heading}\n")),
            None => section.push_str(&format!("{line}\n")),
        }
    }
    Ok(section)
}
