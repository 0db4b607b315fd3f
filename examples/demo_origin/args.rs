//! The command line.

use std::str::FromStr;

pub(crate) const USAGE: &str = "usage: demo_origin [--port N] [--revision main|opt] [--latency MS] \
[--games N] [--events-per-game N] [--params-per-event N] [--exit-with-stdin]";

/// Which of the two described revisions of the API is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Revision {
    Main,
    Opt,
}

impl Revision {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Opt => "opt",
        }
    }
}

impl FromStr for Revision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "main" => Ok(Self::Main),
            "opt" => Ok(Self::Opt),
            _ => Err(format!("unknown revision {text:?}, expected main or opt")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) port: u16,
    pub(crate) revision: Revision,
    pub(crate) latency_ms: u64,
    pub(crate) games: u32,
    pub(crate) events_per_game: u32,
    pub(crate) params_per_event: u32,
    pub(crate) exit_with_stdin: bool,
}

impl Default for Args {
    fn default() -> Self {
        Self {
            port: 0,
            revision: Revision::Main,
            latency_ms: 10,
            games: 20,
            events_per_game: 50,
            params_per_event: 6,
            exit_with_stdin: false,
        }
    }
}

/// Reads `--name value` and `--name=value`.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args::default();
    let mut words = words;
    while let Some(word) = words.next() {
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        if name == "--exit-with-stdin" && inline.is_none() {
            args.exit_with_stdin = true;
            continue;
        }
        let value = inline.or_else(|| words.next()).ok_or(format!("{name} needs a value"))?;
        match name.as_str() {
            "--port" => args.port = number(&name, &value)?,
            "--revision" => args.revision = value.parse()?,
            "--latency" => args.latency_ms = number(&name, &value)?,
            "--games" => args.games = number(&name, &value)?,
            "--events-per-game" => args.events_per_game = number(&name, &value)?,
            "--params-per-event" => args.params_per_event = number(&name, &value)?,
            _ => return Err(format!("unknown argument {name}")),
        }
    }
    Ok(args)
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} needs a whole number, not {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> impl Iterator<Item = String> {
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn defaults_and_overrides() {
        assert_eq!(parse(words("")), Ok(Args::default()));
        let args = parse(words("--port=81 --revision opt --latency 0 --games 3 --exit-with-stdin"));
        let expected = Args {
            port: 81,
            revision: Revision::Opt,
            latency_ms: 0,
            games: 3,
            exit_with_stdin: true,
            ..Args::default()
        };
        assert_eq!(args, Ok(expected));
    }

    #[test]
    fn bad_words_are_named() {
        assert!(parse(words("--port x")).is_err_and(|problem| problem.contains("--port")));
        assert!(parse(words("--port")).is_err());
        assert!(parse(words("--revision dev")).is_err());
        assert!(parse(words("--nope 1")).is_err_and(|problem| problem.contains("--nope")));
    }
}
