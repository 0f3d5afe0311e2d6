//! The program: parse, call, print one error, exit.

use std::process::ExitCode;

use weir::{alloc, app, cli};

#[global_allocator]
static ALLOCATOR: alloc::Allocator = alloc::Allocator;

fn main() -> ExitCode {
    alloc::settle();
    let outcome = match cli::parse().verb {
        cli::Verb::Run(run) => app::serve(&run).map(|()| ExitCode::SUCCESS),
        cli::Verb::Demo(demo) => app::demo(&demo).map(|()| ExitCode::SUCCESS),
        cli::Verb::Ask(ask) => cli::ask(ask).map(ExitCode::from),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            let text = format!("{error:#}");
            // A report of a file brings its own headings.
            let heading = if text.starts_with("error") { "" } else { "error: " };
            eprintln!("{heading}{text}");
            ExitCode::FAILURE
        }
    }
}
