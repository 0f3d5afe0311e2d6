//! What shells and man(1) are told of the verbs: both written from the verbs themselves.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Command, CommandFactory as _};
use clap_complete::{Shell as Dialect, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::print;
use super::verbs::{Line, Shell};

/// The name of the program.
const NAME: &str = "weir";

/// Sections of the manual that stand in the page as they are; the page lists the verbs itself.
const SECTIONS: [&str; 5] = ["WHAT IT IS", "FIRST STEPS", "EXIT CODES", "ENVIRONMENT", "FILES"];

/// Prints what `shell` reads.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let dialect = match shell {
        Shell::Bash => Dialect::Bash,
        Shell::Fish => Dialect::Fish,
        Shell::Zsh => Dialect::Zsh,
    };
    let mut script = Vec::new();
    generate(dialect, &mut Line::command(), NAME, &mut script);
    print::text(&String::from_utf8(script)?)
}

/// Prints the page of a verb, or writes all pages into the folder `out`.
pub(super) fn man(verb: &[String], out: Option<&Path>) -> anyhow::Result<()> {
    let mut program = Line::command();
    program.build();
    let Some(folder) = out else {
        let page = page(found(&program, verb)?)?;
        if print::is_seen() {
            let verb: String = verb.iter().flat_map(|word| [" ", word]).collect();
            print::note(&format!("to read it: weir man{verb} | man -l -"));
        }
        return print::text(&page);
    };
    let written = write(&program, folder).with_context(|| folder.display().to_string())?;
    print::line(&format!("{written} pages are in {}", folder.display()))
}

/// The command that `verb` names, a word each.
fn found<'a>(program: &'a Command, verb: &[String]) -> anyhow::Result<&'a Command> {
    verb.iter().try_fold(program, |command, word| {
        let Some(inner) = command.find_subcommand(word) else {
            let known: Vec<&str> = command.get_subcommands().map(Command::get_name).collect();
            bail!("there is no verb {word}; there are: {}", known.join(", "));
        };
        Ok(inner)
    })
}

/// Writes the pages of `command` and of all below it; how many.
fn write(command: &Command, folder: &Path) -> anyhow::Result<usize> {
    let mut written = 1;
    for inner in command.get_subcommands() {
        written += write(inner, folder)?;
    }
    let name = Man::new(command.clone()).get_filename();
    std::fs::write(folder.join(&name), page(command)?).context(name)?;
    Ok(written)
}

/// The page of `command`, as roff.
fn page(command: &Command) -> anyhow::Result<String> {
    let name = command.get_display_name().unwrap_or(NAME).to_owned();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    // In words of our own: a page has no date, since it is as old as the program.
    let title = name.to_uppercase().replace('-', "\\-");
    writeln!(page, ".TH {title} 1 \"\" \"weir {}\" Weir", env!("CARGO_PKG_VERSION"))?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    if name == NAME {
        SECTIONS[..2].iter().try_for_each(|head| section(head, &mut page))?;
    } else {
        man.render_description_section(&mut page)?;
    }
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if name == NAME {
        SECTIONS[2..].iter().try_for_each(|head| section(head, &mut page))?;
    } else {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]).control("BR", ["weir", "(1)"]);
        roff.to_writer(&mut page)?;
    }
    // One empty line, as roff has it, where an empty one stands between two breaks.
    Ok(String::from_utf8(page)?.replace(".br\n\n.br\n", ".sp\n"))
}

/// A section of the manual, its lines as they are.
fn section(head: &str, out: &mut dyn Write) -> io::Result<()> {
    let manual = include_str!("manual.txt").lines();
    let body = manual.skip_while(|line| *line != head).skip(1);
    let body = body.take_while(|line| line.is_empty() || line.starts_with(' '));
    let lines: Vec<&str> = body.map(|line| line.strip_prefix("  ").unwrap_or(line)).collect();
    let mut roff = Roff::new();
    roff.control("SH", [head]).control("nf", []);
    roff.text([roman(lines.join("\n").trim_end())]);
    roff.control("fi", []);
    roff.to_writer(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_of_the_page_is_in_the_manual() {
        for head in SECTIONS {
            let mut out = Vec::new();
            section(head, &mut out).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().count() > 4, "{head}: {text}");
        }
    }

    #[test]
    fn a_verb_that_is_not_there_is_told_which_are() {
        let mut program = Line::command();
        program.build();
        let names = |verb: &[&str]| {
            let verb: Vec<String> = verb.iter().map(ToString::to_string).collect();
            found(&program, &verb).map(|command| command.get_name().to_owned())
        };
        assert_eq!(names(&["cache", "drop"]).unwrap(), "drop");
        assert!(names(&["cache", "rollback"]).unwrap_err().to_string().contains("purge"));
    }
}
