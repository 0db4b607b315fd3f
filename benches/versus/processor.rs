//! Cores and processor time.

use std::fs;
use std::process::Command;

/// The core of the program under test.
pub const TESTED: usize = 0;
/// The core of everything around it.
pub const AROUND: usize = 1;

/// A command that runs on one core, where there are two.
pub fn on_core(core: usize, program: &str) -> Command {
    if cores() < 2 {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// Moves a process with all of its threads to one core, where there are two.
pub fn pin(pid: u32, core: usize) {
    if cores() >= 2 {
        let (core, pid) = (core.to_string(), pid.to_string());
        let moved = Command::new("taskset").args(["-a", "-c", "-p", &core, &pid]).output();
        assert!(moved.is_ok_and(|out| out.status.success()), "cannot move {pid} to core {core}");
    }
}

/// Processor time of a process and its children so far, in microseconds.
pub fn time_us(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a running process");
    let fields = stat.rsplit(')').next().expect("fields after the name");
    // Behind the name: user and system time are the 12th and the 13th, in hundredths of a second.
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).map(number).sum();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|child| child.parse().ok());
    ticks * 10_000.0 + pids.map(time_us).sum::<f64>()
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number of ticks")
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
