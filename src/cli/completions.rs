//! `gpt2 completions` and `gpt2 man`: what shells and manuals know about the command.

use super::failure::Failure;
use super::report::print;
use clap::Command;
use clap_complete::Shell;

#[derive(clap::Args)]
#[command(after_help = "\
For bash:  gpt2 completions bash > ~/.local/share/bash-completion/completions/gpt2
For zsh:   gpt2 completions zsh > ~/.zfunc/_gpt2        # with ~/.zfunc in fpath
For fish:  gpt2 completions fish > ~/.config/fish/completions/gpt2.fish")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

#[derive(clap::Args)]
#[command(
    after_help = "For example: gpt2 man > ~/.local/share/man/man1/gpt2.1, or gpt2 man generate | man -l -"
)]
pub struct ManArgs {
    /// The page of one command
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

pub fn run(args: &Args, mut program: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "gpt2", &mut script);
    print(&String::from_utf8_lossy(&script))
}

pub fn man(args: &ManArgs, mut program: Command) -> Result<(), Failure> {
    program.build(); // gives its commands their full names
    let page = match &args.command {
        None => program,
        Some(name) => match program.find_subcommand(name) {
            Some(command) => command.clone(),
            None => return Err(Failure::Usage(format!("there is no command {name:?}"))),
        },
    };
    let mut roff = Vec::new();
    clap_mangen::Man::new(page).render(&mut roff)?;
    print(&String::from_utf8_lossy(&roff))
}
