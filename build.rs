//! Tells the module which commit and which features it was built from.

use std::process::Command;

fn main() {
    let git = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output();
    let hash = git.ok().filter(|out| out.status.success());
    let hash = hash.map_or_else(
        || "unknown".into(),
        |out| String::from_utf8_lossy(&out.stdout).trim().to_owned(),
    );
    let mut features: Vec<String> = std::env::vars()
        .filter_map(|(name, _)| Some(name.strip_prefix("CARGO_FEATURE_")?.to_lowercase()))
        .collect();
    features.sort();
    let features = if features.is_empty() { "none".into() } else { features.join(",") };
    println!("cargo::rustc-env=TIERCEL_GIT_HASH={hash}");
    println!("cargo::rustc-env=TIERCEL_FEATURES={features}");
    println!("cargo::rerun-if-changed=.git/HEAD");
    println!("cargo::rerun-if-changed=.git/refs/heads");
}
