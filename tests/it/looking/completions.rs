//! `trainer completions`: scripts that shells accept, and manual pages, with every subcommand in them.

use crate::work_dir::{Ended, WorkDir, trainer};
use clap::CommandFactory as _;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use trainer::cli::args::Command as Trainer;

fn subcommands() -> Vec<String> {
    let names: Vec<String> =
        Trainer::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

fn generated(what: &str) -> String {
    Ended::of(&mut trainer(["completions", what])).check_code(0).stdout
}

/// What a program makes of a text; `None` where there is no such program.
fn fed(program: &str, args: &[&str], text: &str) -> Option<Ended> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("not tested: there is no {program}");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writer = std::thread::spawn(move || _ = stdin.write_all(text.as_bytes()));
    let ended = Ended::of_child(child);
    writer.join().unwrap();
    Some(ended)
}

#[test]
fn every_shell_gets_a_script_with_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = generated(shell);
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
    }
    // Shells that are there take them.
    for (shell, args) in [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["--no-execute"])] {
        if let Some(ended) = fed(shell, &args, &generated(shell)) {
            assert_eq!(ended.check_code(0).stderr, "", "{shell}");
        }
    }
}

#[test]
fn bash_completes_subcommands_and_flags() {
    let ask = "COMP_WORDS=(trainer insp); COMP_CWORD=1; _trainer trainer insp trainer; echo \"${COMPREPLY[@]}\"
               COMP_WORDS=(trainer history --fol); COMP_CWORD=2; _trainer trainer --fol history; echo \"${COMPREPLY[@]}\"";
    let script = format!("{}\n{ask}\n", generated("bash"));
    if let Some(ended) = fed("bash", &["--norc"], &script) {
        assert_eq!(ended.stdout, "inspect\n--follow\n", "{ended:?}");
    }
}

#[test]
fn the_manual_pages_render_and_name_each_subcommand() {
    let dir = WorkDir::new(&[]);
    let folder = dir.make_folder("pages").join("man1");
    Ended::of(trainer(["completions", "man", "--out"]).arg(&folder)).check_code(0);
    let page = generated("man");
    assert_eq!(fs::read_to_string(folder.join("trainer.1")).unwrap(), page);
    let rendered = fed("groff", &["-man", "-Tascii", "-ww", "-P-cbou"], &page);
    for name in subcommands() {
        assert!(page.contains(&format!("trainer\\-{name}(1)")), "{name}: {page}");
        let own = fs::read_to_string(folder.join(format!("trainer-{name}.1"))).unwrap();
        assert!(own.contains(&format!("trainer\\-{name}")), "{name}: {own}");
    }
    if let Some(rendered) = rendered {
        let text = rendered.check_code(0).stdout;
        assert!(text.contains("SYNOPSIS"), "{text}");
        assert!(subcommands().iter().all(|name| text.contains(&format!("trainer-{name}(1)"))), "{text}");
    }
    Ended::of(&mut trainer(["completions", "tcsh"])).check_code(2).check_says(&["possible values"]);
    Ended::of(&mut trainer(["completions", "man", "--out", "/dev/null/no"]))
        .check_code(74)
        .check_says(&["--out"]);
}
