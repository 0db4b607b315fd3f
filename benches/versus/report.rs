//! Medians, the table and the summary.

use std::fs;

use serde_json::{Map, Value, json};

use crate::cases::{Case, L2_P99_MS, PROMISES};
use crate::harness;
use crate::stage::Sample;

/// Every sample of every case, a round at the same place in each.
pub struct Results {
    lines: Vec<Line>,
}

struct Line {
    case: &'static Case,
    /// Requests of the warm-up, which is not reported.
    warm_up: u64,
    samples: Vec<Sample>,
}

/// What is read off a sample.
type Figure = fn(&Sample) -> f64;

const FIGURES: [(&str, Figure); 4] = [
    ("rps", |sample| sample.load.rps),
    ("p50_ms", |sample| sample.load.p50_ms),
    ("p99_ms", |sample| sample.load.p99_ms),
    ("cpu_us", |sample| sample.cpu_us),
];

impl Results {
    pub fn new(cases: &[&'static Case]) -> Self {
        let line = |case: &&'static Case| Line { case, warm_up: 0, samples: Vec::new() };
        Self { lines: cases.iter().map(line).collect() }
    }

    /// Takes what was measured with another process.
    pub fn join(&mut self, more: Self) {
        for (line, more) in self.lines.iter_mut().zip(more.lines) {
            line.samples.extend(more.samples);
        }
    }

    /// Notes that a case was warmed up.
    pub fn warmed(&mut self, case: &Case, sample: &Sample) {
        self.line_mut(case).warm_up += sample.load.requests;
    }

    pub fn add(&mut self, case: &Case, sample: Sample) {
        self.line_mut(case).samples.push(sample);
    }

    /// How often each case was asked, warm-up and all.
    pub fn requests(&self) -> impl Iterator<Item = (&'static Case, u64)> {
        let total = |l: &Line| l.warm_up + l.samples.iter().map(|s| s.load.requests).sum::<u64>();
        self.lines.iter().map(move |line| (line.case, total(line)))
    }

    /// The cases with failed requests.
    pub fn errors(&self) -> impl Iterator<Item = (&'static Case, u64)> {
        let errors = |l: &Line| l.samples.iter().map(|s| s.load.errors).sum::<u64>();
        self.lines.iter().map(move |l| (l.case, errors(l))).filter(|(_, errors)| *errors > 0)
    }

    /// Writes `target/bench/{name}.json`.
    pub fn write(&self, name: &str) {
        let line = |line: &Line| {
            let figures = FIGURES
                .iter()
                .map(|(name, figure)| ((*name).to_owned(), json!(rounded(line.median(*figure)))));
            (line.case.name.to_owned(), Value::Object(figures.collect()))
        };
        let summary = Value::Object(self.lines.iter().map(line).collect::<Map<_, _>>());
        let dir = harness::target().join("bench");
        fs::create_dir_all(&dir).expect("a folder for the summary");
        let text = serde_json::to_string_pretty(&summary).expect("JSON") + "\n";
        fs::write(dir.join(format!("{name}.json")), text).expect("a file for the summary");
    }

    pub fn print(&self) {
        println!(
            "{:16} {:>9} {:>8} {:>8} {:>8} {:>6} {:>9}",
            "case", "rps", "p50 ms", "p99 ms", "cpu us", "core", "to direct"
        );
        for line in &self.lines {
            let [rps, p50, p99, cpu] = FIGURES.map(|(_, figure)| line.median(figure));
            let direct = self.ratio(line.case.name, "direct_response", |sample| sample.load.rps);
            let direct = direct.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}"));
            // How much of its core it got: far from 100 under load, others took the rest.
            let core = line.median(|sample| sample.cpu_us * sample.load.rps / 1e4);
            let name = line.case.name;
            print!("{name:16} {rps:>9.0} {p50:>8.3} {p99:>8.3} {cpu:>8.2} ");
            println!("{core:>5.0}% {direct:>9}");
        }
        println!("\n{:30} {:>6} {:>9} {:>9}", "promise", "", "measured", "by cpu");
        for (over, under, least) in PROMISES {
            let Some(ratio) = self.ratio(over, under, |sample| sample.load.rps) else { continue };
            let cpu = self.ratio(under, over, |sample| sample.cpu_us).unwrap_or(f64::NAN);
            let (name, verdict) = (format!("{over}/{under}"), verdict(ratio >= *least));
            println!("{name:30} >={least:.2} {ratio:>9.3} {cpu:>9.3}  {verdict}");
        }
        if let Some(line) = self.line("l2_hit_c1") {
            let p99 = line.median(|sample| sample.load.p99_ms);
            let verdict = verdict(p99 < L2_P99_MS);
            println!(
                "{:30} < {L2_P99_MS:.1} {p99:>9.3} {:>9}  {verdict}",
                "l2_hit_c1 p99 (ms)", ""
            );
        }
    }

    /// The median of the rounds' ratios.
    fn ratio(&self, over: &str, under: &str, figure: Figure) -> Option<f64> {
        let (over, under) = (self.line(over)?, self.line(under)?);
        let rounds = over.samples.iter().zip(&under.samples);
        Some(median(rounds.map(|(o, u)| figure(o) / figure(u)).collect()))
    }

    fn line(&self, name: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.case.name == name)
    }

    fn line_mut(&mut self, case: &Case) -> &mut Line {
        let found = self.lines.iter_mut().find(|line| line.case.name == case.name);
        found.expect("a case that was announced")
    }
}

impl Line {
    fn median(&self, figure: Figure) -> f64 {
        median(self.samples.iter().map(figure).collect())
    }
}

fn verdict(kept: bool) -> &'static str {
    if kept { "pass" } else { "short" }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
