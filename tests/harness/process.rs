//! A child process with a log, ended with its test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

/// A running part.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    was_ended: AtomicBool,
}

impl Process {
    /// Starts `command` with its output in `dir`/`name`.log.
    pub fn start(name: &str, dir: &Path, command: &mut Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second handle"))
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({error}): run `make setup`"));
        Self { name: name.into(), child, log, was_ended: AtomicBool::new(false) }
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// Whether it runs no more because it was told to.
    pub fn was_ended(&self) -> bool {
        self.was_ended.load(Ordering::Relaxed)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, by pid: `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, signal: &str) {
        self.was_ended.fetch_or(matches!(signal, "KILL" | "TERM"), Ordering::Relaxed);
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
        assert!(sent.is_ok_and(|s| s.success()), "cannot signal {} ({pid})", self.name);
    }

    /// Ends it at once and waits for it.
    pub fn kill(&mut self) {
        *self.was_ended.get_mut() = true;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("---- {} ({}) ----", self.name, self.log.display());
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}
