//! Names the build: the version, and in a release build the commit, if it is built from a repository.
//!
//! Equal bits are promised for one build. Builds for development change too often to be told apart by their commits, and
//! would be compiled again after each.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = if is_release { commit() } else { None };
    let build = commit.map_or_else(|| version.clone(), |commit| format!("{version} ({commit})"));
    println!("cargo:rustc-env=TRAINER_BUILD={build}");
}

/// The first digits of the commit that is checked out.
fn commit() -> Option<String> {
    let git_dir = git(&["rev-parse", "--absolute-git-dir"])?;
    // A line is added with each commit and each checkout.
    println!("cargo:rerun-if-changed={git_dir}/logs/HEAD");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
